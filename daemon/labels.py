"""How many labels a collecting cycle has: exchanges of the slice with a correction or a confirmation, counted as they
come.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from adapters.examples import CONFIRMED_AT
from daemon.store import Store, exchanges, feedback
from monitors.alarms import SliceModel
from streams.events import Feedback, FeedbackKind, Trust

OVERLAP_S: Final = 5.0
"""Feedback is read again this far back, since it may be stored out of order; ids make that harmless."""
MOST: Final = 50_000


class Labels:
    """Remembers which exchanges were counted; bounded by ``MOST`` feedback a look."""

    def __init__(
        self,
        store: Store,
        deployment: str,
        counts: Callable[[Feedback], bool] = lambda said: is_label(said),
        within_s: float = math.inf,
    ) -> None:
        """``counts`` says which feedback is a label; what is said more than ``within_s`` after the reply is none."""
        self._store, self._deployment, self._counts, self._within_s = store, deployment, counts, within_s
        self._seen: set[str] = set()
        self._inside: set[str] = set()
        self._until: float | None = None

    def forget(self) -> None:
        """Start again, for another cycle."""
        self._seen, self._inside, self._until = set(), set(), None

    def count(self, inside: SliceModel | None, since: float, now: float) -> int:
        """Labelled exchanges in the slice since ``since``."""
        start = since if self._until is None else max(since, self._until - OVERLAP_S)
        with self._store.read() as read:
            said = feedback.since(read, self._deployment, start, now + OVERLAP_S, MOST)
            first: dict[str, float] = {}
            for one in said:
                if self._counts(one) and one.exchange_id not in self._seen:
                    first.setdefault(one.exchange_id, one.sent_at)
            found = exchanges.get_many(read, first)
        for exchange in found.values():
            self._seen.add(exchange.exchange_id)
            if first[exchange.exchange_id] - exchange.completed_at > self._within_s:
                continue
            if inside is None or inside.contains(exchange.prompt):
                self._inside.add(exchange.exchange_id)
        self._until = now
        return len(self._inside)

    @property
    def found(self) -> frozenset[str]:
        """Ids of the exchanges that were counted."""
        return frozenset(self._inside)


def is_rating(said: Feedback) -> bool:
    """Whether it says how good a reply was."""
    return said.trust is not Trust.BARE and said.kind is not FeedbackKind.PREFERENCE


def is_label(said: Feedback) -> bool:
    """Whether it says what the right answer is: a correction, or a confirmation of the reply."""
    if said.trust is Trust.BARE:
        return False
    if said.kind is FeedbackKind.CORRECTION:
        return bool(said.correction)
    if said.kind is FeedbackKind.THUMB:
        return said.value is True
    if said.kind is FeedbackKind.RATING and isinstance(said.value, (int, float)):
        span = said.rating_max - said.rating_min
        return span > 0 and (float(said.value) - said.rating_min) / span >= CONFIRMED_AT
    return said.value == "accepted"
