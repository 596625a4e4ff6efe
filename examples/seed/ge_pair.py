"""Two GE graphs of one network share its constants: Model objects in a group, before their build.

The option is ``ge.externalWeight`` in ``[ge_session_options]``; misspelled or in another section it
does nothing, silently. A group is one GE session: parameters are known by name alone, so graphs
whose parameters have equal names must have equal values (here: one network at two batch sizes), and
its graphs reuse one memory, so only one may run at a time.
"""

import threading
from pathlib import Path
from types import ModuleType

from actors.claims.networks import write_mlp
from examples.seed.cards import close, compare, context, converted, run, scale, used_bytes

CONFIG = {"ge_session_options": {"ge.externalWeight": "1"}}
WIDTH = 1024


def scenario(library: ModuleType, folder: Path, share: bool) -> dict[str, int]:
    """Bytes that the two graphs take on card 0."""
    paths = [
        converted(library, write_mlp(folder, f"rows_{rows}", rows, WIDTH * scale(library)), "ge")
        for rows in (1, 8)
    ]
    before = used_bytes(library, 0)
    models = [library.Model(), library.Model()]
    if share:
        group = library.ModelGroup(library.ModelGroupFlag.SHARE_WEIGHT)
        group.add_model(models)  # before the builds
    for model, path in zip(models, paths, strict=True):
        made = context(library, 0, provider="ge")
        model.build_from_file(path, library.ModelType.MINDIR, made, config_dict=CONFIG)
    one_at_a_time = threading.Lock()
    answers = []
    for model in models:
        with one_at_a_time:
            answers.append(run(model))
    assert close(answers[0][0], answers[1][0])
    return {"card 0": used_bytes(library, 0) - before}


if __name__ == "__main__":
    compare(scenario, "two GE graphs of one network, one copy of its weights")
