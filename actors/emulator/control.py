"""What the emulator has beside the library's names, to set its cards up and to look into them."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from actors.emulator.calibrate import cache_folder
from actors.emulator.config import Sections, merge, read_file
from actors.emulator.device import Device, DeviceMemory
from actors.emulator.lingering import Lingering
from actors.emulator.registry import LIBRARY, NEWEST
from actors.emulator.releases import RELEASES
from actors.memory import ASCEND, AllocationRule


def configure(
    capacities: Sequence[int],
    *,
    release: str = NEWEST,
    rule: AllocationRule = ASCEND,
    overheads: Sequence[int] | None = None,
    return_delay: float = 0.0,
    names: Sequence[str] | None = None,
) -> None:
    """Set up the cards of this process, with indexes 0, 1, ... Forgets everything else.

    Args:
        capacities: bytes of each card.
        release: whose names and behaviour to follow: 2.7, 2.8, 2.3.1, or 2.0 (target cpu alone).
        rule: how allocations are rounded.
        overheads: bytes taken on each card before any model; none by default.
        return_delay: seconds that the memory of an ended process stays taken, for the next process
            on the card of the same name; 0: it is free at once, and nothing is written anywhere.
        names: what the card is called in every process; its index by default.

    Raises:
        ValueError: no card, a number below 0, lists of different lengths, or another release.
    """
    if release not in RELEASES:
        raise ValueError(f"not supported yet: release {release}; known: {', '.join(RELEASES)}")
    taken = list(overheads) if overheads is not None else [0] * len(capacities)
    called = list(names) if names is not None else [str(n) for n in range(len(capacities))]
    if not capacities or not len(taken) == len(called) == len(capacities):
        raise ValueError(
            f"{len(capacities)} capacities, {len(taken)} overheads and {len(called)} names"
        )
    if min(*capacities, *taken, return_delay) < 0:
        raise ValueError(f"must not be negative: {list(capacities)}, {taken}, {return_delay}")
    LIBRARY.start_afresh(release, RELEASES[release].has_cards)
    with LIBRARY.lock:
        LIBRARY.replace_devices(
            Device(index, capacity, overhead, rule, _lingering(name, return_delay))
            for index, (capacity, overhead, name) in enumerate(
                zip(capacities, taken, called, strict=True)
            )
        )


def _lingering(name: str, delay: float) -> Lingering | None:
    folder = cache_folder() / "cards" / quote(name, safe="")
    return Lingering(folder, delay) if delay else None


def reset() -> None:
    """Start afresh, as a new process would: one card, no registrations, an empty ledger.

    Models that are still alive keep what they have and no longer count.
    """
    LIBRARY.start_afresh()


def declare(model_path: str, sections: Sections, config_path: str | None = "") -> None:
    """Tell what a model was compiled with, where no ``.ini`` beside it says so.

    A genuine MindIR carries its shapes; sizing and building read them from the file. Call this
    before ``cal_max_size_of_workspace``. Keys that are not given come from ``config_path``, then
    from the ``.ini``.

    Raises:
        ValueError: the file at ``config_path`` is no Lite configuration.
    """
    from_file = read_file(Path(config_path)) if config_path else {}
    LIBRARY.declare(model_path, merge(from_file, sections))


def memory(device_id: int) -> DeviceMemory:
    """The ledger of one card.

    Raises:
        IndexError: there is no such card.
    """
    return LIBRARY.devices[device_id].memory()


def library_name(name: str) -> object:
    """A name of the library, as the configured release has it.

    Raises:
        AttributeError: that release has no such name.
    """
    release = RELEASES[LIBRARY.release]
    if name == "__version__":
        return release.version
    if name not in release.names:
        raise AttributeError(f"mindspore_lite {release.version} has no {name}")
    return release.names[name]
