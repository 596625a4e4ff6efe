"""The four scenarios of memory sharing, straight on the library's API."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from actors import device, emulator
from examples.seed import cards, five_threads, ge_pair, one_card, two_cards

#: Scenario -> by card, the largest share of the unshared memory that sharing may leave.
SCENARIOS = {
    one_card: {"card 0": 0.75},
    two_cards: {"card 0": 0.75, "card 1": 0.75},
    five_threads: {"card 0": 0.35},
    ge_pair: {"card 0": 0.6},
}
NAMES = [module.__name__.rpartition(".")[2] for module in SCENARIOS]
LINE = re.compile(r"  (.+): ([\d.]+) MiB shared, ([\d.]+) MiB without")


def run(name: str, *arguments: str) -> dict[str, tuple[float, float]]:
    """Run a script as a user does; what it says, by card."""
    done = subprocess.run(
        [sys.executable, "-m", f"examples.seed.{name}", *arguments],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {card: (float(mine), float(alone)) for card, mine, alone in LINE.findall(done.stdout)}


def require_cards(name: str) -> None:
    """Skip unless this machine has the scenario's cards and the library."""
    needed = 2 if name == "two_cards" else 1
    if device.count({}, (file.name for file in Path("/dev").iterdir())) < needed:
        pytest.skip(f"needs cards: there are not {needed} /dev/davinci* here")
    if find_spec("mindspore_lite") is None:
        pytest.skip("needs the genuine mindspore_lite")


@pytest.fixture
def gauges():
    """Scripts leave the reading of cards to the end of their process."""
    yield
    for device_id in range(2):
        cards._gauge(emulator, device_id).close()
    cards._gauge.cache_clear()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=NAMES)
def test_sharing_saves_memory(scenario, tmp_path, gauges):
    taken = []
    for share in (True, False):
        emulator.configure([cards.CAPACITY] * 2)  # as a new process has them
        taken.append(scenario.scenario(emulator, tmp_path, share))
    shared, alone = taken
    assert shared.keys() == alone.keys() == SCENARIOS[scenario].keys()
    for card, share in SCENARIOS[scenario].items():
        assert 0 < shared[card] <= share * alone[card]


@pytest.mark.timeout(900)
def test_a_script_says_how_much():
    ((card, (shared, alone)),) = run("five_threads").items()
    assert card == "card 0"
    assert 0 < shared <= 0.35 * alone


@pytest.mark.skipif(find_spec("mindspore_lite") is not None, reason="the library is installed")
@pytest.mark.parametrize("name", ["one_card", "driven"])
def test_a_script_says_what_it_lacks_for_real_cards(name):
    done = subprocess.run(
        [sys.executable, "-m", f"examples.seed.{name}", "--kind", "ascend"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 2
    told = "--kind ascend cannot run here: mindspore_lite: found none, wanted "
    assert f"{name}.py: error: {told}" in done.stderr
    assert "install the vendor's cloud wheel" in done.stderr


@pytest.mark.ascend
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_the_same_on_real_cards(name):
    require_cards(name)
    assert run(name, "--kind", "ascend")
