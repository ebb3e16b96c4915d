"""Who served on the day, from what was decided then: rollouts that began and ended, and rollbacks. Pure.

Not from who answered: while a version stands in for the champion, or is compared with it, its replies are no sign that
it is one. So the monitors of a replay are shown the rewards that those of the day were shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from daemon.store.ledger import Entry
from daemon.store.rollouts import Rollout
from deploy.rollout import SECONDS, STAYS, Phase


class Change(NamedTuple):
    """From ``at`` (wall seconds) on ``version`` is the champion; None: the base serves."""

    at: float
    version: str | None


def changes(known: Iterable[Rollout], entries: Iterable[Entry]) -> list[Change]:
    """Every change of the champion that rollouts and rollbacks of the ledger tell of, oldest first.

    A rollout begins with its control as the champion; before the first one the base served, as nothing had been
    promoted. In a second probation it is the candidate that the rewards are watched of.
    """
    found: list[Change] = []
    for row in known:
        second = row.data.get("opened_for") in SECONDS
        found.append(Change(row.started_at, row.candidate if second else row.control))
        if row.ended_at is not None:
            end = Phase(row.phase)
            stays = end in STAYS or (second and end is not Phase.ROLLED_BACK)
            found.append(Change(row.ended_at, row.candidate if stays else row.control))
    for entry in entries:
        if entry.kind == "rollback":
            target = entry.data.get("to")
            found.append(Change(entry.at, None if target is None else str(target)))
    return sorted(found, key=lambda change: change.at)  # at one instant a rollback has the last word


class Followed:
    """The champion of the day as time goes on; ``rate`` is told of each."""

    def __init__(self, found: Sequence[Change], from_s: float, rate: Callable[[str | None], None]) -> None:
        before = [change.version for change in found if change.at <= from_s]
        self._coming = [change for change in found if change.at > from_s][::-1]
        self._rate = rate
        self.version = before[-1] if before else None

    def begin(self) -> None:
        """Tell who serves at the beginning."""
        self._rate(self.version)

    def until(self, at: float) -> float | None:
        """Go on to an event at ``at``; when the next change comes after it, None where none does."""
        while self._coming and self._coming[-1].at <= at:
            self.version = self._coming.pop().version
            self._rate(self.version)
        return self._coming[-1].at if self._coming else None
