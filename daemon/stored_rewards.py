"""Rewards of stored exchanges: from what was said of them, or from what retention wrote down when it took the words.

Everything that was said is stored, also what the joiner refuses, so that it is asked here once more what counts: no
bare feedback, which anybody can send who knows an id, and none that names another session, tenant or choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from daemon.store import Read, exchanges, feedback
from monitors.reward import Heard, exchange_reward, reward_at
from streams.events import Exchange, Feedback
from streams.verdicts import heard


@dataclass(frozen=True, slots=True)
class Rewards:
    """Of some exchanges."""

    said: Mapping[str, Sequence[Feedback]]
    """Exchange id to its feedback, where the words are still there."""
    kept: Mapping[str, Heard] = field(default_factory=dict[str, Heard])
    """Exchange id to what is left of it, where they are gone. What was said since counts for nothing."""

    def of(self, exchange: Exchange, until_s: float = math.inf) -> float | None:
        """By the trusted feedback sent until ``until_s`` (wall-clock seconds), inclusive; None without any."""
        kept = self.kept.get(exchange.exchange_id)
        if kept is not None:
            return reward_at(kept, until_s)
        said = (f for f in self.said.get(exchange.exchange_id, ()) if f.sent_at <= until_s)
        return exchange_reward(heard(exchange, said), exchange.completion).value


def stored_rewards(read: Read, came: Sequence[Exchange]) -> Rewards:
    """The rewards of ``came``, which were read in the same transaction."""
    emptied = [x.exchange_id for x in came if not x.messages and not x.completion]
    kept = exchanges.kept_rewards(read, emptied) if emptied else {}
    said = feedback.for_exchanges(read, [x.exchange_id for x in came if x.exchange_id not in kept])
    return Rewards(said, kept)
