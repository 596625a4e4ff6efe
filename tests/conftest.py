"""Fixtures for all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no reason to fail: examples count, not the time that each takes.
settings.register_profile(
    "any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any_machine")

_HERE = Path(__file__).parent
#: Folders and files whose tests start Ray.
_WITH_RAY = {"runtime", "docs", "seed", "cli/test_run.py", "cli/test_doctor.py"}


@pytest.hookimpl(tryfirst=True)  # before the plugin looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what stays together when two processes share the tests: a file, and all that need Ray.

    Two Rays that start at a time on two cores can take longer than Ray gives a node to start. What
    needs Ray takes longest, and comes first.
    """
    for item in items:
        group = "ray" if _with_ray(item) else item.path.relative_to(_HERE).as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_with_ray, reverse=True)


def _with_ray(item: pytest.Item) -> bool:
    file = item.path.relative_to(_HERE)
    return not _WITH_RAY.isdisjoint({file.parts[0], file.as_posix()})


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Keep measured sizes of this test run away from the user's cache, children included."""
    folder = str(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASCEND_ORCHESTRATOR_CACHE", folder)
        yield folder
