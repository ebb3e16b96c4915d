"""What a user does after a reply: pure decisions, so that a run can be replayed from its seed.

Honest users answer some exchanges with a thumb and, on a new desk, some with a correction; a share of it is wrong.
One hostile user, with one identity and many sessions, sends a fixed share of all feedback, all of it wrong.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from daemon.demo.places import Question

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class UsersConfig(BaseModel):
    """How the demo's users behave. Shares are fractions, times are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: Annotated[int, Field(ge=2)] = 1800
    """People; enough of them that no honest one is noticed by a cap."""
    turns_max: Annotated[int, Field(ge=1)] = 4
    """Turns of the longest session; every length up to it is equally likely."""
    same_desk: Share = 0.9
    """Chance that a session's next turn stays at its desk."""
    thumbs: Share = 0.30
    """Exchanges that get a thumb."""
    corrections: Share = 0.25
    """Exchanges of a new desk that get a correction (a right reply gets a thumb up instead)."""
    wrong: Share = 0.10
    """Feedback of honest users that is wrong: people err."""
    hostile: Annotated[float, Field(ge=0.0, lt=1.0)] = 1 / 3
    """Share of all feedback that one hostile user sends, all of it wrong."""
    delay_median_s: Annotated[float, Field(gt=0.0)] = 2.0
    """Median time from a reply to its feedback."""
    delay_p99_s: Annotated[float, Field(gt=0.0)] = 12.0
    """99th percentile of that time; log-normal between the two."""
    rate: Annotated[float, Field(gt=0.0)] = 130.0
    """Requests a second that are aimed at; a slower machine gets fewer, never failures."""
    concurrency: Annotated[int, Field(ge=1)] = 16
    """Requests in flight at most: what bounds the load on a slow machine."""
    feedback_concurrency: Annotated[int, Field(ge=1)] = 4
    """Feedback posts in flight at most."""
    feedback_pending: Annotated[int, Field(ge=1)] = 20_000
    """Feedback that waits for its delay to pass; beyond it users forget to send it, which is counted."""
    request_timeout_s: Annotated[float, Field(gt=0.0)] = 60.0
    """A reply that takes longer counts as failed."""
    max_tokens: Annotated[int, Field(ge=1)] = 32
    """Longest reply asked for."""


Z_99 = 2.3263478740408408


def feedback_delay(config: UsersConfig, rng: random.Random) -> float:
    """Seconds until a feedback is sent: log-normal with the configured median and 99th percentile."""
    sigma = math.log(config.delay_p99_s / config.delay_median_s) / Z_99
    return config.delay_median_s * math.exp(sigma * rng.gauss(0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Opinion:
    """One feedback that a user means to send."""

    kind: Literal["thumb", "correction"]
    value: bool | None
    correction: str | None
    wrong: bool

    @property
    def reward(self) -> float:
        """What the feedback says of the reply: up 1, down or corrected 0."""
        return 1.0 if self.value else 0.0


def _thumb(up: bool, wrong: bool) -> Opinion:
    return Opinion("thumb", up is not wrong, None, wrong)


def other_reply(question: Question, replies: Sequence[str], rng: random.Random) -> str:
    """A reply of the same desk that is not the right one."""
    others = [r for r in replies if r != question.right]
    return rng.choice(others) if others else f"not {question.right}"


def honest(
    question: Question, reply: str, new_desk: bool, replies: Sequence[str], config: UsersConfig, rng: random.Random
) -> list[Opinion]:
    """What an honest user says about a reply: nothing, a thumb, a correction, or both."""
    right = question.answered_by(reply)
    said: list[Opinion] = []
    if rng.random() < config.thumbs:
        said.append(_thumb(right, rng.random() < config.wrong))
    if new_desk and rng.random() < config.corrections:
        wrong = rng.random() < config.wrong
        if wrong:
            said.append(Opinion("correction", None, other_reply(question, replies, rng), True))
        elif right:
            said.append(_thumb(True, False))
        else:
            said.append(Opinion("correction", None, question.right, False))
    return said[-1:] if len(said) == 2 and said[0].kind == said[1].kind else said


def hostile(question: Question, reply: str, replies: Sequence[str]) -> list[Opinion]:
    """What the hostile user says: the thumb turned round, and one favourite reply of the desk as the correction."""
    favourite = next((r for r in replies if r != question.right), f"not {question.right}")
    return [_thumb(question.answered_by(reply), True), Opinion("correction", None, favourite, True)]
