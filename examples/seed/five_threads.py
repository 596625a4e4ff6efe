"""One model in five threads: weights are read-only, so all five Model objects use one copy.

Each thread declares, sizes and builds for itself, with a group of its own. The library keeps its
registrations without a lock, so one thread does that at a time; running needs no lock at all.
"""

import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from actors.claims.networks import write_mlp
from actors.messages import Array
from examples.seed.cards import MIB, close, compare, context, converted, run, scale, used_bytes

THREADS, LOOPS, WIDTH = 5, 30, 1024
_building = threading.Lock()


def scenario(library: ModuleType, folder: Path, share: bool) -> dict[str, int]:
    """The largest use of card 0 that any thread saw."""
    path = converted(library, write_mlp(folder, "model", 1, WIDTH * scale(library)))
    before = used_bytes(library, 0)
    seen: list[int] = []
    answers: list[Array] = []
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


def main() -> None:
    """Compare, and check that five threads take more than one takes alone, and less than two."""
    title = "five threads of one model, one copy of it"
    ((shared, alone),) = compare(scenario, title).values()
    one = alone / THREADS
    print(f"  a thread alone takes {one / MIB:.1f} MiB")
    assert 0.9 * one < shared < 2 * one, "not one copy in five threads"


if __name__ == "__main__":
    main()
