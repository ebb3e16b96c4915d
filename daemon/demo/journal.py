"""What the users saw: one row a request and one a feedback, bounded, with the counts that are asked of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

KEPT = 200_000
"""Rows kept of each kind: several times the longest run."""


@dataclass(frozen=True, slots=True)
class Served:
    """One request as its sender saw it. Times are wall-clock seconds."""

    sent_at: float
    done_at: float
    desk: str
    phase: str
    ok: bool
    """Status 200 with a readable reply; anything else is a failed request."""
    right: bool
    """The oracle's word on the reply; False for a failed request."""
    version: str | None = None
    """From the operator's headers; the users never see it."""
    arm: str | None = None
    epoch: int | None = None
    error: str | None = None

    @property
    def seconds(self) -> float:
        """From sending to the last byte."""
        return self.done_at - self.sent_at


@dataclass(frozen=True, slots=True)
class Said:
    """One feedback that was sent."""

    at: float
    about_sent_at: float
    desk: str
    kind: str
    reward: float
    arm: str | None
    version: str | None
    hostile: bool
    wrong: bool
    question: str
    correction: str | None
    exchange_id: str
    ok: bool


class Journal:
    """Rows in order of completion, bounded; the oldest leave first and are counted in ``forgotten``."""

    def __init__(self) -> None:
        self.served: deque[Served] = deque(maxlen=KEPT)
        self.said: deque[Said] = deque(maxlen=KEPT)
        self.requests = 0
        self.failed = 0
        self.feedback = 0
        self.feedback_failed = 0
        self.feedback_unsent = 0

    def add(self, row: Served) -> None:
        """A finished request."""
        self.requests += 1
        self.failed += not row.ok
        self.served.append(row)

    def add_said(self, row: Said) -> None:
        """A feedback that was posted."""
        self.feedback += 1
        self.feedback_failed += not row.ok
        self.said.append(row)

    @property
    def forgotten(self) -> int:
        """Rows that left because the journal is bounded."""
        return self.requests - len(self.served) + self.feedback - len(self.said)

    def select(self, where: Callable[[Served], bool]) -> list[Served]:
        """Rows that satisfy a condition, oldest first."""
        return [row for row in self.served if where(row)]

    def between(self, since: float, until: float = float("inf")) -> list[Served]:
        """Rows whose request was sent in [since, until), found from the newest end."""
        rows: list[Served] = []
        for row in reversed(self.served):
            if row.done_at < since:
                break
            if since <= row.sent_at < until:
                rows.append(row)
        return rows[::-1]


def accuracy(rows: Iterable[Served]) -> tuple[float | None, int]:
    """Share of requests with the right reply, and how many; None for no rows. A failed request is not right."""
    right = count = 0
    for row in rows:
        right += row.right
        count += 1
    return (right / count if count else None), count
