"""Four models on two cards: grouped by card, each card sizes and holds its own largest workspace.

One process may serve both cards, as here; the group's list is empty after each sizing. (Our own
cards have a process each, so that one that fails takes no other along.)
"""

from pathlib import Path
from types import ModuleType

from actors.claims.networks import write_conv
from examples.seed.cards import compare, context, converted, run, scale, used_bytes

#: Height and width of the images that each card's models take, on emulated cards.
CARDS = {0: (256, 224), 1: (224, 160)}


def scenario(library: ModuleType, folder: Path, share: bool) -> dict[str, int]:
    """Bytes that each card's two models take there."""
    times = scale(library)
    paths = {
        card: [
            converted(library, write_conv(folder, f"c{card}_{size}", size * times))
            for size in sizes
        ]
        for card, sizes in CARDS.items()
    }
    before = {card: used_bytes(library, card) for card in CARDS}
    if share:
        group = library.ModelGroup(library.ModelGroupFlag.SHARE_WORKSPACE)
        for card, members in paths.items():
            group.add_model(members)
            group.cal_max_size_of_workspace(library.ModelType.MINDIR, context(library, card))
    models = []
    for card, members in paths.items():
        for path in members:
            model = library.Model()
            model.build_from_file(path, library.ModelType.MINDIR, context(library, card))
            models.append(model)
    for model in models:
        run(model)
    return {f"card {card}": used_bytes(library, card) - before[card] for card in CARDS}


if __name__ == "__main__":
    compare(scenario, "four models of two cards, a workspace for each card", cards=2)
