"""One trial: a process declares, sizes, builds and runs models, and reads the card's memory.

Straight on the library, so that what it finds holds for the library and not for our use of it.
"""

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from actors.device import own_npu_id
from actors.diagnosis import explain, native_log_since
from actors.errors import CardError
from actors.files.mindir import NotAMindIRError, read_mindir
from actors.gears import DYNAMIC_DIMS, INPUT_SHAPE, SECTION, config_gears
from actors.lite import LIBRARY_ERRORS, EmulatedCard, library_name, load_library
from actors.machine.gauge import open_gauge
from actors.messages import Array, CardKind, Provider
from actors.shapes import OPEN, Gear

T = TypeVar("T")
#: The outputs of one run.
Answer = tuple[Array, ...]

#: Of each model at most this many different answers are kept.
DIFFERENT = 8
#: An emulated card's bytes: more than any models that are tried.
CAPACITY = 64 << 30
#: Constants of a GE session are shared by this option, in this section, and by no other spelling.
GE_CONFIG = {"ge_session_options": {"ge.externalWeight": "1"}}


@dataclass(eq=False, repr=False)
class TrialError(CardError):
    """A trial could not be carried out: the library failed, or the process died."""

    what: str
    problem: str

    def __str__(self) -> str:
        return f"{self.what}: {self.problem}"


class TooSlowError(TrialError):
    """A trial was ended before it was over."""


@dataclass(frozen=True)
class Members:
    """Models that are built alike. ``flag``: of the ModelGroup that they join; none if empty.

    ``configs`` and ``precisions``: of each path, or none for all; empty texts for none.
    """

    paths: tuple[str, ...]
    flag: str = ""
    provider: Provider = "acl"
    configs: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """What one process does. Every path is built once by every thread, in order.

    ``own_groups``: every thread declares and sizes a group of its own, instead of one for all.
    """

    kind: CardKind
    device_id: int
    members: tuple[Members, ...]
    threads: int = 1
    own_groups: bool = False
    loops: int = 3

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path, in the order in which they are built."""
        return tuple(path for group in self.members for path in group.paths)

    def __str__(self) -> str:
        names = ", ".join(Path(path).name for path in self.paths)
        shared = {group.flag for group in self.members} - {""}
        return f"{names} on card {self.device_id}, {' and '.join(sorted(shared)) or 'unshared'}"


@dataclass(frozen=True)
class Taken:
    """What a trial found. Bytes since before the first group; None where nobody can tell.

    ``steps``: after each build; ``largest``: the largest of all readings. ``answers``: by path,
    every different answer, which is one where all runs of all threads agree to the bit.
    ``workspaces`` and ``weights``: of each path as its file has it; None where nobody can tell.
    """

    library: str
    total: int | None
    steps: tuple[int | None, ...]
    largest: int | None
    answers: Mapping[str, tuple[Answer, ...]] = field(repr=False)
    workspaces: tuple[int | None, ...] = ()
    weights: tuple[int | None, ...] = ()


def carry_out(trial: Trial, built: Callable[[], None]) -> Taken:
    """Do it. ``built`` is called when everything is built, and may wait for other processes.

    Raises:
        LibraryError: the library cannot be imported.
        TrialError: the library failed, or a model is purely dynamic.
    """
    library = load_library(
        trial.kind,
        device_id=trial.device_id,
        emulated=EmulatedCard(CAPACITY),
        uses_ge=any(group.provider == "ge" for group in trial.members),
    )
    try:
        return _carried_out(library, trial, built)
    except LIBRARY_ERRORS as error:
        log = native_log_since(0)  # standard error is this process's own file
        raise TrialError(str(trial), explain(error, log)) from error


def _carried_out(library: ModuleType, trial: Trial, built: Callable[[], None]) -> Taken:
    npu_id = own_npu_id(trial.device_id) if trial.kind == "ascend" else ""
    gauge = open_gauge(trial.kind, library, trial.device_id, npu_id)
    before = gauge.read()

    def used() -> int | None:
        now = gauge.read()
        return None if before is None or now is None else before.free - now.free

    rig = _Rig(library, trial)
    rig.declare()
    steps: list[int | None] = []
    for place in range(len(trial.paths)):
        rig.build(place, lambda: steps.append(used()))
    built()
    readings = [*steps, used()]
    answers = rig.run()
    readings.append(used())
    known = [reading for reading in readings if reading is not None]
    sizes = [_sizes(library, trial.kind, path) for path in trial.paths]
    return Taken(
        library=library_name(library),
        total=None if before is None else before.total,
        steps=tuple(steps),
        largest=max(known, default=None),
        answers=answers,
        workspaces=tuple(workspace for workspace, _ in sizes),
        weights=tuple(weights for _, weights in sizes),
    )


class _Rig:
    """The models of a trial. Registrations have no lock in the library: one thread at a time."""

    def __init__(self, library: ModuleType, trial: Trial) -> None:
        self._library = library
        self._trial = trial
        self._building = threading.Lock()
        self._groups: list[Any] = []
        # By the place among all builds, not by path: a model may be there twice.
        self._builds = [(g, own) for g in trial.members for own in range(len(g.paths))]
        self._unbuilt: dict[tuple[int, int], Any] = {}
        self._models: list[list[tuple[str, Any]]] = [[] for _ in range(trial.threads)]

    def declare(self) -> None:
        """Declare and size every group that is not a thread's own."""
        for group in self._trial.members:
            if group.provider == "ge":
                self._declare_objects(group)
            elif group.flag and not self._trial.own_groups:
                self._size(group)

    def build(self, place: int, took: Callable[[], None]) -> None:
        """Build one of the trial's paths in every thread; ``took`` is called after each build."""
        group, own = self._builds[place]

        def one(index: int) -> None:
            with self._building:
                if group.flag and self._trial.own_groups:
                    self._size(group)
                model = self._unbuilt.pop((place, index), None) or self._library.Model()
                self._build(model, group, own)
                took()
            self._models[index].append((group.paths[own], model))

        _at_once(self._trial.threads, one)

    def run(self) -> dict[str, tuple[Answer, ...]]:
        """Run every model ``loops`` times, in turns, in every thread at once."""
        found = _at_once(self._trial.threads, self._loops)
        return {
            path: _different(answer for answers in found for answer in answers[path])
            for path in self._trial.paths
        }

    def _loops(self, index: int) -> dict[str, tuple[Answer, ...]]:
        models = [(path, model, _inputs(model, path)) for path, model in self._models[index]]
        answers: dict[str, tuple[Answer, ...]] = {path: () for path, _ in self._models[index]}
        for _ in range(self._trial.loops):
            for path, model, inputs in models:
                answer = tuple(t.get_data_to_numpy().copy() for t in model.predict(inputs))
                answers[path] = _different([*answers[path], answer])
        return answers

    def _declare_objects(self, group: Members) -> None:
        """GE: Model objects join before they are built, and nothing is sized."""
        models = {
            (place, index): self._library.Model()
            for place, (other, _) in enumerate(self._builds)
            if other is group
            for index in range(self._trial.threads)
        }
        self._unbuilt.update(models)
        if group.flag:
            made = self._library.ModelGroup(getattr(self._library.ModelGroupFlag, group.flag))
            made.add_model(list(models.values()))
            self._groups.append(made)

    def _size(self, group: Members) -> None:
        made = self._library.ModelGroup(getattr(self._library.ModelGroupFlag, group.flag))
        made.add_model(list(dict.fromkeys(group.paths)))
        made.cal_max_size_of_workspace(self._library.ModelType.MINDIR, self._context("acl"))
        self._groups.append(made)

    def _build(self, model: Any, group: Members, own: int) -> None:  # noqa: ANN401 - no types
        options: dict[str, Any] = {"config_dict": GE_CONFIG} if group.provider == "ge" else {}
        context = self._context(group.provider)
        if group.configs and group.configs[own]:
            options["config_path"] = group.configs[own]
        if group.precisions and group.precisions[own]:
            context.ascend.precision_mode = group.precisions[own]
        model.build_from_file(group.paths[own], self._library.ModelType.MINDIR, context, **options)

    def _context(self, provider: Provider) -> Any:  # noqa: ANN401 - no types
        context = self._library.Context()
        context.target = ["ascend"]
        context.ascend.device_id = self._trial.device_id
        context.ascend.provider = "ge" if provider == "ge" else ""
        return context


def _at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """``work(0)`` to ``work(count - 1)``, each in a thread of its own, all at the same time."""
    start = threading.Barrier(count)

    def begin(index: int) -> T:
        start.wait()
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def _inputs(model: Any, path: str) -> Any:  # noqa: ANN401 - no types
    """The model's input tensors, filled: floats in [0, 1) from a seed, else 0, safe as an index."""
    tensors = model.get_inputs()
    if any(OPEN in tensor.shape for tensor in tensors):
        gears = _gears(model, path)
        if not gears:
            raise ValueError(
                f"{path} is purely dynamic, or its gears cannot be read: give a model of fixed "
                "shapes or of gears"
            )
        largest = max(gears, key=lambda gear: sum(math.prod(shape) for _, shape in gear.inputs))
        model.resize(tensors, [list(shape) for _, shape in largest.inputs])
        tensors = model.get_inputs()
    rng = np.random.default_rng(0)
    for tensor in tensors:
        kind = np.dtype(tensor.dtype.name.lower())
        shape = tuple(tensor.shape)
        values = rng.random(shape) if kind.kind == "f" else np.zeros(shape)
        tensor.set_data_from_numpy(values.astype(kind))
    return tensors


def _gears(model: Any, path: str) -> Sequence[Gear]:  # noqa: ANN401 - no types
    """The gears in the compiled file, else those that the library tells; none where neither does.

    No document says how the library writes them; the emulated one does as config files do.
    """
    try:
        found = read_mindir(Path(path)).gears
    except (NotAMindIRError, OSError):  # an emulated card's path is of no file
        found = ()
    ask = getattr(model, "get_model_info", None)
    if found or ask is None:
        return found
    try:
        return config_gears({SECTION: {key: ask(key) for key in (INPUT_SHAPE, DYNAMIC_DIMS)}}) or ()
    except ValueError:
        return ()


def _sizes(library: ModuleType, kind: CardKind, path: str) -> tuple[int | None, int | None]:
    """Bytes of workspace and weights as the compiled file has them, or the emulated card found."""
    if kind == "emulated":
        found = library.calibration(path, "", {})
        return found.workspace_bytes, found.weight_bytes
    try:
        om = read_mindir(Path(path)).om
    except (NotAMindIRError, OSError):
        return None, None
    return (om.workspace, om.weights) if om else (None, None)


def _different(answers: Iterable[Answer]) -> tuple[Answer, ...]:
    """Answers that differ in a bit, in the order of their first appearance."""
    seen: dict[tuple[bytes, ...], Answer] = {}
    for answer in answers:
        seen.setdefault(tuple(array.tobytes() for array in answer), answer)
    return tuple(seen.values())[:DIFFERENT]
