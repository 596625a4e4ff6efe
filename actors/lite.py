"""The one place that calls the mindspore_lite API: groups, builds, predicts.

One code path for the genuine library and for the emulated one, which has the same names and rules.
The library reports most mistakes late or never, so everything is checked here before the call: the
order of declaring, sizing and building, the path string, dtype, shape, memory layout. Every call on
a Model object is made under that object's own lock, ``get_inputs`` included: a second thread would
otherwise wait inside the library with the interpreter lock held.
"""

import importlib
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from actors import diagnosis
from actors.errors import CardError, LoadError, PredictError
from actors.memory import ASCEND, AllocationRule
from actors.messages import CardKind, ModelOrder
from actors.shapes import OPEN, Array, Arrays, Gear, Signature, TensorSpec

T = TypeVar("T")

#: What the library raises for everything that goes wrong; the types tell nothing apart.
LIBRARY_ERRORS = (RuntimeError, TypeError, ValueError)


class LibraryError(CardError):
    """The library that a card kind needs cannot be used in this process."""

    def __init__(self, kind: str, problem: str, cure: str) -> None:
        super().__init__(kind, problem, cure)
        self.kind = kind
        self.problem = problem
        self.cure = cure

    def __str__(self) -> str:
        return f"cards of kind {self.kind} cannot be used here: {self.problem}. {self.cure}"


def load_library(
    kind: CardKind,
    *,
    device_id: int = 0,
    capacity_bytes: int = 0,
    overhead_bytes: int = 0,
    release: str | None = None,
    rule: AllocationRule = ASCEND,
) -> ModuleType:
    """Import the library of a card kind; for ``emulated`` also set up the card (all but ``kind``).

    Raises:
        LibraryError: it cannot be imported (says how to install it), or it has no such
            release or card.
    """
    if kind != "emulated":
        return _import(
            kind,
            "mindspore_lite",
            "Install the vendor's MindSpore Lite wheel of release 2.4.1 or later for this Python, "
            "as the README says, or use kind: emulated",
        )
    library = _import(
        kind, "actors.emulator", "Install it with: pip install 'ascend-orchestrator[emulator]'"
    )
    cards = device_id + 1
    options = {} if release is None else {"release": release}
    try:
        library.configure(
            [capacity_bytes] * cards, rule=rule, overheads=[overhead_bytes] * cards, **options
        )
    except ValueError as error:
        raise LibraryError(kind, str(error), "Change the card's settings") from error
    return library


def library_name(library: ModuleType) -> str:
    """Name and release for reports: ``mindspore_lite 2.7.0``, ``emulated mindspore_lite 2.7``."""
    emulated = "emulated " if library.__name__ == "actors.emulator" else ""
    return f"{emulated}mindspore_lite {getattr(library, '__version__', 'of unknown release')}"


def _import(kind: CardKind, name: str, cure: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise LibraryError(kind, str(error), cure) from error


class LiteCard:
    """One card as the library sees it: declare all models once, then build their Model objects."""

    def __init__(self, library: ModuleType, kind: CardKind, slot: str, device_id: int) -> None:
        self._library = library
        self._kind = kind
        self._slot = slot
        self._device_id = device_id
        self._groups: list[Any] = []

    def declare(self, orders: Sequence[ModelOrder], share_workspace: bool = True) -> None:
        """Group the models by what they share and size every group, before anything is built.

        Sizing is what registers a path, for all three flags; the first build with a shared
        workspace closes the device's list for good (ModelGroup on ACL, MindSpore Lite 2.7).

        Raises:
            LoadError: a file that cannot be one of the group's, or a failed sizing. The failure
                wipes every registration of the process, which is of no further use.
        """
        for order in orders:
            self._check_order(order, orders)
            if self._kind == "emulated":  # a MindIR has its shapes inside, an ONNX file does not
                self._library.declare(order.path, _sections(order), order.config_path)
        if self._kind == "cpu":
            return
        groups: dict[str, list[ModelOrder]] = {}
        for order in orders:
            flag = group_flag(order, share_workspace)
            if flag is not None:
                groups.setdefault(flag, []).append(order)
        for flag, members in groups.items():
            self._size_group(flag, members)

    def build(self, order: ModelOrder) -> "ModelObject":
        """Build one Model object; call it ``order.threads`` times, never from two threads at once.

        Raises:
            LoadError: the build failed, or the model's inputs and the declared shapes differ.
        """
        library, model = self._library, self._library.Model()
        options: dict[str, Any] = {}
        if order.config_path:
            options["config_path"] = order.config_path
        if order.config:
            options["config_dict"] = _sections(order)
        with self._load_errors([order]):
            model.build_from_file(
                order.path, library.ModelType.MINDIR, self._context(order), **options
            )
            return ModelObject(model, order, self._slot, lambda: native_log(library))

    def _size_group(self, flag: str, members: Sequence[ModelOrder]) -> None:
        library = self._library
        with self._load_errors(members):
            group = library.ModelGroup(getattr(library.ModelGroupFlag, flag))
            group.add_model([order.path for order in members])
            group.cal_max_size_of_workspace(library.ModelType.MINDIR, self._context(None))
        self._groups.append(group)

    def _context(self, order: ModelOrder | None) -> Any:  # noqa: ANN401 - the library's own type
        """A new Context: the guide asks for one per Model object and one for each group."""
        context = self._library.Context()
        if self._kind == "cpu":
            context.target = ["cpu"]
            context.cpu.thread_num = 1
            return context
        context.target = ["ascend"]
        context.ascend.device_id = self._device_id
        context.ascend.provider = ""
        if order is not None and order.precision:
            context.ascend.precision_mode = order.precision
        return context

    def _check_order(self, order: ModelOrder, orders: Sequence[ModelOrder]) -> None:
        problem = diagnosis.order_problem(order, orders) or diagnosis.file_problem(
            order.path, self._kind
        )
        if problem:
            raise LoadError(self._slot, order.name, order.path, problem)

    @contextmanager
    def _load_errors(self, members: Sequence[ModelOrder]):  # type: ignore[no-untyped-def] # noqa: ANN202
        try:
            yield
        except LIBRARY_ERRORS as error:
            names = ", ".join(order.name for order in members)
            paths = ", ".join(order.path for order in members)
            causes = diagnosis.load_causes(self._kind, members)
            told = diagnosis.explain(error, native_log(self._library), causes)
            raise LoadError(self._slot, names, paths, told) from error


class ModelObject:
    """One built Model object and its lock. Several threads may call it; they run one at a time."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        order: ModelOrder,
        slot: str,
        log: Callable[[], str],
    ) -> None:
        """Read the signature. Raises ValueError when the declared shapes do not suit the model."""
        self._model = model
        self._name = order.name
        self._slot = slot
        self._log = log
        self._lock = threading.Lock()
        with self._lock:
            self.signature = _signature(order, model)
        self._fixed = not any(OPEN in spec.shape for spec in self.signature.inputs)
        self._gear: Gear | None = self.signature.gears[0] if self._fixed else None

    def predict(self, gear: Gear, batch: Sequence[Array], collect: Callable[[Arrays], T]) -> T:
        """Run one batch of exactly the gear's shapes and return ``collect(outputs)``.

        ``batch``: C-contiguous native arrays in input order, not changed during the call.
        ``collect`` runs under the lock on views of the library's own memory, which the next call
        overwrites: it must copy what it keeps.

        Raises:
            PredictError: the library failed, or the batch is not what it says.
        """
        with self._lock:
            try:
                tensors = self._inputs(gear)
                for tensor, array in zip(tensors, batch, strict=True):
                    _require_usable(tensor, array)
                    tensor.set_data_from_numpy(array)
                outputs = self._model.predict(tensors)
                return collect({t.name: t.get_data_to_numpy() for t in outputs})
            except LIBRARY_ERRORS as error:
                if not self._fixed:  # a failed call can leave wrong shapes; resize cures them
                    self._gear = None
                problem = diagnosis.explain(error, self._log())
                raise PredictError(self._slot, self._name, problem) from error

    def _inputs(self, gear: Gear) -> Sequence[Any]:
        """Input tensors of the gear's shapes, resized only where the model has open dimensions.

        A fixed model must not be resized (it fails on Ascend), and tensors fetched before a resize
        keep their old shapes.
        """
        if self._gear != gear:
            if self._fixed:
                raise ValueError(f"shapes {gear.inputs} and the model is fixed to {self._gear}")
            self._gear = None
            self._model.resize(self._model.get_inputs(), [list(shape) for _, shape in gear.inputs])
            self._gear = gear
        tensors: Sequence[Any] = self._model.get_inputs()
        return tensors


def _sections(order: ModelOrder) -> dict[str, dict[str, str]]:
    """The order's options as the library takes them: every value a string."""
    return {
        section: {key: str(value) for key, value in keys.items()}
        for section, keys in order.config.items()
    }


def group_flag(order: ModelOrder, share_workspace: bool = True) -> str | None:
    """The ModelGroupFlag for a model's sharing; None for a model that joins no group.

    A purely dynamic model cannot share a workspace: the library would leave it unshared with a
    warning and lock its execution all the same, so it stays out of workspace groups.
    """
    workspace = share_workspace and order.share_workspace and not order.dynamic
    if workspace and order.share_weights:
        return "SHARE_WEIGHT_WORKSPACE"
    if workspace:
        return "SHARE_WORKSPACE"
    return "SHARE_WEIGHT" if order.share_weights else None


def native_log(library: ModuleType) -> str:
    """The library's last native log line where it can be read (emulated only); else empty."""
    last: Callable[[], str] | None = getattr(library, "last_native_log", None)
    return last() if last else ""


def _signature(order: ModelOrder, model: Any) -> Signature:  # noqa: ANN401
    inputs = _specs(model.get_inputs())
    outputs = _specs(model.get_outputs()) if hasattr(model, "get_outputs") else ()  # not in 2.0
    if order.gears is None:
        open_ones = [spec for spec in inputs if OPEN in spec.shape]
        if open_ones:
            told = ", ".join(f"{spec.name} {spec.shape}" for spec in open_ones)
            raise ValueError(
                f"input {told} has open dimensions: declare shapes as gears or dynamic max_shape"
            )
        return Signature(inputs, outputs, (Gear(tuple((s.name, s.shape) for s in inputs)),))
    gears = tuple(_ordered(gear, inputs) for gear in order.gears)
    return Signature(inputs, outputs, gears, order.dynamic)


def _specs(tensors: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(t.name, t.dtype.name.lower(), tuple(int(dim) for dim in t.shape))
        for t in tensors
    )


def _ordered(gear: Gear, inputs: Sequence[TensorSpec]) -> Gear:
    """The gear in the model's input order; ValueError when it does not suit the inputs."""
    shapes = dict(gear.inputs)
    if set(shapes) != {spec.name for spec in inputs}:
        names = ", ".join(spec.name for spec in inputs)
        raise ValueError(f"the declared shapes name {', '.join(shapes)}; the inputs are {names}")
    for spec in inputs:
        shape = shapes[spec.name]
        if len(shape) != len(spec.shape) or any(
            dim not in (OPEN, size) for size, dim in zip(shape, spec.shape, strict=False)
        ):
            raise ValueError(
                f"declared shape {shape} of input {spec.name}; the model has {spec.shape}"
            )
    return Gear(tuple((spec.name, shapes[spec.name]) for spec in inputs))


def _require_usable(tensor: Any, array: Array) -> None:  # noqa: ANN401
    """Refuse what ``set_data_from_numpy`` would ignore without a word, or wrongly accept."""
    wanted = np.dtype(tensor.dtype.name.lower())
    if array.dtype != wanted or not array.dtype.isnative:
        raise TypeError(f"input {tensor.name} is {array.dtype.str}, not native {wanted.name}")
    if tuple(tensor.shape) != array.shape or not array.flags.c_contiguous:
        raise ValueError(
            f"input {tensor.name} has shape {array.shape} (contiguous: "
            f"{array.flags.c_contiguous}), the model's is {tuple(tensor.shape)}"
        )
