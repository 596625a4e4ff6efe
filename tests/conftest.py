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

#: Tests that share one Ray, and take longest: they begin.
_FIRST = ("tests/runtime/",)
#: Tests that start a Ray each: they end, so that they do not wait for the others.
_LAST = ("tests/docs/", "tests/seed/", "tests/cli/test_run.py", "tests/jobs/test_ray_job.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests so that two processes have as much to do."""
    items.sort(key=lambda one: one.nodeid.startswith(_LAST) - one.nodeid.startswith(_FIRST))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which a run in one process does without
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep in one process the tests of a file, and those that share one Ray."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "Ray" if nodeid.startswith(_FIRST) else nodeid.partition("::")[0]

    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Keep measured sizes of this test run away from the user's cache, children included."""
    folder = str(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASCEND_ORCHESTRATOR_CACHE", folder)
        yield folder
