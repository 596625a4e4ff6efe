"""Fixtures for all tests, and how two processes share them."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no reason to fail: examples count, not the time that each takes.
settings.register_profile(
    "any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any_machine")

#: Folders and files whose tests start Ray, as the names of tests begin.
_WITH_RAY = tuple(
    f"tests/{name}"
    for name in (
        "runtime/",
        "docs/",
        "seed/",
        "cli/test_doctor.py",
        "cli/test_run.py",
        "jobs/test_ray_job.py",
    )
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what needs Ray, which takes longest."""
    items.sort(key=lambda item: item.nodeid.startswith(_WITH_RAY), reverse=True)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which a run in one process does without
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep in one process the tests of a file, and all that need Ray.

    Two Rays that start at a time on two cores can take longer than Ray gives a node to start.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "Ray" if nodeid.startswith(_WITH_RAY) else nodeid.partition("::")[0]

    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Keep measured sizes of this test run away from the user's cache, children included."""
    folder = str(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASCEND_ORCHESTRATOR_CACHE", folder)
        yield folder
