"""Measure what a model needs. Runs in a throw-away process: ``python -m actors.emulator.measure``.

Reads a job as JSON on standard input and writes the answer as JSON on standard output. There is no
call that tells an arena's peak: run once in a huge arena, ask the kernel which pages were touched,
then confirm in an arena of that size and add 3 % until three runs succeed.

Inputs are random but seeded: floats in [0, 1), integers and booleans 0 or 1, which are safe as
indices and as masks.
"""

import ctypes
import functools
import io
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from actors.emulator.arena import LARGEST, PAGE, Arena, Array, is_workspace_full

Feeds = Mapping[str, Array]

#: Arenas to look for the peak in. The engine's own tables take a 32nd of an arena: start small.
_WIDE = (512 << 20, LARGEST)
_TRIES = 40
#: How the engine's log names a region that an arena took.
_REGION = re.compile(r"Allocated memory at (0x[0-9a-fA-F]+) to (0x[0-9a-fA-F]+)")


def main() -> None:
    """Answer one job: ``{path, gears: [{name: [dtype, shape]}], bound}``."""
    job = json.load(sys.stdin)
    _count_small_pages()
    path = Path(job["path"])
    answers = []
    for gear in job["gears"]:
        try:
            answers.append(measure(path, _feeds(gear), bound=job["bound"]))
        except Exception as error:
            answers.append({"error": f"{type(error).__name__}: {error}"})
    json.dump(answers, sys.stdout)


def measure(path: Path, feeds: Feeds, *, bound: bool) -> dict[str, Any]:
    """Arena bytes for these feeds, and the outputs' types and shapes.

    With ``bound`` the outputs lie outside the arena, as they do in a card that keeps a buffer for
    them; outputs whose shape depends on the data cannot be bound.
    """
    outputs = _outputs(path, feeds)
    try:
        need = _need(path, feeds, {name: a if bound else None for name, a in outputs.items()})
    except Exception:  # what is wrong for another reason fails again when nothing is bound
        if not bound:
            raise
        bound, need = False, _need(path, feeds, dict.fromkeys(outputs))
    return {
        "workspace": need,
        "bound": bound,
        "outputs": [[name, array.dtype.name, list(array.shape)] for name, array in outputs.items()],
    }


def _outputs(path: Path, feeds: Feeds) -> dict[str, Array]:
    """The outputs of a run without an arena."""
    session = _session_without_arena(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@functools.cache
def _session_without_arena(path: Path) -> Any:  # noqa: ANN401 - the engine has no type stubs
    """One for all gears: to open it takes longer than to run it."""
    options = ort.SessionOptions()
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _peak(path: Path, feeds: Feeds, targets: Mapping[str, Array | None]) -> int:
    """Bytes up to the highest page that one run touches in an arena of its own.

    The arena must be at least twice as large: its unused end is then larger than any hole before
    it, and the engine, which takes the smallest chunk that fits, leaves it for last.
    """
    for size in _WIDE:
        try:
            found = _touched(size, path, feeds, targets)
        except Exception as error:
            if size == _WIDE[-1] or not is_workspace_full(error):
                raise
        else:
            if found <= size // 2:
                return found
    return found


def _touched(size: int, path: Path, feeds: Feeds, targets: Mapping[str, Array | None]) -> int:
    with _engine_log() as log:
        Arena(size).open(path).run(feeds, targets)
    return max((_extent(*region) for region in _REGION.findall(log.getvalue())), default=PAGE)


@contextmanager
def _engine_log() -> Iterator[io.StringIO]:
    """Collect what the engine logs meanwhile; it is there once the block is left.

    Read from standard error, where every version writes it; a callback came after 1.23.
    """
    log = io.StringIO()
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        ort.set_default_logger_severity(1)
        try:
            yield log
        finally:
            ort.set_default_logger_severity(3)
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            log.write(file.read().decode(errors="replace"))


def _extent(begin: str, end: str) -> int:
    """Bytes from the begin of a region to the end of its last used page."""
    low, high = int(begin, 16), int(end, 16)
    first = -(-low // PAGE) * PAGE
    pages = (high - first) // PAGE
    seen = (ctypes.c_ubyte * pages)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mincore(ctypes.c_void_p(first), ctypes.c_size_t(pages * PAGE), seen):
        raise OSError(ctypes.get_errno(), "mincore")
    touched = np.flatnonzero(np.frombuffer(bytes(seen), np.uint8) & 1)
    return first - low + (int(touched[-1]) + 1) * PAGE if touched.size else PAGE


def _need(path: Path, feeds: Feeds, targets: Mapping[str, Array | None]) -> int:
    """One run is a lower bound: fragmentation can ask for a little more.

    One of the runs is with zeros, to meet outputs whose shape depends on the data.
    """
    zeros = {name: np.zeros_like(array) for name, array in feeds.items()}
    need = _peak(path, feeds, targets)
    for _ in range(_TRIES):
        if _enough(need, path, (feeds, zeros, feeds), targets):
            return need
        need += need // 32 + PAGE
    raise RuntimeError(f"no workspace size settled after {_TRIES} tries (last {need:,} bytes)")


def _enough(
    size: int, path: Path, runs: Sequence[Feeds], targets: Mapping[str, Array | None]
) -> bool:
    """Whether all these runs find room in one region of this size."""
    with _engine_log() as log:
        engine = Arena(size).open(path)
        try:
            for feeds in runs:
                engine.run(feeds, targets)
        except Exception as error:
            if not is_workspace_full(error):
                raise
            return False
    return len(_REGION.findall(log.getvalue())) <= 1


def _feeds(gear: Mapping[str, Any]) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {name: _values(rng, np.dtype(kind), shape) for name, (kind, shape) in gear.items()}


def _values(rng: np.random.Generator, kind: np.dtype[Any], shape: list[int]) -> Array:
    if kind.kind == "f":
        return rng.random(shape).astype(kind)
    return rng.integers(0, 2, math.prod(shape)).reshape(shape).astype(kind)


def _count_small_pages() -> None:
    """Count 4 KiB pages, not 2 MiB ones; it lasts for the process."""
    pr_set_thp_disable = 41
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(pr_set_thp_disable, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    main()
