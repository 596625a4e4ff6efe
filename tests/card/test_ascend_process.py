"""Kind ascend and cpu from start to stop, on stand-ins for the vendor's two packages."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors import emulator
from actors.card import CardActor
from actors.claims.claims import Claim
from actors.claims.judging import Verdict
from actors.errors import CardError, DoesNotFitError, LibraryError, LoadError, PredictError
from actors.lite import LiteCard, load_library
from actors.machine import strangers, verdicts
from actors.machine.gauge import Gauge
from actors.memory import card_memory
from actors.messages import NOTHING_SHARED, ModelOrder
from orchestrator.cli.verify_card import keep_mixture
from orchestrator.config import parse_deployment
from orchestrator.errors import DeploymentError
from orchestrator.profiles import ProfileCache
from orchestrator.runtime.cluster.measure import measure_missing, proven
from tests import models
from tests.card.conftest import STANDINS, GiB, Vendor, answer, ascend, card_order, changed, expected
from tests.mindirs import write_mindir

IMAGE = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)


def test_a_card_is_measured_by_one_thread_that_lives_as_long(
    vendor: Vendor, devices: Path, real_file: ModelOrder
) -> None:
    card = CardActor(devices=devices)
    card.identify("node", "5", 0, visible="5")
    report = card.load(ascend(changed(real_file, threads=2)))
    assert report.identity.library == f"mindspore_lite {vendor.lite.__version__}"
    assert report.identity.visible == "5"
    memory = report.memory
    assert memory.source == "pyACL"
    assert memory.measured_bytes == memory.planned.total
    assert memory.residual_bytes == 0
    assert memory.others_bytes == 0
    np.testing.assert_allclose(
        answer(card, "conv", x=IMAGE)["y"], expected(real_file, x=IMAGE)["y"], rtol=1e-5, atol=1e-6
    )
    card.memory(fresh=True)
    card.stop()
    names = [name for name, _ in vendor.acl.calls]
    assert names[:3] == ["init", "get_device_count", "set_device"]
    assert set(names[3:]) == {"get_mem_info"}, "nothing is set twice, reset or finalised"
    assert {thread for _, thread in vendor.acl.calls} == {"card-memory"}


def test_what_others_hold_is_seen_before_anything_is_built(
    vendor: Vendor, devices: Path, real_file: ModelOrder
) -> None:
    vendor.acl.held = GiB - 50_000
    card = CardActor(devices=devices)
    with pytest.raises(DoesNotFitError) as caught:
        card.load(ascend(real_file))
    assert f"others hold {GiB - 50_000:,} of the {GiB:,} bytes" in str(caught.value)
    assert "(pyACL), still after 0 s: end them" in str(caught.value)
    assert emulator.memory(0).card_memory.total == 0


def test_memory_of_a_process_that_ended_is_waited_for(
    vendor: Vendor, devices: Path, real_file: ModelOrder
) -> None:
    vendor.acl.held = GiB
    readings: list[int] = []

    def give_back() -> None:
        readings.append(vendor.acl.held)
        if len(readings) == 3:
            vendor.acl.held = 1 << 20

    vendor.acl.on_read = give_back
    card = CardActor(devices=devices)
    report = card.load(replace(ascend(real_file), memory_wait_seconds=3600))
    card.stop()
    assert report.memory.others_bytes == 1 << 20, "a little of it is still somebody's"
    assert report.memory.residual_bytes == 0
    assert readings[:3] == [GiB] * 3


SMI = """\
| NPU   Name    | Health | Power(W) Temp(C) |
| Chip          | Bus-Id | AICore(%)  Memory-Usage(MB) |
| 0     310P3   | OK     | NA 50 0 / 0 |
| 0     0       | 0000:01:00.0 | 0 900 / 1024 |
| NPU   Chip    | Process id | Process name | Process memory(MB) |
| 0     0       | {mine} | ours | 1 |
| 0     0       | {other} | trainer | 1024 |
"""


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Make npu-smi list this pid of ours, and another that holds a GiB."""

    def listing(mine: int, other: int) -> None:
        file = tmp_path / "npu-smi"
        file.write_text(f"#!/bin/sh\necho '{SMI.format(mine=mine, other=other)}'\n")
        file.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    return listing


def load_beside(vendor: Vendor, devices: Path, order: ModelOrder, wait: float) -> float:
    """Load a card that lacks memory; how long it tried."""
    vendor.acl.held = GiB - 50_000
    card, began = CardActor(devices=devices), time.monotonic()
    card.identify("node", "0", 0)
    with pytest.raises(DoesNotFitError, match="others hold"):
        card.load(replace(ascend(order), memory_wait_seconds=wait))
    return time.monotonic() - began


def test_a_stranger_who_lives_is_named_and_not_waited_for(
    vendor: Vendor, devices: Path, real_file: ModelOrder, smi: Callable[[int, int], None]
) -> None:
    smi(os.getpid(), os.getppid())
    vendor.acl.held = GiB - 50_000
    card = CardActor(devices=devices)
    card.identify("node", "0", 0)
    with pytest.raises(DoesNotFitError) as caught:
        card.load(replace(ascend(real_file), memory_wait_seconds=30))
    told = f"(pyACL), trainer (pid {os.getppid()}) {GiB:,} of them, still after 0 s"
    assert told in str(caught.value)


@pytest.mark.parametrize("whose", ["ours", "nobody's", "another namespace's"])
def test_memory_that_may_come_back_is_waited_for(
    vendor: Vendor,
    devices: Path,
    real_file: ModelOrder,
    smi: Callable[[int, int], None],
    tmp_path: Path,
    whose: str,
) -> None:
    """A process of ours that is ending, one that is gone, and pids that mean nothing here."""
    mine, other = os.getpid(), os.getppid()
    if whose == "ours":
        code = (
            "from actors.machine import strangers; strangers.enter(); print(1, flush=True); input()"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        other = child.pid
    smi(mine if whose != "another namespace's" else 1, other if whose != "nobody's" else 1 << 22)
    assert load_beside(vendor, devices, real_file, wait=0.3) >= 0.3
    if whose == "ours":
        child.communicate(b"\n")


def test_a_file_that_is_no_pid_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(tmp_path))
    strangers.enter()
    [mine] = (tmp_path / "processes").rglob(str(os.getpid()))
    mine.with_name(".nfs01").touch()
    mine.with_name(str(1 << 22)).touch()  # of a process of ours that ended
    strangers.enter()
    assert sorted(file.name for file in mine.parent.iterdir()) == [".nfs01", mine.name]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("init", "acl.init answered 500000: the card is in use by another process"),
        ("set_device", r"acl.rt.set_device\(0\) answered 500000"),
        ("get_mem_info", "acl.rt.get_mem_info answered 500000"),
    ],
)
def test_a_card_that_refuses_is_said(
    vendor: Vendor, devices: Path, real_file: ModelOrder, call: str, told: str
) -> None:
    vendor.acl.codes[call] = 500000
    with pytest.raises(CardError, match=told):
        CardActor(devices=devices).load(ascend(real_file))


def test_acl_that_the_library_initialised_and_ddr_cards_are_fine(
    vendor: Vendor, devices: Path, real_file: ModelOrder
) -> None:
    vendor.acl.codes["init"] = 100002
    vendor.acl.has_hbm = False
    card = CardActor(devices=devices)
    assert card.load(ascend(real_file)).memory.source == "pyACL"
    card.stop()


def test_a_device_that_is_not_there_is_refused_before_the_library_falls_back_to_card_0(
    vendor: Vendor, devices: Path, real_file: ModelOrder
) -> None:
    (devices / "davinci1").touch()
    card = CardActor(devices=devices)
    card.identify("node", "1", 1)
    with pytest.raises(CardError, match="answered 1, and this process was given device 1"):
        card.load(ascend(real_file))
    card = CardActor(devices=devices)
    card.identify("node", "2", 2)
    with pytest.raises(CardError, match="device_id 2 is out of range: this process sees 2 Ascend"):
        card.load(ascend(real_file))


@pytest.mark.parametrize("broken", [False, True])
def test_without_pyacl_and_npu_smi_a_card_is_not_measured_and_says_so(
    vendor: Vendor,
    devices: Path,
    real_file: ModelOrder,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    broken: bool,
) -> None:
    if broken:
        (tmp_path / "acl.py").write_text("raise OSError('libascendcl.so: file too short')")
        del sys.modules["acl"]
        monkeypatch.syspath_prepend(tmp_path)
    else:
        monkeypatch.setitem(sys.modules, "acl", None)
    monkeypatch.setenv("PATH", "")
    card = CardActor(devices=devices)
    memory = card.load(ascend(real_file)).memory
    card.stop()
    assert (memory.source, memory.measured_bytes) == ("not measured", None)
    assert memory.residual_bytes is None


@pytest.mark.parametrize(
    ("version", "lacks", "told"),
    [
        ("2.3.0", set(), "mindspore_lite 2.3.0 is installed. Install the vendor's wheel of"),
        ("2.0.0", {"ModelGroup"}, "mindspore_lite 2.0.0 is installed, which has no ModelGroup."),
        (None, {"ModelGroupFlag"}, "which has no ModelGroupFlag.SHARE_WEIGHT."),
    ],
)
def test_a_release_that_is_too_old_is_refused_with_the_one_needed(
    vendor: Vendor, version: str | None, lacks: set[str], told: str
) -> None:
    vendor.lite.version, vendor.lite.lacks = version, lacks
    with pytest.raises(LibraryError) as caught:
        load_library("ascend")
    assert told in str(caught.value)
    assert "of release 2." in str(caught.value)
    assert load_library("cpu") is vendor.lite, "kind cpu takes any release from 2.0 on"


def test_kind_cpu_shares_nothing_and_runs_on_any_release(
    vendor: Vendor, real_file: ModelOrder
) -> None:
    for release in ("2.0", "2.7"):
        emulator.configure([GiB], release=release)
        card = CardActor()
        order = replace(changed(real_file, threads=2), precision="enforce_fp16")
        report = card.load(replace(card_order(order), kind="cpu"))
        assert report.memory.planned == report.memory.unshared
        assert report.memory.source == "not measured"
        assert report.warnings == (NOTHING_SHARED,)
        np.testing.assert_allclose(
            answer(card, "conv", x=IMAGE)["y"],
            expected(real_file, x=IMAGE)["y"],
            rtol=1e-5,
            atol=1e-6,
        )
        card.stop()


def test_options_reach_a_release_that_takes_only_a_file(
    vendor: Vendor, real_file: ModelOrder, tmp_path: Path
) -> None:
    emulator.configure([GiB], release="2.0")
    own = tmp_path / "own.ini"
    own.write_text("[common]\nkept=1\nchanged=1\n")
    order = replace(real_file, config_path=str(own), config={"common": {"changed": "2"}})
    seen: list[str] = []
    plain = emulator.Model.build_from_file

    class Model(emulator.Model):
        def build_from_file(self, model_path, model_type, context=None, config_path=""):
            seen.append(Path(config_path).read_text())
            plain(self, model_path, model_type, context, config_path)

    vendor.lite.Model = Model
    LiteCard(vendor.lite, "cpu", "local/0", 0).build(order)
    assert seen == ["[common]\nkept=1\nchanged=2\n"]


def test_a_failed_build_is_reported_with_everything_that_is_known(
    vendor: Vendor, devices: Path, tmp_path: Path, conv: ModelOrder
) -> None:
    bad = replace(conv, name="bad", path=str(models.write_garbage(tmp_path, "garbage")))
    Path(bad.path).write_bytes(b"garbage")
    card = CardActor(devices=devices)
    card.identify("node", "5", 0)
    with to_file(tmp_path / "stderr"), pytest.raises(LoadError) as caught:
        card.load(ascend(bad))
    text = str(caught.value)
    assert text.startswith(f"card local/0: model bad ({bad.path}) did not load: ModelGroup's cal")
    assert f"node {os.uname().nodename}, npu 5, device_id 0" in text
    assert bad.footprint is not None
    assert f"planned {card_memory([bad.footprint]).total:,} bytes (weights " in text
    assert f"| {GiB:,} of {GiB:,} bytes free (pyACL)" in text
    assert "native log: [ERROR] LITE(1,python): Cal max size of workspace failed" in text
    assert "likely causes: " in text
    assert text.index("ASCEND_HOME_PATH: found not set") < text.index("the file is damaged")


def test_a_failed_predict_is_reported_likewise(
    vendor: Vendor, devices: Path, tmp_path: Path, words: ModelOrder
) -> None:
    Path(words.path).write_bytes(b"not looked into here")
    card = CardActor(devices=devices)
    card.load(ascend(words))
    with to_file(tmp_path / "stderr"), pytest.raises(PredictError) as caught:
        os.write(2, b"[ERROR] LITE(1,python): of an hour ago\n")
        answer(card, "words", ids=np.full((4, 6), 999, np.int64))
    card.stop()
    text = str(caught.value)
    assert text.startswith("card local/0: model words failed: predict failed! | ")
    assert words.path in text
    assert "native log: [ERROR] LITE" in text
    assert "of an hour ago" not in text, "the log of this call alone"
    assert "bytes free (pyACL)" in text


def to_file(path: Path) -> "Redirected":
    return Redirected(path)


class Redirected:
    """Standard error as a file, as it is in every process that Ray starts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._kept = os.dup(2)
        with self._path.open("wb") as file:
            os.dup2(file.fileno(), 2)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._kept, 2)
        os.close(self._kept)


def test_a_process_that_was_forked_after_the_import_is_refused() -> None:
    script = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(STANDINS)!r})\n"
        "import mindspore_lite\n"
        "from actors.lite import load_library\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    try:\n"
        "        load_library('ascend')\n"
        "    except Exception as error:\n"
        "        os.write(1, str(error).encode())\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "was forked from one that had imported mindspore_lite. Start card processes by" in (
        done.stdout
    )


def test_a_file_that_was_not_converted_is_refused_unless_it_may_be_compiled_at_every_build(
    vendor: Vendor, devices: Path, real_file: ModelOrder, tmp_path: Path
) -> None:
    path = Path(real_file.path)
    write_mindir(path, {"x": (2, 3, 16, 16)})
    told = r"it was not converted for Ascend.*orchestrator convert --target ascend.*compile_at_buil"
    with pytest.raises(LoadError, match=told):
        CardActor(devices=devices).load(ascend(real_file))
    card = CardActor(devices=devices)
    card.load(ascend(replace(real_file, compile_at_build=True)))
    card.stop()
    model = {
        "name": "conv",
        "path": real_file.path,
        "sizes": dict.fromkeys(("weights", "workspace", "io"), "1MiB"),
    }
    data = {"name": "d", "cards": {"kind": "ascend", "count": 1}, "models": [model]}
    plain, allowed = (
        parse_deployment({**data, "models": [{**model, **more}]})
        for more in ({}, {"compile_at_build": True})
    )
    for refused in (proven, lambda wanted: measure_missing(wanted, ProfileCache())):
        with pytest.raises(DeploymentError) as caught:
            refused(plain)
        assert str(caught.value) == (
            "d: model conv: file: found one that is compiled whenever it is built, wanted a MindIR "
            "that was converted for Ascend: orchestrator convert --target ascend, or allow it with "
            "compile_at_build: true, which makes every start slow"
        )
    assert proven(allowed) == allowed
    assert measure_missing(allowed, ProfileCache()) == ()


def test_a_mixture_of_providers_is_refused_until_verify_card_has_passed_it_on_this_node(
    vendor: Vendor, no_verdicts: None, devices: Path, real_file: ModelOrder, words: ModelOrder
) -> None:
    Path(words.path).write_bytes(b"not looked into here")
    order = ascend(changed(real_file, provider="ge", share_workspace=False), words)
    mixed = replace(order, mix_ge_and_acl=True)
    where = verdicts.combination("")

    def refusal() -> str:
        with pytest.raises(CardError) as caught:
            CardActor(devices=devices).load(mixed)
        return str(caught.value)

    assert "cards.mix_ge_and_acl is set, and that mixture has not been tried on this" in refusal()
    assert f"({where}): run orchestrator verify-card on an idle card of this node" in refusal()
    for verdict, told in (
        (Verdict.UNCHECKED, "has not been tried"),
        (Verdict.FAILED, "failed here: 3 MiB more"),
    ):
        keep_mixture([Claim(verdicts.MIXTURE, verdict, "3 MiB more")], 0)
        assert told in refusal()
    keep_mixture([Claim(verdicts.MIXTURE, Verdict.HELD, "as apart")], 0)
    assert "verify-card" not in refusal(), "the next thing that GE lacks here"


def test_a_gauge_that_is_closed_answers_with_what_it_knows() -> None:
    gauge = Gauge(lambda: None)
    gauge.close()
    assert gauge.read() is None
    assert gauge.latest is None
