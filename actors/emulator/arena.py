"""One hard-capped workspace shared by many ONNX Runtime sessions.

Every setting here was found necessary by a measurement that failed without it (onnxruntime 1.32):
one large first region (``kNextPowerOfTwo`` with ``initial_chunk_size_bytes``) makes the total the
maximum and not the sum; ``max_dead_bytes_per_chunk`` 256 wastes least and 0 aborts the process;
without ``use_env_allocators`` each session has a private arena; prepacked weights would be reserved
inside the arena and lift its cap; memory patterns double the need from the second run on; before
1.24 weights lie inside the arena, unless ``use_device_allocator_for_initializers`` says otherwise.

The registered allocator is global to the process and cannot be chosen again once another one was
registered. An arena that must admit a session after that is therefore renewed: registered afresh,
and its sessions opened again in it.
"""

import ctypes
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime as ort

Array = npt.NDArray[Any]

PAGE = 4096
#: Arena sizes are multiples of this.
ALIGN = 256
#: The largest arena in one region: ``initial_chunk_size_bytes`` is a C int.
LARGEST = 2**31 - ALIGN

#: Whether an arena refuses what goes beyond its size. Before 1.24 (Python 3.10 has 1.23 at most)
#: weights outside the arena count against its limit all the same, so that no exact one can be set:
#: there an arena has its size, and would grow a second region rather than refuse.
CAPPED = tuple(int(part) for part in ort.__version__.split(".")[:2]) >= (1, 24)

_INFO = ort.OrtMemoryInfo(
    "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
)
_making = threading.RLock()
_registered: "weakref.ref[Arena] | None" = None


class Engine:
    """One ONNX Runtime session in one arena. ``run`` may be called from many threads."""

    def __init__(self, path: Path, arena: "Arena") -> None:
        self.path = path
        self.arena = arena
        self._session: Any = None

    def run(
        self,
        feeds: Mapping[str, Array],
        outputs: Mapping[str, Array | None],
    ) -> dict[str, Array]:
        """Run once. Inputs are read where they lie.

        An output with an array is written there. One with None is allocated in the arena, and must
        be copied and dropped before the next run.

        Raises:
            Exception: whatever ONNX Runtime raises; it has no base class of its own.
        """
        with self.arena.running():
            binding = self._session.io_binding()
            for name, array in feeds.items():
                binding.bind_input(
                    name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data
                )
            for name, target in outputs.items():
                if target is None:
                    binding.bind_output(name, "cpu")
                else:
                    binding.bind_output(
                        name, "cpu", 0, target.dtype.type, list(target.shape), target.ctypes.data
                    )
            self._session.run_with_iobinding(binding)
            found = zip(outputs.items(), binding.get_outputs(), strict=True)
            return {
                name: value.numpy().copy() if target is None else target
                for (name, target), value in found
            }

    def close(self) -> None:
        """Give the session back."""
        self._session = None

    def open(self) -> None:
        """Make the session in the arena that is registered now."""
        self._session = _open_session(self.path)


class Arena:
    """A region of exactly ``nbytes`` (rounded up to 256) for the runs of its engines.

    The engines' runs may overlap in time only if the arena is large enough for that; whoever owns
    it sees to it. A page costs memory only once it is touched.

    Raises:
        ValueError: more than LARGEST bytes, or none.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = _rounded(nbytes)
        self._engines: weakref.WeakSet[Engine] = weakref.WeakSet()
        self._gate = threading.Condition()
        self._running = 0

    def open(self, path: Path) -> Engine:
        """A new engine in this arena. Making engines is serialised in the process."""
        with _making:
            _keep_heap_small()
            if _registered is None or _registered() is not self:
                self._renew()
            engine = Engine(path, self)
            engine.open()
            self._engines.add(engine)
            trim()
            return engine

    def resize(self, nbytes: int) -> None:
        """Change the size: wait for the runs under way, and open the engines in a new region."""
        with _making:
            size = _rounded(nbytes)
            if size != self.nbytes:
                self.nbytes = size
                self._renew()
                trim()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold off a renewal for the length of a run."""
        with self._gate:
            self._running += 1
        try:
            yield
        finally:
            with self._gate:
                self._running -= 1
                self._gate.notify_all()

    def _renew(self) -> None:
        global _registered  # noqa: PLW0603 - the registered allocator is global in the engine too
        with self._gate:
            self._gate.wait_for(lambda: self._running == 0)
            engines = list(self._engines)
            for engine in engines:
                engine.close()
            _register(self.nbytes)
            _registered = weakref.ref(self)
            for engine in engines:
                engine.open()


def release() -> None:
    """Let go of the arena registered last; the engine frees it only when another one follows."""
    global _registered  # noqa: PLW0603 - as above
    with _making:
        if _registered is not None:
            _register(ALIGN)
            _registered = None
        trim()


def is_workspace_full(error: Exception) -> bool:
    """Whether a run failed because its arena was full. The type says nothing: ask the text."""
    return "Available memory of" in str(error)


def engine_version() -> str:
    """Version of ONNX Runtime."""
    return str(ort.__version__)


def trim() -> None:
    """Return freed heap pages to the operating system, so that what is resident is in use."""
    _libc().malloc_trim(0)


def _rounded(nbytes: int) -> int:
    size = -(-nbytes // ALIGN) * ALIGN
    if not 0 < size <= LARGEST:
        raise ValueError(f"a workspace of {nbytes:,} bytes is outside 1..{LARGEST:,}")
    return size


def _register(nbytes: int) -> None:
    ort.create_and_register_allocator(
        _INFO,
        ort.OrtArenaCfg(
            {
                "arena_extend_strategy": 0,
                "initial_chunk_size_bytes": nbytes,
                "max_mem": _limit(nbytes),
                "max_dead_bytes_per_chunk": 256,
            }
        ),
    )


def _limit(nbytes: int) -> int:
    """A little more than the region: every session reserves a few hundred bytes of the limit."""
    return nbytes + (min(64 << 10, PAGE + nbytes // 256) if CAPPED else 1 << 40)


def _open_session(path: Path) -> Any:  # noqa: ANN401 - the engine has no type stubs
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 4  # failures arrive as exceptions; keep stderr quiet
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


_heap_set = False


def _keep_heap_small() -> None:
    """Fix glibc's thresholds: it raises them as blocks are freed, and then keeps the memory."""
    global _heap_set  # noqa: PLW0603 - a setting of the process
    if not _heap_set:
        _heap_set = True
        trim_threshold, mmap_threshold, arena_max = -1, -3, -8
        libc = _libc()
        libc.mallopt(trim_threshold, 256 << 10)
        libc.mallopt(mmap_threshold, 256 << 10)
        libc.mallopt(arena_max, 1)
