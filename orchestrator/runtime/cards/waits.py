"""Who waits for slots of a controller to serve, or to be empty."""

import itertools
from concurrent.futures import Future


class Waits:
    """Futures by slot; several slots may have one together, which is done when all of them are."""

    def __init__(self) -> None:
        self._served: dict[str, Future[None]] = {}
        self._emptied: dict[str, list[Future[None]]] = {}

    def serve(self, slot: str, done: "Future[None]") -> None:
        """Somebody waits for a slot to serve for the first time."""
        self._served[slot] = done

    def is_awaited(self, slot: str) -> bool:
        """Whether somebody does."""
        return slot in self._served

    def serves(self, slot: str) -> None:
        """It does, or is not to any more."""
        done = self._served.pop(slot, None)
        if done is not None and done not in self._served.values() and not done.done():
            done.set_result(None)

    def cannot_serve(self, slot: str, error: BaseException) -> bool:
        """It will not; whether somebody was told."""
        done = self._served.get(slot)
        if done is not None:
            self._fail(done, error)
        return done is not None

    def all_fail(self, error: BaseException) -> None:
        """A mistake of ours must not leave anybody waiting for ever."""
        for done in {id(one): one for one in self._served.values()}.values():
            self._fail(done, error)

    def empty(self, slot: str, done: "Future[None]") -> None:
        """Somebody waits until a slot has no process."""
        self._emptied.setdefault(slot, []).append(done)

    def emptied(self, slot: str) -> None:
        """It has none."""
        for done in self._emptied.pop(slot, ()):
            done.set_result(None)

    def cancel(self) -> None:
        """Nothing of it will come."""
        for done in (*self._served.values(), *itertools.chain(*self._emptied.values())):
            done.cancel()

    def _fail(self, done: "Future[None]", error: BaseException) -> None:
        self._served = {name: one for name, one in self._served.items() if one is not done}
        if not done.done():
            done.set_exception(error)
