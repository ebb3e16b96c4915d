"""How many sessions come, how many of them say something, and how much what they say varies: from recorded traffic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from daemon.store import Read, exchanges
from daemon.stored_rewards import Rewards, stored_rewards
from monitors.bets import PRIOR_UNITS, VARIANCE_MAX
from streams.events import Exchange

WINDOW_S: Final = 86_400.0
"""Seconds of traffic that are looked at: a day, so that night and day are both in it..."""
MOST: Final = 5_000
"""...and at most so many exchanges, the newest: on a busy deployment the last minutes say enough."""
ENOUGH: Final = 100
"""Sessions that nobody will rate any more, from which the share of rated ones is known to some points. With fewer, the
newest are looked at, too, and the share is a lower bound."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Recent traffic of a deployment."""

    sessions_per_hour: float
    feedback_rate: float
    """Share of sessions with trusted feedback that came in time to be counted."""
    reward_variance: float | None
    """Of the mean reward of a session, drawn towards a coin's as in ``monitors.bets``; None below two rated ones."""
    sessions: int
    span_s: float
    people: float = math.inf
    """Identities that come in the time that a rollout may take; infinite where so long a time was not recorded."""


def recent_rates(
    read: Read, deployment: str, now: float, maturity_s: float = math.inf, horizon_s: float = math.inf
) -> Rates | None:
    """Rates of the newest traffic; None without any. ``maturity_s``: seconds in which what is said of a session counts;
    for so long the newest sessions may still be rated. ``horizon_s``: seconds that a rollout may take.
    """
    recent = exchanges.since(read, deployment, now - WINDOW_S, now, MOST)
    if len(recent) < MOST:
        ripe = [x for x in recent if x.received_at <= now - maturity_s]
    else:  # busy: perhaps all of them are too new
        ripe = exchanges.since(read, deployment, now - WINDOW_S, now - maturity_s, MOST)
    came = {x.exchange_id: x for x in (*ripe, *recent)}
    found = rates(recent, stored_rewards(read, list(came.values())), now, maturity_s, ripe)
    people = None if found is None else exchanges.people(read, deployment, now - horizon_s)
    return found if found is None or people is None else replace(found, people=float(people))


def rates(
    recent: Sequence[Exchange],
    known: Rewards,
    now: float,
    maturity_s: float = math.inf,
    ripe: Sequence[Exchange] = (),
) -> Rates | None:
    """Rates of exchanges that are ordered by time, up to ``now``. Pure. ``ripe``: those whose sessions had time to be
    rated; what is said of sessions is taken from these where they are enough.
    """
    if not recent:
        return None
    sessions = len({x.session for x in recent})
    heard = _rewards(ripe, known, maturity_s)
    if len(heard) < ENOUGH:
        heard = _rewards(recent, known, maturity_s)
    means = [sum(values) / len(values) for values in heard.values() if values]
    span = max(now - recent[0].received_at, 1.0)
    return Rates(3600.0 * sessions / span, len(means) / len(heard), _variance(means), sessions, span)


def _rewards(came: Sequence[Exchange], known: Rewards, maturity_s: float) -> dict[str, list[float]]:
    """Rewards of each session, none where nobody trusted said anything within its window."""
    found, until = dict[str, list[float]](), dict[str, float]()
    for exchange in came:
        rewards = found.setdefault(exchange.session, [])
        end = until.setdefault(exchange.session, exchange.received_at + maturity_s)
        value = known.of(exchange, end)
        if value is not None:
            rewards.append(value)
    return found


def _variance(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    squares = PRIOR_UNITS * VARIANCE_MAX + sum((v - mean) ** 2 for v in values)
    return squares / (PRIOR_UNITS + len(values) - 1)
