"""The life of one candidate, as a table.

A rollout is in one phase. Each tick the shell makes the world match what the phase wants (``desired``),
gathers facts, asks ``deploy.verdict`` for the signal they give, and moves along ``TABLE``, at most one step. A pair
that is not in the table is an illegal move. The ledger holds every move, so ``replay`` of it gives the current phase.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field


class Phase(StrEnum):
    """Where a rollout is."""

    STARTING = "starting"  # the control arm becomes an adapter, so that both arms pay the same
    SOAKING = "soaking"  # the candidate on one replica: effect proof, synthetic requests
    PROVING = "proving"  # the candidate on every replica, one at a time
    AWAITING_CANARY = "awaiting_canary"  # modes propose and canary: a person approves the canary
    CANARY_SMALL = "canary_small"  # 10 % of sessions
    CANARY_HALF = "canary_half"  # 50 % of sessions
    AWAITING_PROMOTION = "awaiting_promotion"  # mode canary: a person approves the promotion
    PROBATION = "probation"  # 95 : 5 against previous
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    INCONCLUSIVE = "inconclusive"
    DENIED = "denied"
    ABORTED = "aborted"


class Signal(StrEnum):
    """What the facts say; with a phase it names the next phase."""

    CONTROL_READY = "control_ready"
    SOAKED = "soaked"
    PROVED = "proved"
    NEEDS_APPROVAL = "needs_approval"
    APPROVED = "approved"
    STEP_PASSED = "step_passed"
    NO_HARM = "no_harm"
    HARM = "harm"
    KILL_SWITCH = "kill_switch"
    PROOF_FAILED = "proof_failed"
    VOID = "void"  # the sample ratio is not what was assigned: the comparison means nothing
    DEADLINE = "deadline"
    ABORT = "abort"
    ROLLBACK = "rollback"  # a person's command


LIVE: Final = (Phase.CANARY_SMALL, Phase.CANARY_HALF, Phase.AWAITING_PROMOTION, Phase.PROBATION)
"""Phases in which the candidate answers users."""

FINAL: Final = frozenset({Phase.PROMOTED, Phase.ROLLED_BACK, Phase.INCONCLUSIVE, Phase.DENIED, Phase.ABORTED})

_FORWARD: Final[Mapping[tuple[Phase, Signal], Phase]] = {
    (Phase.STARTING, Signal.CONTROL_READY): Phase.SOAKING,
    (Phase.SOAKING, Signal.SOAKED): Phase.PROVING,
    (Phase.PROVING, Signal.PROVED): Phase.CANARY_SMALL,
    (Phase.PROVING, Signal.NEEDS_APPROVAL): Phase.AWAITING_CANARY,
    (Phase.AWAITING_CANARY, Signal.APPROVED): Phase.CANARY_SMALL,
    (Phase.CANARY_SMALL, Signal.STEP_PASSED): Phase.CANARY_HALF,
    (Phase.CANARY_HALF, Signal.STEP_PASSED): Phase.PROBATION,
    (Phase.CANARY_HALF, Signal.NEEDS_APPROVAL): Phase.AWAITING_PROMOTION,
    (Phase.AWAITING_PROMOTION, Signal.APPROVED): Phase.PROBATION,
    (Phase.PROBATION, Signal.NO_HARM): Phase.PROMOTED,
    (Phase.PROBATION, Signal.APPROVED): Phase.PROMOTED,
    # a person may promote past the statistics; the command needs the admin scope and is named in the ledger
    (Phase.CANARY_SMALL, Signal.APPROVED): Phase.PROBATION,
    (Phase.CANARY_HALF, Signal.APPROVED): Phase.PROBATION,
}

_UNPROVED: Final = (Phase.STARTING, Phase.SOAKING, Phase.PROVING, Phase.AWAITING_CANARY)

_BACK: Final[Mapping[tuple[Phase, Signal], Phase]] = {
    **{(p, Signal.PROOF_FAILED): Phase.DENIED for p in _UNPROVED},
    **{(p, Signal.KILL_SWITCH): Phase.DENIED for p in _UNPROVED},
    **{(p, Signal.ROLLBACK): Phase.ABORTED for p in _UNPROVED},
    **{(p, Signal.ABORT): Phase.ABORTED for p in (*_UNPROVED, *LIVE)},
    **{(p, Signal.DEADLINE): Phase.INCONCLUSIVE for p in (*_UNPROVED, *LIVE)},
    **{(p, Signal.HARM): Phase.ROLLED_BACK for p in LIVE},
    **{(p, Signal.KILL_SWITCH): Phase.ROLLED_BACK for p in LIVE},
    **{(p, Signal.PROOF_FAILED): Phase.ROLLED_BACK for p in LIVE},
    **{(p, Signal.ROLLBACK): Phase.ROLLED_BACK for p in LIVE},
    **{(p, Signal.VOID): Phase.INCONCLUSIVE for p in LIVE},
}

TABLE: Final[Mapping[tuple[Phase, Signal], Phase]] = MappingProxyType({**_FORWARD, **_BACK})


class IllegalMove(Exception):
    """Ours: somebody asked for a transition that the table does not hold."""

    def __init__(self, phase: Phase, signal: Signal) -> None:
        allowed = ", ".join(sorted(s.value for p, s in TABLE if p is phase)) or "nothing: it is final"
        super().__init__(f"rollout phase {phase.value!r} does not take {signal.value!r}; it takes: {allowed}")
        self.phase, self.signal = phase, signal


def move(phase: Phase, signal: Signal) -> Phase:
    """The next phase. Raises IllegalMove."""
    try:
        return TABLE[phase, signal]
    except KeyError:
        raise IllegalMove(phase, signal) from None


def replay(signals: Iterable[Signal], start: Phase = Phase.STARTING) -> Phase:
    """The phase that a history of signals leads to. Raises IllegalMove at the first wrong one."""
    phase = start
    for signal in signals:
        phase = move(phase, signal)
    return phase


class RolloutConfig(BaseModel):
    """How a candidate meets traffic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share_small: Annotated[float, Field(gt=0, lt=1)] = 0.10
    """Share of sessions in the first step; 10 % bounds who meets a bad candidate."""
    share_half: Annotated[float, Field(gt=0, lt=1)] = 0.50
    """Share in the second step; 50 % decides soonest."""
    share_probation: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Share of the new version in probation; the rest stays on previous as the yardstick."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Chance of a wrong verdict per decision; every threshold is 1/alpha."""
    margin_small: Annotated[float, Field(gt=0, lt=1)] = 0.10
    """Non-inferiority margin (reward) of the first step."""
    margin_half: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Non-inferiority margin (reward) of the second step."""
    min_units_per_arm: Annotated[int, Field(ge=1)] = 20
    """Matured units an arm before the first step may pass."""
    maturity_s: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds of feedback that belong to a unit (W); thumbs come late."""
    lateness_s: Annotated[float, Field(ge=0)] = 5.0
    """Seconds that events may be out of order before the promote path reads them."""
    lease_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds a share outlives a silent daemon."""
    deadline_s: Annotated[float, Field(gt=0)] = 7 * 86400.0
    """Seconds until a rollout without a verdict ends inconclusive."""
    probation_units: Annotated[int, Field(ge=1)] = 2000
    """Units that end probation without harm."""
    probation_s: Annotated[float, Field(gt=0)] = 24 * 3600.0
    """Seconds that end probation without harm, whichever comes first."""
    identity_cap: Annotated[int, Field(ge=1)] = 3
    """Units one identity may count for; without the cap one loud user decides."""
    latency_slo_s: Annotated[float, Field(gt=0)] | None = None
    """Latency that counts as an exceedance; None: the 95th percentile before the canary over >= 2,000 requests."""
    kill_errors: Annotated[int, Field(ge=1)] = 20
    """Consecutive 5xx of the candidate that end it at once..."""
    kill_sessions: Annotated[int, Field(ge=1)] = 5
    """...when they come from at least this many sessions."""
    soak_requests: Annotated[int, Field(ge=1)] = 16
    """Synthetic requests that a candidate answers on one replica before it is loaded on the others."""
    champion_wait_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds without a replica that has the champion before previous, identity or base serves instead."""

    @property
    def threshold(self) -> float:
        """E-value at which a decision is made (Ville's inequality)."""
        return 1.0 / self.alpha


@dataclass(frozen=True, slots=True)
class Desired:
    """What the world should look like in a phase."""

    control: str | None
    share: float | None
    resident: tuple[str, ...]


def desired(phase: Phase, control: str, candidate: str, config: RolloutConfig) -> Desired:
    """What routes and replicas should hold while a rollout is in a phase; once promoted, the candidate serves."""
    if phase is Phase.PROMOTED:
        return Desired(candidate, None, (control, candidate))
    share = {
        Phase.CANARY_SMALL: config.share_small,
        Phase.CANARY_HALF: config.share_half,
        Phase.AWAITING_PROMOTION: config.share_half,
        Phase.PROBATION: config.share_probation,
    }.get(phase)
    return Desired(control, share, (control,) if phase is Phase.STARTING else (control, candidate))
