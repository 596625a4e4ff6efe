"""Which card am I: from Ray's physical id and the visible list to the process's ``device_id``.

Pure functions over the environment, called before any library is imported: CANN reads the variable
once per process, and a wrong index is not an error there but, silently, card 0.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from re import fullmatch

from actors.errors import CardError

#: CANN: comma-separated physical ids, ascending; the process counts from 0 within them.
VISIBLE = "ASCEND_RT_VISIBLE_DEVICES"
#: Ray: when set, Ray leaves VISIBLE as it is, instead of narrowing it to the actor's card.
NOSET = "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES"

#: Where the driver puts a device file for each card.
DEVICES = Path("/dev")


class DeviceError(CardError):
    """The process cannot tell its card, or was given something that is not one whole card."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


def identify(
    env: Mapping[str, str], ray_npu_ids: Sequence[str], assigned: float | None = None
) -> int:
    """The logical ``device_id`` of the one card that Ray assigned to this process.

    ``ray_npu_ids`` are physical ids (``ray.get_runtime_context().get_accelerator_ids()``). With a
    visible list the logical id is the index in it (Ray wrote a list of exactly this card: 0; NOSET:
    the whole list). Without one the process sees every card, and logical and physical ids agree.
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
    """The physical ids in ``ASCEND_RT_VISIBLE_DEVICES``; None when it is not set.

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


def npu_ids(env: Mapping[str, str], positions: Sequence[str]) -> list[str]:
    """The physical ids of cards that are known by their places among those that a node was given.

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
    """How many cards this process sees: those of the list that exist as ``davinciN`` files."""
    present = {int(m[1]) for name in device_files if (m := fullmatch(r"davinci(\d+)", name))}
    listed = visible(env)
    return len(present) if listed is None else len(present & set(listed))


def require(device_id: int, folder: Path = DEVICES) -> None:
    """Refuse a ``device_id`` that this process does not see: the library would use card 0.

    ``folder``: where the cards' device files are.

    Raises:
        DeviceError: no such card here.
    """
    seen = count(os.environ, (file.name for file in folder.iterdir()))
    if device_id >= seen:
        raise DeviceError(
            f"device_id {device_id} is out of range: this process sees {seen} Ascend cards "
            f"({folder}/davinci*, {VISIBLE}={os.environ.get(VISIBLE, 'not set')})"
        )


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
