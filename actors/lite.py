"""The one place that imports mindspore_lite, groups models and builds them.

One code path for the genuine library and for the emulated one, which has the same names and rules.
What a release can do is found by its attributes; what is too old is refused with the release that
is needed. The order of declaring, sizing and building is the library's, and most mistakes in it are
silent there, so it is kept and checked here.
"""

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

from actors import diagnosis, ge
from actors.errors import LibraryError, LoadError
from actors.files.build_config import build_options, own_config
from actors.files.modelfiles import served_file, weightless
from actors.machine import environment, strangers
from actors.memory import ASCEND, AllocationRule
from actors.messages import CardKind, ModelOrder
from actors.model_object import LIBRARY_ERRORS, ModelObject, RefusalError

__all__ = [
    "LIBRARY_ERRORS",
    "EmulatedCard",
    "LiteCard",
    "ModelObject",
    "group_flag",
    "library_name",
    "load_library",
    "native_log",
]

#: What sharing needs: each came with a release of its own.
_FLAGS = ("SHARE_WEIGHT", "SHARE_WORKSPACE", "SHARE_WEIGHT_WORKSPACE")
#: Native libraries that must be imported by the process that uses them, not before a fork.
_NOT_BEFORE_FORK = ("mindspore_lite", "acl")
_imported_before_fork: set[str] = set()


def _note_fork() -> None:
    _imported_before_fork.update(name for name in _NOT_BEFORE_FORK if name in sys.modules)


os.register_at_fork(after_in_child=_note_fork)


@dataclass(frozen=True)
class EmulatedCard:
    """How an emulated card is set up; the other kinds are what they are.

    It keeps the memory of a process that ended for ``memory_return`` seconds, from processes that
    call it by the same ``name``.
    """

    capacity_bytes: int = 0
    overhead_bytes: int = 0
    release: str | None = None
    rule: AllocationRule = ASCEND
    memory_return: float = 0.0
    name: str = ""


def load_library(
    kind: CardKind,
    *,
    device_id: int = 0,
    emulated: EmulatedCard | None = None,
    uses_ge: bool = False,
) -> ModuleType:
    """Import the library of a card kind; for ``emulated`` also set up the card.

    The environment is inspected first, because the library's own texts tell nothing of it.
    ``uses_ge``: models of provider ge are to run.

    Raises:
        LibraryError: it cannot be imported (says how to install it), it is too old (says which
            release is needed), or it has no such release or card.
    """
    if kind != "emulated":
        return _genuine(kind, uses_ge)
    library = _import(
        kind, "actors.emulator", "Install it with: pip install 'ascend-orchestrator[emulator]'"
    )
    card, cards = emulated or EmulatedCard(), device_id + 1
    try:
        library.configure(
            [card.capacity_bytes] * cards,
            rule=card.rule,
            overheads=[card.overhead_bytes] * cards,
            return_delay=card.memory_return,
            names=[f"{card.name} {index}".strip() for index in range(cards)],
            **({} if card.release is None else {"release": card.release}),
        )
    except ValueError as error:
        raise LibraryError(kind, str(error), "Change the card's settings") from error
    return library


def library_name(library: ModuleType) -> str:
    """Name and release for reports: ``mindspore_lite 2.7.0``, ``emulated mindspore_lite 2.7``."""
    emulated = "emulated " if library.__name__ == "actors.emulator" else ""
    return f"{emulated}mindspore_lite {_release(library)}"


def _release(library: ModuleType) -> str:
    return str(getattr(library, "__version__", "of unknown release"))


def _genuine(kind: CardKind, uses_ge: bool) -> ModuleType:
    name = "mindspore_lite"
    if name in _imported_before_fork:
        raise LibraryError(
            kind,
            f"this process was forked from one that had imported {name}",
            "Start card processes by spawning them",
        )
    found = environment.inspect(os.environ, kind=kind, ge=uses_ge)
    # Whether the card itself is there is device.require's question: a converter needs none.
    stopping = [f for f in found if f.stops and not f.ok and f.subject != "cards"]
    if stopping:
        told = "; ".join(f"{f.subject}: found {f.found}, wanted {f.wanted}" for f in stopping)
        cure = "; ".join(f.fix for f in stopping)
        raise LibraryError(kind, told, cure[:1].upper() + cure[1:])
    if kind == "ascend":
        strangers.enter()
    library = _import(kind, name, diagnosis.INSTALL)
    least = environment.floor(kind)
    lacking = _lacking(kind, library)
    if environment.older(_release(library), least) or lacking:
        without = f", which has no {lacking}" if lacking else ""
        raise LibraryError(
            kind,
            f"mindspore_lite {_release(library)} is installed{without}",
            f"Install the vendor's wheel of release {least} or later for this Python",
        )
    return library


def _lacking(kind: CardKind, library: ModuleType) -> str:
    """What a library that shares must have and this one has not."""
    if kind == "cpu":
        return ""
    if not hasattr(library, "ModelGroup"):
        return "ModelGroup"
    flags = getattr(library, "ModelGroupFlag", None)
    missing = [flag for flag in _FLAGS if not hasattr(flags, flag)]
    return f"ModelGroupFlag.{missing[0]}" if missing else ""


def _import(kind: CardKind, name: str, cure: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise LibraryError(kind, str(error), diagnosis.import_cure(str(error)) or cure) from error
    except Exception as error:  # its own check of the environment can fail in any way
        told = f"importing {name} failed: {error!r}"
        raise LibraryError(kind, told, diagnosis.ENVIRONMENT_CURE) from error


class LiteCard:
    """One card as the library sees it: declare all models once, then build their Model objects."""

    def __init__(
        self,
        library: ModuleType,
        kind: CardKind,
        slot: str,
        device_id: int,
        situation: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """Take the card. ``situation``: node, sizes planned and free, for what goes wrong."""
        self._library = library
        self.kind: CardKind = kind
        self._slot = slot
        self._device_id = device_id
        self._situation = situation
        self._groups: list[Any] = []
        self._ge_objects: dict[str, list[Any]] = {}
        self._ge_session = threading.Lock()
        #: What the user should know of the models, though they load.
        self.warnings: tuple[str, ...] = ()

    def declare(
        self,
        orders: Sequence[ModelOrder],
        share_workspace: bool = True,
        mix_ge_and_acl: bool = False,
    ) -> None:
        """Group the models by what they share and size every group, before anything is built.

        Sizing is what registers a path, for all three flags; the first build with a shared
        workspace closes the device's list for good (ModelGroup on ACL, MindSpore Lite 2.7).

        Raises:
            LoadError: a file that cannot be one of the group's, models that cannot be on one card,
                or a failed sizing. The failure wipes every registration of the process, which is
                of no further use.
        """
        for order in orders:
            self._check_order(order, orders, mix_ge_and_acl)
            with self._load_errors([order]):
                self.warnings += ge.option_warnings(order)
            if self.kind == "emulated":  # a MindIR has its shapes inside, an ONNX file does not
                config = own_config(order, self.kind)
                self._library.declare(order.path, config, order.config_path)
        if self.kind == "cpu":
            return
        lacking = _lacking(self.kind, self._library)
        if lacking:
            cure = f"Use release {environment.floor('ascend')} or later"
            raise LibraryError(self.kind, f"{library_name(self._library)} has no {lacking}", cure)
        groups: dict[str, list[ModelOrder]] = {}
        for order in orders:
            flag = group_flag(order, share_workspace)
            if flag is not None and not weightless(order, self.kind):
                self._require(order, diagnosis.update_problem(order))
                groups.setdefault(flag, []).append(order)
        for flag, members in groups.items():
            self._size_group(flag, members)
        self._group_ge([order for order in orders if order.provider == "ge"])

    def build(self, order: ModelOrder) -> ModelObject:
        """Build one Model object; call it ``order.threads`` times, never from two threads at once.

        Raises:
            LoadError: the build failed, or the model's inputs and the declared shapes differ.
        """
        grouped = self._ge_objects.get(order.name)
        model = grouped.pop(0) if grouped else self._library.Model()
        serial = None if grouped is None else self._ge_session
        with (
            self._load_errors([order]),
            build_options(order, self.kind, model.build_from_file) as options,
        ):
            model.build_from_file(
                order.path, self._library.ModelType.MINDIR, self._context(order), **options
            )
            return ModelObject(model, order, self._slot, partial(self._explain, order), serial)

    def _size_group(self, flag: str, members: Sequence[ModelOrder]) -> None:
        library = self._library
        with self._load_errors(members):
            group = library.ModelGroup(getattr(library.ModelGroupFlag, flag))
            group.add_model([order.path for order in members])
            group.cal_max_size_of_workspace(library.ModelType.MINDIR, self._context(None))
        self._groups.append(group)

    def _group_ge(self, orders: Sequence[ModelOrder]) -> None:
        """Put the GE models that share into one group, as Model objects that are not built yet."""
        if not orders:
            return
        members = [order for order in orders if order.share_weights]
        with self._load_errors(members or orders):
            files = {o.name: served_file(o.path, self.kind) for o in members}
            problem = ge.global_problem(orders)
            problem = problem or (ge.session_problem(members, files) if members else None)
            if problem:
                order, told = problem
                raise LoadError(self._slot, order.name, order.path, told)
            if not members:
                return
            group = self._library.ModelGroup(self._library.ModelGroupFlag.SHARE_WEIGHT)
            for order in members:
                made = [self._library.Model() for _ in range(order.threads)]
                self._ge_objects[order.name] = made
            group.add_model([model for made in self._ge_objects.values() for model in made])
        self._groups.append(group)

    def _context(self, order: ModelOrder | None) -> Any:  # noqa: ANN401 - the library's own type
        """A new Context: the guide asks for one per Model object and one for each group."""
        context = self._library.Context()
        if self.kind == "cpu":
            context.target = ["cpu"]
            context.cpu.thread_num = 1
            return context
        context.target = ["ascend"]
        context.ascend.device_id = self._device_id
        context.ascend.provider = "ge" if order is not None and order.provider == "ge" else ""
        if order is not None and order.precision:
            context.ascend.precision_mode = order.precision
        return context

    def _check_order(
        self, order: ModelOrder, orders: Sequence[ModelOrder], mix_ge_and_acl: bool
    ) -> None:
        problem = (
            diagnosis.order_problem(order, orders)
            or diagnosis.mixture_problem(order, orders, self.kind, mix_ge_and_acl)
            or diagnosis.file_problem(order.path, self.kind)
            or diagnosis.conversion_problem(order, self.kind)
        )
        self._require(order, problem)

    def _require(self, order: ModelOrder, problem: str | None) -> None:
        if problem:
            raise LoadError(self._slot, order.name, order.path, problem)

    def _explain(self, order: ModelOrder, error: Exception, written: int) -> str:
        """What is told of a failed predict; ``written``: where the native log ended before it."""
        log = native_log(self._library) or diagnosis.native_log_since(written)
        causes = diagnosis.predict_causes(self.kind)
        return diagnosis.explain(error, log, causes, (order.path, *self._situation()))

    @contextmanager
    def _load_errors(self, members: Sequence[ModelOrder]) -> Iterator[None]:
        written = diagnosis.native_log_position()
        try:
            yield
        except (*LIBRARY_ERRORS, OSError) as error:
            names = ", ".join(order.name for order in members)
            paths = ", ".join(order.path for order in members)
            told = str(error)
            if not isinstance(error, RefusalError):
                log = native_log(self._library) or diagnosis.native_log_since(written)
                causes = diagnosis.load_causes(self.kind, members, log)
                told = diagnosis.explain(error, log, causes, self._situation())
            raise LoadError(self._slot, names, paths, told) from error


def group_flag(order: ModelOrder, share_workspace: bool = True) -> str | None:
    """The ModelGroupFlag for a model's sharing; None for a model that joins no group of paths.

    A purely dynamic model cannot share a workspace: the library would leave it unshared with a
    warning and lock its execution all the same, so it stays out of workspace groups. Models of
    provider GE are grouped as objects, and sizing refuses them.
    """
    if order.provider == "ge":
        return None
    order = replace(order, share_workspace=order.share_workspace and share_workspace)
    if order.shares_weights_alone:
        return "SHARE_WEIGHT"
    if order.dynamic or not order.share_workspace:
        return None
    return "SHARE_WEIGHT_WORKSPACE" if order.share_weights else "SHARE_WORKSPACE"


def native_log(library: ModuleType) -> str:
    """The library's last native log line where it can be asked (emulated only); else empty."""
    last: Callable[[], str] | None = getattr(library, "last_native_log", None)
    return last() if last else ""
