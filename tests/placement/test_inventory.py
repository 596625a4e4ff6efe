"""``--cards`` and the deployment's own cards section as an inventory."""

import pytest

from orchestrator.config import Cards
from orchestrator.errors import DeploymentError
from orchestrator.inventory import Card, Inventory

MIB = 1 << 20
EMULATED = Cards(kind="emulated", count=3, capacity="64MiB", reserve="1MiB", overhead="2MiB")


def test_sizes():
    assert Inventory.parse("2x160MiB", EMULATED).cards == tuple(
        Card(
            name=f"local/{index}",
            node="local",
            kind="emulated",
            capacity_bytes=160 * MIB,
            overhead_bytes=2 * MIB,
            reserve_bytes=MIB,
        )
        for index in range(2)
    )


def test_types_bring_capacity_overhead_and_speed():
    (card,) = Inventory.parse("1x910B-32G", Cards(kind="ascend"))
    assert (card.type, card.capacity_bytes, card.overhead_bytes, card.speed) == (
        "910B-32G",
        32768 * MIB,
        3072 * MIB,
        3.0,
    )


@pytest.mark.parametrize(
    ("section", "streams"),
    [
        ({"kind": "ascend", "type": "310P"}, 1024),
        ({"kind": "ascend", "type": "910B-64G"}, 2048),
        ({"kind": "ascend", "type": "310P", "streams": 512}, 512),
        ({"kind": "ascend", "capacity": "1GiB", "streams": 512}, 512),
        ({"kind": "ascend", "capacity": "1GiB"}, None),
        ({"kind": "emulated", "type": "310P"}, None),
    ],
)
def test_a_card_has_the_hardware_streams_of_its_type(section, streams):
    (card,) = Inventory.declared(Cards(count=1, **section))
    assert card.streams == streams


def test_nodes_and_mixed_groups_count_on():
    cards = Inventory.parse("a:2x64MiB, b:1x310P, a:1x1GiB", EMULATED)
    assert [(card.name, card.capacity_bytes // MIB) for card in cards] == [
        ("a/0", 64),
        ("a/1", 64),
        ("b/0", 21504),
        ("a/2", 1024),
    ]


def test_declared():
    cards = Inventory.declared(EMULATED)
    assert [card.name for card in cards] == ["local/0", "local/1", "local/2"]
    assert {card.usable_bytes for card in cards} == {63 * MIB}
    (typed,) = Inventory.declared(Cards(kind="ascend", type="310P", count=1))
    assert (typed.capacity_bytes, typed.speed) == (21504 * MIB, 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2", "--cards 2: cannot read '2': write COUNTxSIZE or COUNTxTYPE"),
        ("", "--cards : cannot read ''"),
        ("2x", "cannot read '2x'"),
        ("ax160MiB", "cannot read 'ax160MiB'"),
        ("0x160MiB", "between 1 and 100,000 cards can be planned, got 0"),
        ("9999999x1MiB", "between 1 and 100,000 cards can be planned, got 9999999"),
        ("2x160Mb", "'160Mb' is neither a size nor a type (310P, 910B-32G, 910B-64G)"),
        ("2x-5MiB", "is neither a size nor a type"),
        ("2x0MiB", "a card of 0 bytes holds nothing"),
        ("2x160MiB,", "cannot read ''"),
        ("2x1MiB", "reserve and overhead take 3,145,728 bytes: nothing of 1MiB is left for models"),
    ],
)
def test_wrong_cards_are_refused_in_words(text, message):
    with pytest.raises(DeploymentError) as caught:
        Inventory.parse(text, EMULATED)
    assert message in str(caught.value)


def test_declared_needs_capacity_and_count():
    with pytest.raises(DeploymentError, match="cards: capacity is not known: write capacity"):
        Inventory.declared(Cards(kind="ascend", count=1))
    with pytest.raises(DeploymentError, match="cards: count is not known: write count: 2"):
        Inventory.declared(Cards(kind="ascend", type="310P"))
    with pytest.raises(DeploymentError, match="type 'mine' is not one of 310P, 910B"):
        Inventory.declared(Cards(kind="ascend", type="mine", count=1))
