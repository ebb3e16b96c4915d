"""What the joiner has to say: one small type for each thing that can happen to an exchange or a feedback."""

from __future__ import annotations

from dataclasses import dataclass

from streams.codec import Origin
from streams.dead_letters import Reason
from streams.events import Exchange, Feedback


@dataclass(frozen=True, slots=True)
class Joined:
    """An exchange and the feedback that counts for it now. ``revision``: the exchange was told of before."""

    exchange: Exchange
    feedbacks: tuple[Feedback, ...]
    newest: Feedback
    """The feedback that caused this finding."""
    revision: bool


@dataclass(frozen=True, slots=True)
class Superseded:
    """A feedback that does not count because a stronger or later one of its kind does. Kept as history only."""

    feedback: Feedback


@dataclass(frozen=True, slots=True)
class Closed:
    """The window of a labelled exchange is over: this is its final label. ``early``: pushed out by the limit."""

    exchange: Exchange
    feedbacks: tuple[Feedback, ...]
    early: bool = False


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """The window of an exchange is over and nobody said anything: not a negative label, none."""

    exchange: Exchange
    early: bool = False


@dataclass(frozen=True, slots=True)
class Late:
    """A feedback on a known exchange, sent or come after its window: revises the example, counts in no test."""

    feedback: Feedback


@dataclass(frozen=True, slots=True)
class Orphan:
    """A feedback whose exchange never came: a dead letter."""

    feedback: Feedback
    origin: Origin


@dataclass(frozen=True, slots=True)
class Refused:
    """A feedback that contradicts its exchange or found no room: a dead letter with this reason."""

    feedback: Feedback
    origin: Origin
    reason: Reason


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An event that was seen before."""

    event_id: str


Finding = Joined | Superseded | Closed | Unlabelled | Late | Orphan | Refused | Duplicate
