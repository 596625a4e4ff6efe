"""The four scenarios of memory sharing, each run as a user runs it."""

import re
import subprocess
import sys

import pytest

#: Script -> by card, the largest share of the unshared memory that sharing may leave.
SCENARIOS = {
    "one_card": {"card 0": 0.75},
    "two_cards": {"card 0": 0.75, "card 1": 0.75},
    "five_threads": {"card 0": 0.35},
    "ge_pair": {"card 0": 0.6},
}
LINE = re.compile(r"  (card \d): ([\d.]+) MiB shared, ([\d.]+) MiB without")


def run(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", f"examples.seed.{name}", *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SCENARIOS)
def test_sharing_saves_memory_and_the_script_says_how_much(name):
    done = run(name)
    assert done.returncode == 0, done.stderr
    found = {
        card: (float(shared), float(alone)) for card, shared, alone in LINE.findall(done.stdout)
    }
    assert found.keys() == SCENARIOS[name].keys()
    for card, (shared, alone) in found.items():
        assert 0 < shared <= SCENARIOS[name][card] * alone


@pytest.mark.ascend
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_on_real_cards(name):
    pytest.importorskip("mindspore_lite", reason="needs the genuine library")
    pytest.importorskip("acl", reason="needs a card, and pyACL to ask for its memory")
    done = run(name, "--kind", "ascend")
    assert done.returncode == 0, done.stderr
    assert LINE.search(done.stdout)
