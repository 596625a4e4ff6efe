"""One card in a process of its own: load an order, run it, and ask Linux what the process holds."""

import gc
import multiprocessing
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from actors.card import CardActor
from actors.lite import EmulatedCard, load_library
from actors.messages import CardOrder, MemoryReport, Request
from actors.shapes import Arrays
from benchmarks.real_models import full_batch

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Resident:
    """Bytes that a process holds: ``anonymous`` is its own, ``total`` counts pages of files too.

    File pages (a library's code as it is first used) belong to the page cache and are shared by
    all processes, so a bound on what a card's process needs for itself is one on ``anonymous``.
    """

    anonymous: int
    total: int

    @classmethod
    def now(cls) -> "Resident":
        """This process now, as Linux counts it."""
        status = _status()
        return cls(status["RssAnon"] + status["RssShmem"], status["VmRSS"])


@dataclass(frozen=True)
class CardRun:
    """What a card's process held at the steps of its life."""

    name: str
    imported: Resident
    """The library loaded, no model yet."""
    built: Resident
    """The last model built, none run."""
    rested: Resident
    """At rest after the last run."""
    peak_total: int
    """The most ``total`` bytes between ``built`` and ``rested``."""
    memory: MemoryReport
    runs: int

    @property
    def growth(self) -> int:
        """Bytes that running, and nothing else, added for good."""
        return self.rested.anonymous - self.built.anonymous

    @property
    def total_growth(self) -> int:
        """The same with pages of files."""
        return self.rested.total - self.built.total

    @property
    def peak_growth(self) -> int:
        """The high-water mark above ``built``, replies on their way to the caller included."""
        return self.peak_total - self.built.total

    @property
    def engine(self) -> int:
        """What building added beyond the weights that the ledger charges."""
        assert self.memory.measured
        return self.built.anonymous - self.imported.anonymous - self.memory.measured.weights


def run_card(name: str, order: CardOrder, rounds: int) -> CardRun:
    """Run a card in a new process; every Model object of every model at once, ``rounds`` times."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_run, name, order, rounds).result()


def _run(name: str, order: CardOrder, rounds: int) -> CardRun:
    batches = {model.name: full_batch(model) for model in order.models}
    callers = [model.name for model in order.models for _ in range(model.threads)]
    load_library(order.kind, emulated=EmulatedCard(order.capacity_bytes))
    gc.collect()
    imported, built = Resident.now(), []

    def on_built() -> None:
        gc.collect()
        built.append(Resident.now())
        _CLEAR_REFS.write_text("5")  # the high-water mark starts anew from here

    card = CardActor(on_built=on_built)
    card.identify("local", "0", 0)
    card.load(order)
    with ThreadPoolExecutor(len(callers)) as pool:
        for _ in range(rounds):
            list(pool.map(lambda model: _call(card, model, batches), callers))
    gc.collect()
    rested, peak = Resident.now(), _status()["VmHWM"]
    report = card.memory()
    runs = sum(model.batches for model in card.stats().models.values())
    card.stop()
    return CardRun(name, imported, built[0], rested, peak, report, runs)


def _call(card: CardActor, model: str, batches: Mapping[str, Arrays]) -> None:
    """One full batch; the reply is looked at and dropped, as a caller in another process would."""
    (reply,) = card.predict_many([Request(0, model, batches[model])])
    if reply.error is not None:
        raise reply.error


def _status() -> dict[str, int]:
    """The sizes in ``/proc/self/status``, in bytes."""
    if not sys.platform.startswith("linux"):
        raise OSError("resident memory by kind is read from /proc, which only Linux has")
    fields = (line.split() for line in _STATUS.read_text().splitlines())
    return {field[0][:-1]: int(field[1]) * 1024 for field in fields if field[-1] == "kB"}
