"""The four scenarios through the driver, all in one deployment."""

import pytest

from tests.seed.test_seed import NAMES, require_cards, run

#: What the driver's scenarios print: the cards, and the same shares as above.
DRIVEN = {
    "one_card, local/0": 0.75,
    "two_cards, local/1": 0.75,
    "two_cards, local/2": 0.75,
    "five_threads, local/3": 0.35,
    "ge_pair, local/4": 0.6,
}


@pytest.mark.timeout(900)
def test_the_driver_shares_as_much_by_itself():
    found = run("driven")
    assert found.keys() == DRIVEN.keys()
    for card, (shared, alone) in found.items():
        assert 0 < shared <= DRIVEN[card] * alone


@pytest.mark.ascend
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_the_same_on_real_cards(name):
    require_cards(name)
    assert run("driven", name, "--kind", "ascend")
