"""How many sessions come, how many of them say something, and how much what they say varies: from recorded traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from daemon.store import Read, exchanges
from daemon.stored_rewards import Rewards, stored_rewards
from streams.events import Exchange

WINDOW_S: Final = 86_400.0
"""Seconds of traffic that are looked at: a day, so that night and day are both in it..."""
MOST: Final = 5_000
"""...and at most so many exchanges, the newest: on a busy deployment the last minutes say enough."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Recent traffic of a deployment."""

    sessions_per_hour: float
    feedback_rate: float
    """Share of sessions with trusted feedback so far; what is still to come is not counted."""
    reward_variance: float | None
    """Of the mean reward of a session; None with fewer than two rated ones."""
    sessions: int
    span_s: float


def recent_rates(read: Read, deployment: str, now: float) -> Rates | None:
    """Rates of the newest traffic; None without any."""
    recent = exchanges.since(read, deployment, now - WINDOW_S, now, MOST)
    return rates(recent, stored_rewards(read, recent), now)


def rates(recent: Sequence[Exchange], known: Rewards, now: float) -> Rates | None:
    """Rates of exchanges that are ordered by time, up to ``now``. Pure."""
    if not recent:
        return None
    rewards: dict[str, list[float]] = {x.session: [] for x in recent}
    for exchange in recent:
        value = known.of(exchange)
        if value is not None:
            rewards[exchange.session].append(value)
    means = [sum(values) / len(values) for values in rewards.values() if values]
    span = max(now - recent[0].received_at, 1.0)
    return Rates(3600.0 * len(rewards) / span, len(means) / len(rewards), _variance(means), len(rewards), span)


def _variance(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / (len(values) - 1)
