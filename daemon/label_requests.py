"""Requests for labels as values: for which alarm, on which slice, how many more, for what verdict, and how each ended.

A few at a time. A request ends with a name: the labels came, its time was up, or a promotion made it moot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import orjson

from daemon.store import Read, Tx, states
from deploy.power import Forecast, Outlook
from deploy.rollout import RolloutConfig

STATE: Final = "label_requests"
"""Name of the requests among the states."""
Verdict = Literal["training", "rollout", "cause"]
"""What the labels are for: examples to train on; rated sessions for a rollout's verdict; the cause of a drift."""
ENDS: Final = ("labels_satisfied", "labels_timed_out", "labels_superseded", "labels_enough")
"""Names of an end: as many came as were asked for; the deadline passed; a promotion or a newer request made it moot;
there were enough when it was asked.
"""
OUT_OF_REACH: Final = "labels_cannot_help"
"""Reason in the ledger instead of a request: no number of labels gives the expected effect its verdict."""
MOST_OPEN: Final = 4
MOST_KEPT: Final = 32
"""Requests that are remembered, open ones included; the ledger has all."""


@dataclass(frozen=True, slots=True)
class LabelRequest:
    """One request. JSON-able by ``to_dict``."""

    id: str
    alarm: str
    """What it is about: an alarm's id, or ``manual``."""
    cycle: str | None
    """The cycle that asked; None where the policy did."""
    verdict: Verdict
    needed: int
    """Labels that are wanted from now on."""
    asked_at: float
    deadline: float
    slice: str | None
    """Digest of the slice; None: any exchange."""
    got: int = 0
    end: str = ""
    """Of ``ENDS``; empty while it is open."""
    ended_at: float | None = None

    @property
    def open(self) -> bool:
        """Whether labels are still wanted."""
        return not self.end

    @property
    def left(self) -> int:
        """Labels that are still to come."""
        return max(self.needed - self.got, 0) if self.open else 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; ``from_dict`` restores it bit for bit."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> LabelRequest:
        """Inverse of ``to_dict``."""
        return cls(**{name: stored[name] for name in cls.__slots__})


def looked_at(request: LabelRequest, got: int, promoted_at: float | None, now: float) -> LabelRequest:
    """The request after counting ``got`` labels; ``promoted_at``: the newest promotion."""
    if not request.open:
        return request
    if promoted_at is not None and promoted_at > request.asked_at:
        return replace(request, got=got, end="labels_superseded", ended_at=now)
    if got >= request.needed:
        end = "labels_satisfied" if request.needed else "labels_enough"
        return replace(request, got=got, end=end, ended_at=now)
    if now >= request.deadline:
        return replace(request, got=got, end="labels_timed_out", ended_at=now)
    return replace(request, got=got)


def with_new(known: Sequence[LabelRequest], new: LabelRequest) -> list[LabelRequest]:
    """Known requests, oldest first, and a new one. What it replaces (the same alarm's, or the oldest of too many open
    ones) ends superseded.
    """
    kept = [replace(r, end="labels_superseded", ended_at=new.asked_at) if _replaced(r, new) else r for r in known]
    opened = [r for r in kept if r.open]
    over = {r.id for r in opened[: max(len(opened) - MOST_OPEN + 1, 0)]}
    kept = [replace(r, end="labels_superseded", ended_at=new.asked_at) if r.id in over else r for r in kept]
    return [*kept, new][-MOST_KEPT:]


def _replaced(known: LabelRequest, new: LabelRequest) -> bool:
    return known.open and known.alarm == new.alarm


def for_rollout(forecast: Forecast, outlook: Outlook, config: RolloutConfig) -> int | None:
    """Rated sessions that a rollout needs before its deadline, beyond those that this traffic gives; None where no
    number of them suffices.
    """
    units = forecast.units_small + forecast.units_half
    time = config.deadline_s - forecast.waits_s
    if not math.isfinite(units) or time <= 0.0 or units > config.identity_cap * outlook.people:
        return None
    return max(math.ceil(units - min(outlook.units_per_s * time, forecast.most_units)), 1)


def load(read: Read) -> list[LabelRequest]:
    """The remembered requests, oldest first."""
    blob = states.get(read, STATE)
    return [] if blob is None else [LabelRequest.from_dict(one) for one in orjson.loads(blob)]


def save(tx: Tx, requests: Sequence[LabelRequest], now: float) -> None:
    """Remember these."""
    states.put(tx, STATE, orjson.dumps([r.to_dict() for r in requests]), now)


def by_alarm(requests: Sequence[LabelRequest]) -> dict[str, str]:
    """Alarm to the end of its newest request; empty while that is open."""
    return {r.alarm: r.end for r in requests}
