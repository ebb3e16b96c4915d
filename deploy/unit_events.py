"""What a rollout's evidence is made of: one increment of one path, as it is stored and folded again."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Path(StrEnum):
    """Which evidence an event feeds."""

    ASSIGNED = "assigned"  # a new unit: the sample ratio
    PROMOTE = "promote"  # a matured unit's mean reward, in request order
    CLOSED = "closed"  # a matured unit without feedback, or beyond its identity's cap: recorded, no evidence
    HARM = "harm"  # a unit's first reward, in arrival order; that it was rated at all feeds the feedback rate
    # the rest are guardrails: the first event of its kind per identity (deploy.guards)
    ERROR = "error"
    FIRST_TOKEN = "first_token"
    PACE = "pace"
    FLAG = "flag"
    REFUSAL = "refusal"
    LENGTH = "length"
    FORMAT = "format"
    AGREEMENT = "agreement"
    QUESTION = "question"


class UnitEvent(NamedTuple):
    """One increment of evidence."""

    seq: int
    path: Path
    unit: int
    """Number of the unit within its rollout."""
    canary: bool
    propensity: float
    value: float
    """Reward in [0, 1] on the promote and harm paths; 1 for the others."""
    in_slice: bool
    at: float
