"""What a detector says: a typed alarm with its evidence, and the slice of prompts that it is about."""

from __future__ import annotations

import math
from enum import StrEnum
from hashlib import sha256
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from monitors.grams import hashed

Evidence = dict[str, float | int | str | list[str]]


class AlarmKind(StrEnum):
    """What drifted."""

    INPUT = "input"
    BEHAVIOUR = "behaviour"
    REWARD = "reward"
    FEEDBACK = "feedback"
    LATENCY = "latency"


class SliceModel(BaseModel):
    """Which prompts an alarm is about: a linear score over hashed n-grams against a threshold.

    Membership is a pure function of the prompt, so it is fixed before a unit's arm is drawn. The score is
    ``bias + sum(weight[b] for b in grams) / sqrt(number of grams)``; the model is plain JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    buckets: Annotated[int, Field(ge=2, le=1 << 20)]
    """Width of the hash; part of the model, since weights mean nothing under another one."""
    weights: dict[int, float]
    """Weight of each bucket that has one."""
    bias: float
    threshold: float
    """A prompt is inside when its score is at least this."""
    terms: tuple[str, ...] = ()
    """The words that speak most for membership, for people; no part of the decision."""

    @model_validator(mode="after")
    def _finite(self) -> SliceModel:
        if not all(map(math.isfinite, (self.bias, self.threshold, *self.weights.values()))):
            raise ValueError("a slice needs finite weights, bias and threshold; rebuild it from the traffic")
        return self

    @classmethod
    def stored(cls, json: object) -> SliceModel | None:
        """The slice that a row holds, None where it holds none. Raises pydantic ValidationError."""
        return None if json is None else cls.model_validate(json)

    def score(self, text: str) -> float:
        """Linear score of a prompt; the bias alone for a text without words."""
        found = hashed(text, self.buckets)
        if not found:
            return self.bias
        get = self.weights.get
        return self.bias + sum(get(b, 0.0) for b in found) / math.sqrt(len(found))

    def contains(self, text: str) -> bool:
        """Whether the prompt is in the slice; a text without words never is."""
        return bool(text.strip()) and self.score(text) >= self.threshold

    @property
    def digest(self) -> str:
        """12 hex digits that name this slice in the ledger."""
        return sha256(self.model_dump_json().encode()).hexdigest()[:12]


class Alarm(BaseModel):
    """One finding of a detector. Only a confirmed alarm of a primary detector may start anything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alarm_id: str
    deployment: str
    kind: AlarmKind
    detector: str
    primary: bool
    """False: an informer, which tells people and never acts."""
    confirmed: bool
    at: float
    """Event time, wall-clock seconds, of the event that completed the finding."""
    event_index: int
    """How many events the watch had seen, this one included."""
    evidence: Evidence = Field(default_factory=dict)
    """Figures and words. ``cause`` says which kind of drift an alarm that may act is about: ``new_inputs``,
    ``changed_answers`` (concept drift) or ``unknown``; ``terms`` are the words that moved;
    ``language`` is there when the prompts turned to a language, with its share ``language_before`` and
    ``language_since``."""
    slice: SliceModel | None = None

    @property
    def cause(self) -> str:
        """Which kind of drift it is about; "unknown" where nobody could tell."""
        return str(self.evidence.get("cause", "unknown"))

    @property
    def acts(self) -> bool:
        """Whether the controller may act on it."""
        return self.primary and self.confirmed


def alarm_id(deployment: str, kind: AlarmKind, detector: str, event_index: int, state: str) -> str:
    """The same finding in a replay of the same events has the same id: 16 hex digits.

    ``state`` tells apart the findings that one event can complete (suspected, confirmed, dismissed).
    """
    text = "\x1f".join((deployment, kind.value, detector, str(event_index), state))
    return sha256(text.encode()).hexdigest()[:16]
