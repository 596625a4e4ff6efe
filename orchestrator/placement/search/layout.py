"""A placement while it is searched for: who is where with how much work, and what cards have."""

import math

import numpy as np

from orchestrator.placement.board import Tally, empty_tally, joined, late, tally_of
from orchestrator.placement.search.sheet import Numbers, Sheet


class Layout:
    """Groups on cards, with loads in units of work. Memory and every rule but the load are kept.

    ``on[card]`` maps groups to their load there, ``at[group]`` holds the group's cards. By card:
    ``always`` bytes, workspace ``level``, ``busy`` units.
    """

    def __init__(self, sheet: Sheet) -> None:
        count = sheet.cards
        self.sheet = sheet
        self.on: list[dict[int, int]] = [{} for _ in range(count)]
        self.at: list[set[int]] = [set() for _ in range(sheet.groups)]
        self.always = np.zeros(count, np.int64)
        self.level = np.zeros(count, np.int64)
        self.own = np.zeros(count, np.int64)
        self.streams = np.zeros(count, np.int64)
        self.busy = np.zeros(count, np.int64)
        self.patience = np.full(count, math.inf)
        self.batch = np.zeros(count)
        #: Cards whose members keep each other waiting too long for one shared workspace.
        self.torn = np.zeros(count, bool)

    def copy(self) -> "Layout":
        """The same placement, to be changed by itself."""
        other = Layout.__new__(Layout)
        other.sheet = self.sheet
        other.on = [dict(held) for held in self.on]
        other.at = [set(cards) for cards in self.at]
        for name in ("always", "level", "own", "streams", "busy", "patience", "batch", "torn"):
            setattr(other, name, getattr(self, name).copy())
        return other

    def fitting(self, group: int) -> Numbers:
        """Which cards may take the group, whatever its load."""
        sheet = self.sheet
        always = self.always + sheet.always[group]
        ok: Numbers = always + np.maximum(self.level, sheet.level[group]) <= sheet.room
        if not sheet.plain:
            if sheet.special:
                ok &= self._patient(group)
                ok |= always + self.own + sheet.own[group] <= sheet.room
            ok &= self.streams + sheet.streams[group] <= sheet.card_streams
            allowed = sheet.allowed[group]
            if allowed is not None:
                ok &= allowed
            for foe in sheet.foes[group]:
                ok[list(self.at[foe])] = False
        if self.at[group]:
            ok[list(self.at[group])] = False
        return ok

    def _patient(self, group: int) -> Numbers:
        """Which cards could share their workspace with the group and keep every max_delay."""
        sheet = self.sheet
        ok: Numbers = sheet.batch[group] / sheet.rate <= self.patience
        ok &= (self.batch / sheet.rate <= sheet.patience[group]) & ~self.torn
        torn = sheet.torn[group]
        return ok if torn is None else ok & ~torn

    def add(self, group: int, card: int, load: int) -> None:
        """Put the group on the card, or raise its load there."""
        held, sheet = self.on[card], self.sheet
        if group in held:
            held[group] += load
        else:
            held[group] = load
            self.at[group].add(card)
            self.always[card] += sheet.always[group]
            self.level[card] = max(self.level[card], sheet.level[group])
            if not sheet.plain:
                self.own[card] += sheet.own[group]
                self.streams[card] += sheet.streams[group]
                self.patience[card] = min(self.patience[card], sheet.patience[group])
                self.batch[card] = max(self.batch[card], sheet.batch[group])
        if sheet.special:
            self._measure(card)
        else:
            self.busy[card] += load

    def remove(self, group: int, card: int) -> int:
        """Take the group off the card; the load that it had there."""
        sheet, held = self.sheet, self.on[card]
        load = held.pop(group)
        self.at[group].discard(card)
        self.always[card] -= sheet.always[group]
        if sheet.level[group] == self.level[card]:
            self.level[card] = max((int(sheet.level[g]) for g in held), default=0)
        if not sheet.plain:
            self.own[card] -= sheet.own[group]
            self.streams[card] -= sheet.streams[group]
            self.patience[card] = min((float(sheet.patience[g]) for g in held), default=math.inf)
            self.batch[card] = max((float(sheet.batch[g]) for g in held), default=0.0)
        if sheet.special:
            self._measure(card)
        else:
            self.busy[card] -= load
        return load

    def share_evenly(self) -> None:
        """Give each group's work to its cards in equal parts, beside what they have of it."""
        for group, cards in enumerate(self.at):
            if cards:
                share, rest = divmod(int(self.sheet.work[group]), len(cards))
                for index, card in enumerate(sorted(cards)):
                    self.add(group, card, share + (rest if index == 0 else 0))

    def refill(self, card: int, held: dict[int, int]) -> None:
        """Give the card these groups, with these loads, in place of all that it has."""
        sheet, before = self.sheet, self.on[card]
        always, level = sheet.lists.always, sheet.lists.level
        for group in before:
            if group not in held:
                self.at[group].discard(card)
        for group in held:
            self.at[group].add(card)
        self.on[card] = held
        self.always[card] = sum([always[group] for group in held])
        self.level[card] = max([level[group] for group in held], default=0)
        self.busy[card] = sum(held.values())
        if not sheet.plain:
            self.own[card] = sum(int(sheet.own[group]) for group in held)
            self.streams[card] = sum(int(sheet.streams[group]) for group in held)
            waits = (float(sheet.patience[group]) for group in held)
            self.patience[card] = min(waits, default=math.inf)
            self.batch[card] = max((float(sheet.batch[group]) for group in held), default=0.0)
        if sheet.special:
            self._measure(card)

    def _measure(self, card: int) -> None:
        """The card's work as it will run: shared, or apart where that must be or is less."""
        sheet, held = self.sheet, self.on[card]
        models = [model for g in held for model in sheet.world.groups[g].models]
        self.torn[card] = late(sheet.world.cards[card], models) is not None
        self.busy[card] = sum(held.values())
        if self.runs_apart(card):
            self.busy[card] = self._busy_apart(card)

    def _busy_apart(self, card: int) -> int:
        work, apart = self.sheet.work, self.sheet.apart
        return sum(
            load * int(apart[group]) // max(int(work[group]), 1)
            for group, load in self.on[card].items()
        )

    def runs_apart(self, card: int) -> bool:
        """Whether the card keeps its workspaces separate: they fit, and it must or gains."""
        room = self.sheet.room[card]
        if self.always[card] + self.own[card] > room:
            return False
        if self.torn[card] or self.always[card] + self.level[card] > room:
            return True
        gain = sum(self.on[card].values()) - self._busy_apart(card)
        return gain > 0 or (gain == 0 and 0 < self.own[card] < self.level[card])

    def legal(self, card: int) -> bool:
        """Whether the card as it stands keeps every rule (spread and replica counts apart)."""
        sheet, held = self.sheet, self.on[card]
        if self.streams[card] > sheet.card_streams[card]:
            return False
        for group in held:
            allowed = sheet.allowed[group]
            if allowed is not None and not allowed[card]:
                return False
            if any(foe in held for foe in sheet.foes[group]):
                return False
        if self.always[card] + self.level[card] <= sheet.room[card] and not self.torn[card]:
            return True
        return sheet.special and self.runs_apart(card)

    def spread_kept(self, group: int) -> bool:
        """Whether the group has the replicas and nodes that it must have, and not too many."""
        count = len(self.at[group])
        return self.sheet.low[group] <= count <= self.sheet.high[group] and self.on_nodes(group)

    def on_nodes(self, group: int) -> bool:
        """Whether the group is on as many nodes as it must be."""
        spread = self.sheet.spread[group]
        nodes = self.sheet.node
        return spread <= 1 or len({int(nodes[card]) for card in self.at[group]}) >= spread

    def peak(self) -> float:
        """The busiest card's work over what it can do."""
        return float(np.max(self.busy / self.sheet.speed))

    def used(self) -> int:
        """Cards with at least one group."""
        return sum(bool(held) for held in self.on)

    def tallies(self) -> tuple[Tally, ...]:
        """The placement as cards with their models."""
        world, made = self.sheet.world, []
        for index, (card, held) in enumerate(zip(world.cards, self.on, strict=True)):
            models = [model for group in sorted(held) for model in world.groups[group].models]
            tally = joined(empty_tally(card), models)
            if tally.share and self.sheet.special and self.runs_apart(index):
                tally = tally_of(card, models, share=False)
            made.append(tally)
        return tuple(made)
