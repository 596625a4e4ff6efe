"""What the claims are tried with: cards, models, and what was measured so far."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actors import device
from actors.claims.networks import write_conv, write_mlp
from actors.claims.process import Tell, convert_apart, run, tell_nobody
from actors.claims.trial import Members, Taken, Trial, TrialError
from actors.diagnosis import file_problem
from actors.errors import LoadError
from actors.files.modelfiles import model_bytes
from actors.machine import npusmi
from actors.messages import CardKind, Provider

#: The five threads of one model, and how often each runs it.
THREADS, LOOPS = 5, 30
#: Edges of the convolutions' images and width of the matrices: on a real card large enough that
#: what is shared stands out from what other processes do meanwhile.
_SIZES: Mapping[str, tuple[tuple[int, int], int]] = {
    "emulated": ((256, 224), 1024),
    "ascend": ((1024, 896), 4096),
}


class UncheckedError(Exception):
    """A claim cannot be checked here; the text says why."""


@dataclass
class Bench:
    """Cards and models.

    ``other``: a second card. ``acl``, ``weights`` and ``ge`` are paths: models of one card, one for
    five threads, two GE graphs. ``missing`` says, by the name of one of these, why it is not there.
    ``logs``: a folder for the native logs of all trials. ``tell`` takes what is tried now.
    """

    kind: CardKind
    card: int
    other: int | None = None
    acl: tuple[str, ...] = ()
    weights: str = ""
    ge: tuple[str, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    logs: Path | None = None
    done: dict[Trial, Taken] = field(default_factory=dict, repr=False)
    tell: Tell = field(default=tell_nobody, repr=False)

    def require(self, *names: str) -> None:
        """Raise UncheckedError unless all of these are there."""
        for name in names:
            if name in self.missing:
                raise UncheckedError(self.missing[name])

    def alone(self, trial: Trial) -> Taken:
        """Carry out a trial without sharing, which proves nothing if it fails.

        Raises:
            UncheckedError: it failed.
        """
        try:
            return self.carried_out(trial)
        except TrialError as error:
            raise UncheckedError(f"it does not run without sharing either: {error}") from error

    def carried_out(self, trial: Trial) -> Taken:
        """Carry out a trial, once.

        Raises:
            TrialError: it failed.
        """
        if trial not in self.done:
            (self.done[trial],) = self.at_once(trial)
        return self.done[trial]

    def at_once(self, *trials: Trial) -> tuple[Taken, ...]:
        """Carry out trials at the same time, whatever was done before.

        Raises:
            TrialError: any of them failed.
        """
        return run(*trials, logs=self.logs, tell=self.tell)

    def acl_trial(self, flag: str) -> Trial:
        """The card's models, sharing or not."""
        return Trial(self.kind, self.card, (Members(self.acl, flag),))

    def thread_trial(self, flag: str, own_groups: bool = False) -> Trial:
        """One model in five threads."""
        members = (Members((self.weights,), flag),)
        return Trial(self.kind, self.card, members, THREADS, own_groups, LOOPS)

    def ge_trial(self, flag: str, card: int | None = None) -> Trial:
        """The two GE graphs, in one session or in two."""
        members = (Members(self.ge, flag, "ge"),)
        return Trial(self.kind, self.card if card is None else card, members)


def set_up(
    kind: CardKind,
    card: int,
    folder: Path,
    models: Sequence[str],
    ge_models: Sequence[str],
    logs: Path | None = None,
    tell: Tell = tell_nobody,
) -> Bench:
    """Find a second card, and write the networks that nobody has brought into ``folder``.

    Raises:
        DeviceError: no such card here.
        LoadError: a model that was brought is no file.
        LibraryError: mindspore_lite is not installed.
    """
    other, why = _other(kind, card)
    bench = Bench(kind, card, other, missing={"other": why} if why else {}, logs=logs, tell=tell)
    acl, ge = _brought(kind, card, models), _brought(kind, card, ge_models)
    sizes, width = _SIZES[kind]
    if acl:
        bench.acl = acl if len(acl) > 1 else acl * 2
        bench.weights = max(acl, key=lambda path: model_bytes(path, kind))
    else:
        bench.acl = tuple(write_conv(folder, f"conv{size}", size) for size in sizes)
        bench.weights = write_mlp(folder, "mlp", 1, width)
        _convert(bench, ("acl", "weights"), [*bench.acl, bench.weights], "acl", "--models")
    if ge:
        bench.ge = ge if len(ge) > 1 else ge * 2
    else:
        bench.ge = tuple(write_mlp(folder, f"ge{rows}", rows, width) for rows in (1, 8))
        _convert(bench, ("ge",), bench.ge, "ge", "--ge-models")
    return bench


def _other(kind: CardKind, card: int) -> tuple[int | None, str]:
    """A second card, which nobody uses; or why there is none."""
    if kind == "emulated":
        return card + 1, ""
    try:
        device.require(card)
    except device.DeviceError as error:
        counted = "--card counts from 0 among the cards that are seen; --kind emulated needs none"
        raise device.DeviceError(f"{error}; {counted}") from error
    seen = device.count(os.environ, (file.name for file in device.DEVICES.iterdir()))
    others = [(card + step) % seen for step in range(1, seen)]
    if not others:
        return None, f"card {card} is the only one that this process sees"
    used = {other: told for other in others if (told := in_use(other))}
    idle = [other for other in others if other not in used]
    return (idle[0], "") if idle else (None, "; ".join(used.values()))


def in_use(card: int) -> str:
    """Which processes hold memory of a card of this process; empty where npu-smi lists none."""
    found = npusmi.read_card(device.own_npu_id(card))
    told = [f"{h.name} (pid {h.pid})" for h in found.holders] if found else []
    return f"card {card} is in use by {', '.join(told)}" if told else ""


def _brought(kind: CardKind, card: int, models: Sequence[str]) -> tuple[str, ...]:
    paths = tuple(str(Path(path).resolve()) for path in models)
    for path in paths:
        problem = file_problem(path, kind)
        if problem:
            raise LoadError(str(card), Path(path).stem, path, problem)
    return paths


def _convert(
    bench: Bench, names: Sequence[str], paths: Sequence[str], provider: Provider, option: str
) -> None:
    """A real card needs MindIR files; an emulated one serves the ``.onnx`` itself."""
    if bench.kind == "emulated":
        return
    try:
        convert_apart(paths, provider, bench.logs, bench.tell)
    except TrialError as error:
        why = f"no model to try: {error}; convert models for this card and name them with {option}"
        bench.missing.update(dict.fromkeys(names, why))
