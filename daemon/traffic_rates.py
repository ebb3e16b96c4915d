"""How many sessions come, how many of them say something, and how much what they say varies: from recorded traffic."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """Identities, also those that did not come in the time looked at: at least about so many (``people_of``)."""


def recent_rates(read: Read, deployment: str, now: float, maturity_s: float = math.inf) -> Rates | None:
    """Rates of the newest traffic; None without any. ``maturity_s``: seconds in which what is said of a session counts;
    for so long the newest sessions may still be rated.
    """
    recent = exchanges.since(read, deployment, now - WINDOW_S, now, MOST)
    if len(recent) < MOST:
        ripe = [x for x in recent if x.received_at <= now - maturity_s]
    else:  # busy: perhaps all of them are too new
        ripe = exchanges.since(read, deployment, now - WINDOW_S, now - maturity_s, MOST)
    came = {x.exchange_id: x for x in (*ripe, *recent)}
    return rates(recent, stored_rewards(read, list(came.values())), now, maturity_s, ripe)


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
    identities = {x.session: x.identity for x in recent}
    sessions = len(identities)
    heard = _rewards(ripe, known, maturity_s)
    if len(heard) < ENOUGH:
        heard = _rewards(recent, known, maturity_s)
    means = [sum(values) / len(values) for values in heard.values() if values]
    span = max(now - recent[0].received_at, 1.0)
    return Rates(
        3600.0 * sessions / span, len(means) / len(heard), _variance(means), sessions, span, people_of(identities)
    )


def people_of(identities: Mapping[str, str]) -> float:
    """How many identities there are, from session to identity of a time: those seen, and of the unseen as many as those
    that came once and twice let one expect. The lower bound of Chao, "Nonparametric estimation of the number of classes
    in a population", Scandinavian Journal of Statistics 1984, in its bias-corrected form.

    >>> people_of({"s1": "ann", "s2": "ann", "s3": "bob", "s4": "bob"})
    2.0
    """
    came = Counter(Counter(identities.values()).values())
    return sum(came.values()) + came[1] * (came[1] - 1) / (2.0 * (came[2] + 1))


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
