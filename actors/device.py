"""Which card am I: from Ray's id and the visible list to the process's ``device_id``.

A card has three numbers. ``npu_id`` is the N of ``/dev/davinciN``, which ``npu-smi`` shows. CANN
counts the cards that are there from 0, in that order: with davinci4 and davinci7 in a container,
they are 0 and 1 ("Device ID indicates the logical ID", CANN's environment variable reference; its
runtime refuses others: "set ASCEND_RT_VISIBLE_DEVICES:[4] error, input data rang[0-2)"). The list
of visible cards holds CANN's numbers, and so do Ray's ids, which are taken from it or counted. The
place in that list is ``device_id``, all that the library takes. Where all files of a host are
there, the first two agree.

Functions over the environment, called before any library is imported: CANN reads the variable once
per process, and a wrong ``device_id`` is not an error there but, silently, card 0.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from re import fullmatch

from actors.errors import CardError

#: CANN: its own numbers, comma-separated, ascending; the process counts from 0 within them.
VISIBLE = "ASCEND_RT_VISIBLE_DEVICES"
#: Ray: when set, Ray leaves VISIBLE as it is, instead of narrowing it to the actor's card.
NOSET = "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES"

#: Where the driver puts a device file for each card.
DEVICES = Path("/dev")


@dataclass(eq=False, repr=False)
class DeviceError(CardError):
    """The process cannot tell its card, or was given something that is not one whole card."""

    problem: str

    def __str__(self) -> str:
        return self.problem


def identify(
    env: Mapping[str, str], ray_npu_ids: Sequence[str], assigned: float | None = None
) -> int:
    """The ``device_id`` of the one card that Ray assigned to this process.

    ``ray_npu_ids`` are CANN's numbers (``ray.get_runtime_context().get_accelerator_ids()``). With a
    visible list ``device_id`` is the index in it (Ray wrote a list of exactly this card: 0; NOSET:
    the whole list). Without one the process sees every card, and the two agree.
    ``assigned`` is the amount of the resource that Ray gave (None: not known).

    Raises:
        DeviceError: no card, several cards, a part of a card, a card outside the list, or a list
            that CANN misreads.
    """
    npu_id = _only(ray_npu_ids)
    if assigned is not None and assigned != 1:
        raise DeviceError(
            f"Ray assigned {assigned:g} of card {npu_id} to this process: a process owns a card "
            "whole, since Ray shares cards by count and not by bytes. Ask for exactly 1"
        )
    listed = visible(env)
    if listed is None:
        return npu_id
    if npu_id not in listed:
        raise DeviceError(
            f"Ray assigned card {npu_id}, and {VISIBLE}={env[VISIBLE]} does not list it: start Ray "
            f"on this node with the same {VISIBLE} as the actor, or unset it in runtime_env"
        )
    if len(listed) > 1 and not _truthy(env.get(NOSET, "")):
        raise DeviceError(
            f"{VISIBLE}={env[VISIBLE]} lists {len(listed)} cards, and Ray writes exactly one when "
            f"it assigns one: something changed it after Ray did (or set {NOSET}=1 to keep it)"
        )
    return listed.index(npu_id)


def visible(env: Mapping[str, str]) -> tuple[int, ...] | None:
    """CANN's numbers in ``ASCEND_RT_VISIBLE_DEVICES``; None when it is not set.

    CANN stops reading at the first token that is not a number and wants ascending order
    (``1, 2`` means ``1``; ``1,0`` disables cards), so a list that it would misread is refused.

    Raises:
        DeviceError: the list is empty, malformed, or not ascending.
    """
    text = env.get(VISIBLE)
    if text is None:
        return None
    if text in ("", "NoDevFiles"):
        raise DeviceError(f"{VISIBLE} is {text!r}: this process was told to see no card")
    if not fullmatch(r"\d+(,\d+)*", text):
        raise DeviceError(
            f"{VISIBLE}={text!r} is not a list such as 0,1,2 (numbers, commas, no spaces): CANN "
            "would stop reading at the first odd sign"
        )
    ids = tuple(int(part) for part in text.split(","))
    if any(later <= earlier for earlier, later in pairwise(ids)):
        ordered = ",".join(str(i) for i in sorted(set(ids)))
        raise DeviceError(
            f"{VISIBLE}={text} is not ascending, and CANN then disables cards: use {ordered}"
        )
    return ids


def physical(device_files: Iterable[str]) -> tuple[int, ...]:
    """The N of each ``davinciN`` among these names, in CANN's order: its card 0 comes first."""
    found = (fullmatch(r"davinci(\d+)", name) for name in device_files)
    return tuple(sorted(int(match[1]) for match in found if match))


def seen(env: Mapping[str, str], device_files: Iterable[str]) -> tuple[int, ...]:
    """CANN's numbers of the cards that this process sees, at the place of their ``device_id``.

    Raises:
        DeviceError: as ``visible``.
    """
    here, listed = len(physical(device_files)), visible(env)
    return tuple(range(here)) if listed is None else tuple(n for n in listed if n < here)


def numbers_at(env: Mapping[str, str], positions: Sequence[str]) -> list[str]:
    """CANN's numbers of cards that are known by their places among those that a node was given.

    So Ray has them where they are called GPU: it reads their own list for NPU alone.

    Raises:
        DeviceError: the list is none that CANN reads, or not of so many cards.
    """
    if env.get(VISIBLE) == "":
        raise DeviceError(
            f"{VISIBLE} is empty: Ray empties it for whoever asks for no NPU, and cards are called "
            f"otherwise here. Start Ray on this node with {NOSET}=1, so that it leaves it as it is"
        )
    listed = visible(env)
    if listed is None:
        return list(positions)
    try:
        return [str(listed[int(position)]) for position in positions]
    except (IndexError, ValueError):
        raise DeviceError(
            f"Ray assigned card {', '.join(positions)} of those that it counts on this node, and "
            f"{VISIBLE}={env[VISIBLE]} lists {len(listed)}: start Ray there with as many cards as "
            f"are listed, and with {NOSET}=1, so that it leaves the list as it is"
        ) from None


def count(env: Mapping[str, str], device_files: Iterable[str]) -> int:
    """How many cards this process sees. DeviceError: as ``visible``."""
    return len(seen(env, device_files))


def dropped(env: Mapping[str, str], device_files: Sequence[str]) -> str:
    """Why CANN drops numbers of the visible list; empty where it takes them all."""
    here = len(physical(device_files))
    beyond = [str(number) for number in visible(env) or () if number >= here]
    if not here or not beyond:
        return ""
    may = "0 alone" if here == 1 else f"0 to {here - 1}"
    return (
        f"CANN drops {','.join(beyond)} of {VISIBLE}, since it counts the cards that are here from "
        f"0, whatever npu-smi calls them: list {may}, or unset it"
    )


def npu_id_of(number: int, folder: Path | None = None) -> str:
    """What npu-smi calls the card of this CANN number; the number where no device file tells."""
    files = physical(_names(folder))
    return str(files[number] if number < len(files) else number)


def number_of(npu_id: str, folder: Path | None = None) -> str:
    """CANN's number, as the visible list takes it, of what npu-smi calls ``npu_id``; as above."""
    files = [str(npu) for npu in physical(_names(folder))]
    return str(files.index(npu_id)) if npu_id in files else npu_id


def own_npu_id(device_id: int) -> str:
    """What npu-smi calls a card of this process; as above."""
    listed = visible(os.environ)
    return npu_id_of(device_id if listed is None else listed[device_id])


def require(device_id: int, folder: Path | None = None) -> None:
    """Refuse a ``device_id`` that this process does not see: the library would use card 0.

    ``folder``: where the cards' device files are, if not in ``DEVICES``.

    Raises:
        DeviceError: no such card here.
    """
    files = _names(folder)
    cards = count(os.environ, files)
    if device_id >= cards:
        why = dropped(os.environ, files)
        here = f"{cards or 'no'} Ascend card{'s' * (cards != 1)}"
        raise DeviceError(
            f"device_id {device_id} is out of range: this process sees {here} "
            f"({folder or DEVICES}/davinci*, {VISIBLE}={os.environ.get(VISIBLE, 'not set')})"
            + (f"; {why}" if why else "")
        )


def _names(folder: Path | None) -> tuple[str, ...]:
    return tuple(file.name for file in (folder or DEVICES).iterdir())


def _only(ray_npu_ids: Sequence[str]) -> int:
    if not ray_npu_ids:
        raise DeviceError(
            "Ray assigned no card to this process, which then sees all of the node's cards: start "
            "the actor with the card's resource, for example resources={'NPU': 1}"
        )
    if len(ray_npu_ids) > 1:
        raise DeviceError(
            f"Ray assigned {len(ray_npu_ids)} cards ({', '.join(ray_npu_ids)}) to this process, "
            "and a process owns exactly one: ask for one whole card per actor"
        )
    if not fullmatch(r"\d+", ray_npu_ids[0]):
        raise DeviceError(f"Ray's card id {ray_npu_ids[0]!r} is not a number")
    return int(ray_npu_ids[0])


def _truthy(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "on")
