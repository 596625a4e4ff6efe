"""Hands calls to the processes of cards; whoever owns the desk hears what becomes of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TypeVar

from actors.messages import Answers, Request
from orchestrator.dispatch import Bundle
from orchestrator.runtime.calls.asked import Card
from orchestrator.runtime.calls.books import Books

T = TypeVar("T")


class Carrier:
    """The processes that take calls, and the way there. Belongs to whoever owns the desk.

    ``tell`` has a message handled there, ``returned`` is the one that a call has ended.
    """

    def __init__(
        self,
        books: Books,
        tell: Callable[[Callable[[], None]], None],
        returned: Callable[[Bundle, Answers | BaseException], None],
    ) -> None:
        self._books = books
        self._tell = tell
        self._returned = returned
        self._cards: dict[tuple[str, int], Card] = {}

    def serve(self, slot: str, life: int, card: Card) -> None:
        """A card's process takes calls."""
        self._cards[slot, life] = card

    def down(self, slot: str, life: int) -> None:
        """A card's process is gone."""
        self._cards.pop((slot, life), None)

    def of(self, bundle: Bundle) -> tuple[Card, Sequence[Request]]:
        """The card that a call is for, and what it carries."""
        return self._cards[bundle.slot, bundle.life], self._books.requests(bundle.tickets)

    def send(self, bundle: Bundle) -> None:
        """Hand a call to its card. Whatever goes wrong with that comes back as its outcome.

        One that is to be alone reserves the card first: it is not to blame for a death before that.
        """
        try:
            card, requests = self.of(bundle)
            if bundle.alone:
                self._when_done(card.reserve(), partial(self._reserved, bundle, card, requests))
            else:
                self._hand_over(bundle, card.predict_many(requests))
        except Exception as error:
            self._tell(partial(self._returned, bundle, error))

    def spare(self) -> None:
        """Tell cards what was cancelled while it was there."""
        for process, ids in self._books.unwanted().items():
            if process in self._cards:
                self._cards[process].forget(ids)

    def _reserved(
        self, bundle: Bundle, card: Card, requests: Sequence[Request], outcome: int | BaseException
    ) -> None:
        if isinstance(outcome, BaseException):
            self._returned(replace(bundle, alone=False), outcome)
            return
        try:
            self._hand_over(bundle, card.predict_many(requests, outcome))
        except Exception as error:
            self._returned(bundle, error)

    def _hand_over(self, bundle: Bundle, answer: "Future[Answers]") -> None:
        self._when_done(answer, partial(self._returned, bundle))

    def _when_done(self, future: "Future[T]", heard: Callable[[T | BaseException], None]) -> None:
        """Have whoever owns the desk hear what a future ends with."""

        def told(done: "Future[T]") -> None:
            self._tell(partial(heard, done.exception() or done.result()))

        future.add_done_callback(told)
