"""One model in five threads: weights are read-only, so all five Model objects use one copy.

Each thread declares, sizes and builds for itself, with a group of its own. The library keeps its
registrations without a lock, so one thread does that at a time; running needs no lock at all.
"""

import tempfile
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from actors.claims.networks import write_mlp
from actors.memory import ASCEND
from examples.seed.cards import MIB, close, compare, context, converted, run, scale, used_bytes

THREADS, LOOPS, WIDTH = 5, 30, 1024
_building = threading.Lock()


def scenario(library: ModuleType, folder: Path, share: bool) -> dict[str, int]:
    """The largest use of card 0 that any thread saw."""
    path = converted(library, write_mlp(folder, "model", 1, WIDTH * scale(library)))
    before = used_bytes(library, 0)
    seen: list[int] = []
    answers: list[np.ndarray] = []
    built = threading.Barrier(THREADS)

    def infer() -> None:
        model = _build(library, path, share)
        built.wait()
        found = [run(model) for _ in range(LOOPS)]
        answers.extend(found)
        with _building:
            seen.append(used_bytes(library, 0) - before)

    threads = [threading.Thread(target=infer) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == THREADS * LOOPS
    assert all(close(answer, answers[0]) for answer in answers)
    return {"card 0": max(seen)}


def _build(library: ModuleType, path: str, share: bool) -> Any:  # noqa: ANN401
    model = library.Model()
    with _building:
        if share:
            group = library.ModelGroup(library.ModelGroupFlag.SHARE_WEIGHT)
            group.add_model([path])
            group.cal_max_size_of_workspace(library.ModelType.MINDIR, context(library, 0))
        model.build_from_file(path, library.ModelType.MINDIR, context(library, 0))
    return model


def copy_bytes(folder: Path) -> int:
    """A copy of the weights on a card: a file is a little more than its weights.

    A real card loads what was converted, which may hold them in fewer bytes than the ``.onnx``.
    """
    file = folder / "model.mindir"
    return ASCEND.alloc((file if file.exists() else file.with_suffix(".onnx")).stat().st_size)


def main() -> None:
    """Compare, and check that all copies but one are saved, give or take one."""
    with tempfile.TemporaryDirectory() as made:
        title = "five threads of one model, one copy of it"
        ((shared, alone),) = compare(scenario, title, folder=Path(made)).values()
        copy = copy_bytes(Path(made))
    print(f"  a copy of the weights is {copy / MIB:.1f} MiB at most")
    assert (THREADS - 2) * copy < alone - shared < THREADS * copy, "not one copy in five threads"


if __name__ == "__main__":
    main()
