"""Retention: text goes, ids and figures stay, so that lineage, verdicts and rewards hold after it.

An exchange and what was said of it lose their text together, in the transaction that writes down the reward which the
two made: a reward is never made of one half. It is written once. What is said later has no text to be held against,
and a past that was looked at does not change any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from daemon.store import dead_letters, exchanges, feedback, states
from daemon.store.open import Read, Store, Tx
from monitors.reward import reward_over_time
from streams.verdicts import heard

PIECE: Final = 200
"""Exchanges of one transaction, and feedback without one: some ten milliseconds in which nobody else writes."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Rows whose text was blanked."""

    exchanges: int = 0
    feedback: int = 0
    dead_letters: int = 0
    more: bool = False
    """Whether there may be more that is as old."""

    def __add__(self, other: Forgotten) -> Forgotten:
        return Forgotten(
            self.exchanges + other.exchanges,
            self.feedback + other.feedback,
            self.dead_letters + other.dead_letters,
            other.more,
        )


def forget_text(tx: Tx, before_s: float, most: int = PIECE) -> Forgotten:
    """Blank one piece, the oldest first, of all text from before ``before_s`` (wall-clock seconds); idempotent."""
    replies = exchanges.oldest_replies(tx, before_s, most)
    said = feedback.for_exchanges(tx, replies)
    rewards = {
        name: reward_over_time(heard(reply, said.get(name, ())), reply.completion) for name, reply in replies.items()
    }
    exchanges.forget_text(tx, rewards)
    words = feedback.forget_text(tx, replies)
    strays = feedback.forget_strays(tx, before_s, most)
    more = most in (len(replies), strays)
    return Forgotten(len(replies), words + strays, 0 if more else dead_letters.forget_text(tx, before_s), more)


def sweep(store: Store, before_s: float, stop: Callable[[], bool], most: int = PIECE) -> Forgotten:
    """Blank all of it, a transaction a piece; between two of them ``stop`` lets others write, or ends it."""
    done = Forgotten(more=True)
    while done.more:
        with store.begin() as tx:
            done += forget_text(tx, before_s, most)
        if done.more and stop():
            break
    return done


def rewards_known_after(read: Read, deployment: str) -> float:
    """Of exchanges received later than this (wall-clock seconds) every reward is known, with text or without."""
    found = states.get(read, f"rewards_known_after:{deployment}")
    return float(found) if found is not None else float("-inf")
