"""What an inspection says of a machine that is all right, and of one that lacks something."""

from pathlib import Path

import pytest

from actors.machine import environment
from actors.machine.environment import Machine, inspect

VERSIONS = {"numpy": "1.26.4", "mindspore-lite": "2.7.0"}
DRIVER_INFO = "Version=24.1.rc3\nascendhal_version=7.35.23\npackage_version=24.1.rc3\n"
CANN_8_1 = "Version=7.7.0.1.238\nversion_dir=8.1.RC1\ntimestamp=20250503_000000000\n"


def machine(root: Path, *, cards: int = 2, python=(3, 11), **versions):
    known = VERSIONS | {name.replace("_", "-"): text for name, text in versions.items()}
    (root / "dev").mkdir(exist_ok=True)
    (root / "dev" / "davinci_manager").touch()
    for number in range(cards):
        (root / "dev" / f"davinci{number}").touch()
    return Machine(root, python, known.get, lambda name: root / "site" / name)


def accepts(root: Path, *versions: str) -> None:
    """The list of the installed library, as its own check of the environment has it."""
    package = root / "site" / "mindspore_lite"
    package.mkdir(parents=True, exist_ok=True)
    listed = ", ".join(f'"{version}"' for version in versions)
    (package / "_check_ascend.py").write_text(
        f"class Checker:\n    def __init__(self):\n"
        f"        self.compatible_cann_versions = [{listed}]\n"
    )


@pytest.fixture
def cann(tmp_path):
    """A CANN of release 8.1 and a driver, as files; the environment that set_env.sh would make."""
    latest = tmp_path / "usr" / "local" / "Ascend" / "ascend-toolkit" / "latest"
    for folder in ("compiler", "lib64", "opp"):
        (latest / folder).mkdir(parents=True)
    (latest / "compiler" / "version.info").write_text(CANN_8_1)
    for name in ("libascendcl.so", "libgraph.so", "libhccl.so"):
        (latest / "lib64" / name).touch()
    driver = tmp_path / "usr" / "local" / "Ascend" / "driver"
    driver.mkdir()
    (driver / "version.info").write_text(DRIVER_INFO)
    accepts(tmp_path, "7.7", "7.8", "8.2")
    return {
        "ASCEND_HOME_PATH": str(latest),
        "ASCEND_OPP_PATH": str(latest / "opp"),
        "LD_LIBRARY_PATH": f"{latest}/lib64:/lib",
    }


def lines(findings, *, ok: bool):
    return [str(finding) for finding in findings if finding.ok is ok]


def test_a_complete_machine_lacks_nothing(cann, tmp_path):
    found = inspect(cann, ge=True, machine=machine(tmp_path))
    assert lines(found, ok=False) == []
    assert [(finding.subject, finding.found) for finding in found] == [
        ("numpy", "1.26.4"),
        ("mindspore_lite", "2.7.0"),
        ("ASCEND_HOME_PATH", cann["ASCEND_HOME_PATH"]),
        ("CANN", "8.1.RC1 (compiler 7.7.0.1.238)"),
        ("libascendcl.so", f"{cann['ASCEND_HOME_PATH']}/lib64/libascendcl.so"),
        ("libgraph.so", f"{cann['ASCEND_HOME_PATH']}/lib64/libgraph.so"),
        ("libhccl.so", f"{cann['ASCEND_HOME_PATH']}/lib64/libhccl.so"),
        ("ASCEND_OPP_PATH", cann["ASCEND_OPP_PATH"]),
        ("driver", "24.1.rc3"),
        ("cards", "2 of 2 /dev/davinci files"),
    ]


def test_a_bare_machine_lacks_everything_one_line_each(tmp_path):
    bare = Machine(tmp_path, (3, 11), {"numpy": "2.1.0"}.get)
    found = inspect({}, ge=True, machine=bare)
    assert lines(found, ok=False) == [
        "numpy: found 2.1.0, wanted below 2 (CANN and older wheels need it): pip install 'numpy<2'",
        "mindspore_lite: found none, wanted 2.4.1 or later for kind ascend on Python 3.11: install "
        "the vendor's cloud wheel 2.4.1 or later for Python 3.11, from the download page of "
        "MindSpore Lite",
        f"ASCEND_HOME_PATH: found not set, wanted CANN's folder: {environment._SET_ENV}",
        *(
            f"{name}: found none, wanted in a folder of LD_LIBRARY_PATH{user}: "
            f"{environment._SET_ENV}"
            for name, user in (
                ("libascendcl.so", ""),
                ("libgraph.so", ""),
                ("libhccl.so", ", for provider ge"),
            )
        ),
        f"ASCEND_OPP_PATH: found not set, wanted CANN's opp folder: {environment._SET_ENV}",
        f"driver: found none ({tmp_path}/usr/local/Ascend/driver/version.info is missing), wanted "
        "an installed Ascend driver: install the driver, or mount /usr/local/Ascend/driver into "
        "this container",
        "cards: found 0 of 0 /dev/davinci files, wanted at least 1 that this process may see: "
        "npu-smi info shows the cards; a container needs their devices",
    ]
    assert [finding.subject for finding in found if finding.stops] == ["mindspore_lite", "cards"]


def test_a_home_that_does_not_exist_stops_every_kind_that_imports_the_library(cann, tmp_path):
    env = cann | {"ASCEND_HOME_PATH": "/opt/gone"}
    for kind in ("ascend", "cpu"):
        (stop,) = (f for f in inspect(env, kind=kind, machine=machine(tmp_path)) if f.stops)
        assert str(stop) == (
            "ASCEND_HOME_PATH: found /opt/gone, which does not exist, wanted CANN's folder: set it "
            f"to the folder of the installed CANN, or unset it: {environment._SET_ENV}"
        )
    assert inspect(env, kind="emulated", machine=machine(tmp_path)) == ()


def test_the_custom_path_goes_first(cann, tmp_path):
    env = cann | {"ASCEND_CUSTOM_PATH": "/opt/gone"}
    (stop,) = (f for f in inspect(env, machine=machine(tmp_path)) if f.stops)
    assert (stop.subject, stop.found) == (
        "ASCEND_CUSTOM_PATH",
        "/opt/gone/latest, which does not exist",
    )


def test_kind_cpu_needs_no_cann(tmp_path):
    assert lines(inspect({}, kind="cpu", machine=machine(tmp_path)), ok=False) == []


@pytest.mark.parametrize(("python", "first"), [((3, 10), "2.3.1"), ((3, 12), "2.8.0")])
def test_a_release_that_was_made_for_this_python_is_named_for_kind_cpu(tmp_path, python, first):
    """2.0 would do, and its wheels are for Python 3.7."""
    bare = machine(tmp_path, python=python, mindspore_lite=None)
    (library,) = (f for f in inspect({}, kind="cpu", machine=bare) if f.subject == "mindspore_lite")
    assert library.wanted.startswith("2.0.0 or later for kind cpu")
    assert library.fix.startswith(f"install the vendor's cloud wheel {first} or later for Python")


@pytest.mark.parametrize(
    ("python", "release", "wanted"),
    [
        ((3, 10), "2.3.0", "2.3.1"),
        ((3, 10), "2.3.1", None),
        ((3, 11), "2.4.0", "2.4.1"),
        ((3, 11), "2.4.10", None),
        ((3, 12), "2.7.0", "2.8.0"),
        ((3, 12), "2.10.0", None),
    ],
)
def test_the_first_release_depends_on_python(cann, tmp_path, python, release, wanted):
    found = inspect(cann, machine=machine(tmp_path, python=python, mindspore_lite=release))
    (library,) = (finding for finding in found if finding.subject == "mindspore_lite")
    assert library.stops is (wanted is not None)
    assert wanted is None or library.wanted.startswith(f"{wanted} or later")


@pytest.mark.parametrize(
    ("component", "product", "release", "bad"),
    [
        ("7.6.0.1.220", "8.0.0", "2.7.0", "8.0.0 (compiler 7.6.0.1.220)"),
        ("8.2.0.0.201", "8.2.RC1", "2.7.1", None),
        ("8.5.0.2.220", "8.5.0", "2.7.0", "8.5.0"),
    ],
)
def test_cann_is_held_against_the_list_that_the_installed_library_has(
    cann, tmp_path, component, product, release, bad
):
    info = Path(cann["ASCEND_HOME_PATH"], "compiler", "version.info")
    info.write_text(f"Version={component}\nversion_dir={product}\n")
    found = inspect(cann, machine=machine(tmp_path, mindspore_lite=release))
    assert lines(found, ok=False) == (
        [
            f"CANN: found {bad}, wanted compiler 7.7, 7.8, 8.2 (mindspore_lite {release}): "
            "install the CANN that this release of mindspore_lite names"
        ]
        if bad
        else []
    )


@pytest.mark.parametrize("listed", [("7.3",), ()])
def test_a_release_that_has_another_list_or_none(cann, tmp_path, listed):
    accepts(tmp_path, *listed)
    found = inspect(cann, machine=machine(tmp_path, mindspore_lite="2.8.0"))
    (cann_line,) = (finding for finding in found if finding.subject == "CANN")
    told = "CANN: found 8.1.RC1 (compiler 7.7.0.1.238), wanted "
    if listed:
        assert str(cann_line).startswith(f"{told}compiler 7.3 (mindspore_lite 2.8.0): install ")
    else:
        assert cann_line.warns
        assert str(cann_line) == (
            f"{told}that for mindspore_lite 2.8.0, and not known which CANN it is: compare with "
            "its release notes"
        )


def test_a_cann_without_its_version_file(cann, tmp_path):
    Path(cann["ASCEND_HOME_PATH"], "compiler", "version.info").unlink()
    (line,) = lines(inspect(cann, machine=machine(tmp_path)), ok=False)
    assert line == (
        f"CANN: found no version, wanted {cann['ASCEND_HOME_PATH']}/compiler/version.info: "
        "reinstall the CANN toolkit"
    )


def test_libraries_may_come_from_the_system_cache(cann, tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "ld.so.cache").write_bytes(b"\0libascendcl.so\0libgraph.so\0")
    del cann["LD_LIBRARY_PATH"]
    assert lines(inspect(cann, machine=machine(tmp_path)), ok=False) == []


def test_the_driver_is_where_its_installer_says(cann, tmp_path):
    (tmp_path / "usr/local/Ascend/driver").rename(tmp_path / "driver")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "ascend_install.info").write_text("Driver_Install_Path_Param=/\n")
    assert lines(inspect(cann, machine=machine(tmp_path)), ok=False) == []


def test_a_visible_list_decides_which_cards_count(cann, tmp_path):
    def cards(listed):
        env = cann | {"ASCEND_RT_VISIBLE_DEVICES": listed}
        return inspect(env, machine=machine(tmp_path, cards=4))[-1]

    assert cards("1,3").found == "2 of 4 /dev/davinci files (ASCEND_RT_VISIBLE_DEVICES=1,3)"
    assert cards("7").stops
    some = cards("1,9")
    assert (some.ok, some.stops) == (False, False)
    assert some.fix.startswith("CANN drops 9 of ASCEND_RT_VISIBLE_DEVICES, since it counts the car")
    assert cards("3,1").found == (
        "ASCEND_RT_VISIBLE_DEVICES=3,1 is not ascending, and CANN then disables cards: use 1,3"
    )


def test_packages_are_found_without_importing_them():
    assert environment.installed("numpy")
    assert environment.installed("no-such-package-anywhere") is None
