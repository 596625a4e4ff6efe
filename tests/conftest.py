"""Fixtures for all tests, and their order."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no reason to fail: examples count, not the time that each takes. They are the
# same in every run; pytest --hypothesis-profile=default looks for others.
settings.register_profile(
    "any_machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any_machine")

# Whoever runs the tests may ignore Ctrl-C, as a shell has what it puts into the background do; the
# processes that they start must not inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: Tests with Ray, which take longest: those of a package that shares one, and those that start one.
_LONG = (
    ("tests/runtime/",),
    (
        "tests/docs/",
        "tests/seed/",
        "tests/ascend/test_deployment.py",
        "tests/cli/test_run.py",
        "tests/jobs/test_ray_job.py",
    ),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, so that two processes which take file by file end together."""
    items.sort(key=lambda one: [not one.nodeid.startswith(names) for names in _LONG])


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Path]:
    """Keep measured sizes of this test run away from the user's cache, children included.

    What a model takes on the emulated card is measured once for both processes of a run.
    """
    folder = tmp_path_factory.mktemp("cache")
    if worker_id != "master":
        measured = tmp_path_factory.getbasetemp().parent / "emulator"
        measured.mkdir(exist_ok=True)
        (folder / "emulator").symlink_to(measured)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(folder))
        yield folder
