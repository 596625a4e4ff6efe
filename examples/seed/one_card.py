"""Two models on one card share a workspace, as large as the larger one's: not the sum.

Order is everything: declare both, size once, then build, by the very same path strings.
"""

from pathlib import Path
from types import ModuleType

from actors.claims.networks import write_conv
from examples.seed.cards import close, compare, context, converted, run, scale, used_bytes


def scenario(library: ModuleType, folder: Path, share: bool) -> dict[str, int]:
    """Bytes that the two models take on card 0."""
    sizes = {"a": 256 * scale(library), "b": 224 * scale(library)}
    paths = [converted(library, write_conv(folder, name, size)) for name, size in sizes.items()]
    before = used_bytes(library, 0)
    if share:
        group = library.ModelGroup(library.ModelGroupFlag.SHARE_WORKSPACE)
        group.add_model(paths)
        group.cal_max_size_of_workspace(library.ModelType.MINDIR, context(library, 0))
    models = []
    for path in paths:
        model = library.Model()
        model.build_from_file(path, library.ModelType.MINDIR, context(library, 0))
        models.append(model)
    first, _, again = (run(model) for model in (models[0], models[1], models[0]))
    assert close(first, again), "alternating models must not disturb each other"
    return {"card 0": used_bytes(library, 0) - before}


if __name__ == "__main__":
    compare(scenario, "two models of one card, one workspace")
