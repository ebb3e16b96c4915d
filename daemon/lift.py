"""What all promotions together are worth: the reward of everybody else minus that of the sessions held back.

Units are sessions that began while the holdback ran, in the order in which they began, each with the mean reward of
its window. Who is held back is the gateway's own draw (intention to treat). Everybody else is thinned by a second draw,
independent of the first and of what happens, to ``OTHERS`` for each session held back: the propensity among those kept
follows, the interval stays valid, and a year of traffic is a few thousand units.

Only what was said within a session's window counts, and its reward outlives the text that it was made of
(``daemon.stored_rewards``): a unit says the same today and in a year, as an interval needs that holds at every look.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from daemon.holdback import Record
from daemon.store import Read, exchanges, sessions
from daemon.store.retention import rewards_known_after
from daemon.stored_rewards import stored_rewards
from deploy.gateway.arms import position
from deploy.rollout import RolloutConfig
from monitors.confidence import interval
from streams.events import Exchange

OTHERS: Final = 4.0
"""Sessions of everybody else that are kept for each one held back: a quarter more variance than with all of them."""
MOST: Final = 20_000
"""Units of an answer, the first ones: about four seconds of one core. The interval is valid after any number."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Which sessions are looked at, and on which side they are."""

    id: str
    share: float

    @property
    def kept(self) -> float:
        """Share of everybody else that is kept."""
        return min(1.0, OTHERS * self.share / (1.0 - self.share))

    @property
    def propensity(self) -> float:
        """Probability that a session which is looked at is not held back."""
        others = (1.0 - self.share) * self.kept
        return others / (others + self.share)

    def side(self, session: str) -> bool | None:
        """True: everybody else; False: held back; None: not looked at."""
        if position(self.id, session) < self.share:
            return False
        return True if position(f"{self.id}/kept", session) < self.kept else None


@dataclass(frozen=True, slots=True)
class Unit:
    """One session with feedback."""

    served: bool
    """False: held back."""
    reward: float


def lift(read: Read, deployment: str, held: Record, config: RolloutConfig, now: float) -> dict[str, Any]:
    """The JSON-able answer at ``now`` for a holdback that has begun."""
    started = held.started_at if held.started_at is not None else now
    until = min(held.ended_at if held.ended_at is not None else now, now - config.maturity_s - config.lateness_s)
    started = max(started, math.nextafter(rewards_known_after(read, deployment), math.inf))
    draw = Draw(held.id, held.share)
    units = _units(read, deployment, draw, started, until, config)
    means = [_mean([u.reward for u in units if u.served is side]) for side in (True, False)]
    served, back = means
    low, high = interval(((u.served, draw.propensity, u.reward) for u in units), config.alpha)
    return {
        "holdback": held.id,
        "anchor": held.anchor,
        "share": held.share,
        "since": started,
        "until": held.ended_at,
        "units": len(units),
        "units_held_back": sum(not u.served for u in units),
        "reward_served": served,
        "reward_held_back": back,
        "effect": None if served is None or back is None else served - back,
        "low": low,
        "high": high,
        "level": 1.0 - config.alpha,
        "complete": len(units) < MOST,
    }


def _units(read: Read, deployment: str, draw: Draw, from_s: float, until_s: float, config: RolloutConfig) -> list[Unit]:
    """Sessions with feedback, in order; an identity counts for at most ``identity_cap`` of them."""
    chosen = [
        (s, side)
        for s in sessions.begun(read, deployment, from_s, until_s)
        if (side := draw.side(s.session)) is not None
    ]
    per_identity: Counter[str] = Counter()
    found: list[Unit] = []
    for piece in _pieces(chosen, 500):
        of_session: dict[str, list[Exchange]] = {}
        for x in exchanges.of_sessions(read, deployment, [s.session for s, _ in piece]):
            of_session.setdefault(x.session, []).append(x)
        rewards = stored_rewards(read, [x for came in of_session.values() for x in came])
        for session, side in piece:
            came = of_session.get(session.session, [])
            if not came:
                continue
            per_identity[came[0].identity] += 1
            if per_identity[came[0].identity] > config.identity_cap:
                continue
            heard = [rewards.of(x, session.first_at + config.maturity_s) for x in came]
            reward = _mean([value for value in heard if value is not None])
            if reward is not None:
                found.append(Unit(side, reward))
            if len(found) >= MOST:
                return found
    return found


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _pieces(
    chosen: Sequence[tuple[sessions.Session, bool]], size: int
) -> Iterable[Sequence[tuple[sessions.Session, bool]]]:
    return (chosen[at : at + size] for at in range(0, len(chosen), size))
