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


#: What starts a Ray of its own. One at a time: its processes have fixed limits for coming up.
STARTS_RAY = ("runtime/", "docs/", "cli/test_run.py", "seed/test_driven.py")


@pytest.hookimpl(tryfirst=True)  # xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several test processes: a file stays in one, and so does everything that starts Ray."""
    here = Path(__file__).parent
    groups = {item: item.path.relative_to(here).as_posix() for item in items}
    groups |= {item: "ray" for item, file in groups.items() if file.startswith(STARTS_RAY)}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: groups[item] != "ray")  # the longest group first


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Keep measured sizes of this test run away from the user's cache, children included."""
    folder = str(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASCEND_ORCHESTRATOR_CACHE", folder)
        yield folder
