"""The answer to "why", as a value: words and numbers for people, JSON-able, without a decision in it."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Json = dict[str, Any]
Relation = Literal[">=", "<=", ">", "<"]
_HOLDS: Final = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided last: ``reason`` is its name in the ledger, ``words`` are for people."""

    what: str
    reason: str
    words: str
    at: float | None
    by: str


@dataclass(frozen=True, slots=True)
class Measure:
    """One number against its threshold; ``reached`` is None where there is nothing to compare yet."""

    name: str
    value: float | None
    relation: Relation
    threshold: float | None
    reached: bool | None
    words: str
    """What it means that the number is on that side of the threshold."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm of a rollout. Rewards are means over units; None without any."""

    arm: str
    version: str | None
    units: int
    rated: int
    first_reward: float | None
    """Mean of the ``rated`` units' first rewards, in order of arrival: what harm is judged by."""
    matured: int
    mean_reward: float | None
    """Mean over the ``matured`` units with feedback: what promotion is judged by."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Reward of the canary minus that of the control: unbiased estimate and always-valid interval."""

    estimate: float | None
    low: float
    high: float
    level: float
    """Coverage of the interval at all instants together: 1 - alpha."""
    units: int
    basis: Literal["matured units", "first rewards"]


@dataclass(frozen=True, slots=True)
class Mark:
    """Where on the path a phase began."""

    units: int
    phase: str


@dataclass(frozen=True, slots=True)
class EvidencePath:
    """E-values over units, from the recorded units. All tuples are of equal length."""

    units: tuple[int, ...]
    """Units assigned so far."""
    log10_e: Mapping[str, tuple[float, ...]]
    """Name of each process to the decimal logarithm of its e-value."""
    thresholds: Mapping[str, float]
    """E-value at which each of them decides: 1 / alpha, for a step up 1 / the smaller of the two alphas, and ten times
    as much where it voids the comparison."""
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Remedy:
    """A command and what it does now."""

    command: str
    effect: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything about one subject."""

    subject: str
    kind: str
    title: str
    decided: Decided
    measures: tuple[Measure, ...] = ()
    next: tuple[str, ...] = ()
    can_do: tuple[Remedy, ...] = ()
    arms: tuple[Arm, ...] = ()
    effect: Effect | None = None
    path: EvidencePath | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> Json:
        """JSON-able form; numbers that are not finite become null."""
        return plain(asdict(self))


def plain(value: Any) -> Any:
    """``value`` with null in place of numbers that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def compare(name: str, value: float | None, relation: Relation, threshold: float | None, words: str) -> Measure:
    """A measure with ``reached`` worked out; a missing or non-finite number reaches nothing."""
    if value is None or threshold is None or not (math.isfinite(value) and math.isfinite(threshold)):
        return Measure(name, value, relation, threshold, None, words)
    return Measure(name, value, relation, threshold, _HOLDS[relation](value, threshold), words)


def span(seconds: float) -> str:
    """A duration for people.

    >>> span(95.0), span(9000.0), span(200000.0)
    ('95 s', '2.5 h', '2.31 d')
    """
    if seconds < 120.0:
        return f"{seconds:.3g} s"
    if seconds < 7200.0:
        return f"{seconds / 60.0:.3g} min"
    return f"{seconds / 3600.0:.3g} h" if seconds < 172800.0 else f"{seconds / 86400.0:.3g} d"
