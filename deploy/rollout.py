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
from typing import Final

from deploy.rollout_config import RolloutConfig


class Phase(StrEnum):
    """Where a rollout is."""

    STARTING = "starting"  # the control arm becomes an adapter, so that both arms pay the same
    SOAKING = "soaking"  # the candidate on one replica: effect proof, synthetic and recorded requests
    PROVING = "proving"  # the candidate on every replica, one at a time
    AWAITING_CANARY = "awaiting_canary"  # modes propose and canary: a person approves the canary
    CANARY_SMALL = "canary_small"  # 10 % of sessions
    CANARY_HALF = "canary_half"  # 50 % of sessions
    AWAITING_PROMOTION = "awaiting_promotion"  # mode canary: a person approves the promotion
    PROBATION = "probation"  # 95 : 5 against previous
    AWAITING_SECOND_PROBATION = "awaiting_second_probation"  # mode propose: a person approves that others serve
    SECOND_PROBATION = "second_probation"  # a champion that is suspected soon after its promotion, against previous
    PROMOTED = "promoted"
    KEPT = "kept"  # after a second probation the champion stays
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


_TRIED: Final = (Phase.CANARY_SMALL, Phase.CANARY_HALF, Phase.AWAITING_PROMOTION, Phase.PROBATION)
LIVE: Final = (*_TRIED, Phase.SECOND_PROBATION)
"""Phases in which the candidate has a share of the users."""

STAYS: Final = frozenset({Phase.PROMOTED, Phase.KEPT})
"""Ends after which the candidate serves everybody."""

FINAL: Final = frozenset({*STAYS, Phase.ROLLED_BACK, Phase.INCONCLUSIVE, Phase.DENIED, Phase.ABORTED})

BEGINS: Final[Mapping[str, Phase]] = MappingProxyType(
    {
        "gate_passed": Phase.STARTING,
        "second_probation": Phase.SECOND_PROBATION,
        "second_probation_proposed": Phase.AWAITING_SECOND_PROBATION,
    }
)
"""Reason for which a rollout is opened, to its first phase. The candidate of a second probation is the champion."""
SECONDS: Final = frozenset(BEGINS) - {"gate_passed"}
"""Reasons that open a second probation."""

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
    (Phase.AWAITING_SECOND_PROBATION, Signal.APPROVED): Phase.SECOND_PROBATION,
    (Phase.SECOND_PROBATION, Signal.NO_HARM): Phase.KEPT,
    (Phase.SECOND_PROBATION, Signal.APPROVED): Phase.KEPT,
}

SHADOWED: Final = (Phase.PROVING, Phase.AWAITING_CANARY)
"""Phases before traffic in which the candidate is proved, so that its shadow may say something."""

_UNPROVED: Final = (Phase.STARTING, Phase.SOAKING, Phase.PROVING, Phase.AWAITING_CANARY)

_BACK: Final[Mapping[tuple[Phase, Signal], Phase]] = {
    **{(p, Signal.PROOF_FAILED): Phase.DENIED for p in _UNPROVED},
    **{(p, Signal.KILL_SWITCH): Phase.DENIED for p in _UNPROVED},
    **{(p, Signal.HARM): Phase.DENIED for p in SHADOWED},
    **{(p, Signal.ROLLBACK): Phase.ABORTED for p in _UNPROVED},
    **{(p, Signal.ABORT): Phase.ABORTED for p in (*_UNPROVED, *_TRIED)},
    **{(p, Signal.DEADLINE): Phase.INCONCLUSIVE for p in (*_UNPROVED, *_TRIED)},
    **{(p, Signal.HARM): Phase.ROLLED_BACK for p in LIVE},
    **{(p, Signal.KILL_SWITCH): Phase.ROLLED_BACK for p in LIVE},
    **{(p, Signal.PROOF_FAILED): Phase.ROLLED_BACK for p in LIVE},
    **{(p, Signal.ROLLBACK): Phase.ROLLED_BACK for p in LIVE},
    **{(p, Signal.VOID): Phase.INCONCLUSIVE for p in _TRIED},
    # without a verdict the champion stays, and here it is the candidate
    **{(Phase.SECOND_PROBATION, s): Phase.KEPT for s in (Signal.VOID, Signal.DEADLINE, Signal.ABORT)},
    **{(Phase.AWAITING_SECOND_PROBATION, s): Phase.KEPT for s in (Signal.DEADLINE, Signal.ABORT, Signal.PROOF_FAILED)},
    (Phase.AWAITING_SECOND_PROBATION, Signal.ROLLBACK): Phase.ROLLED_BACK,
}

TABLE: Final[Mapping[tuple[Phase, Signal], Phase]] = MappingProxyType({**_FORWARD, **_BACK})


def _leading_to(end: Phase) -> frozenset[Phase]:
    found = {end}
    while more := {before for (before, _), after in TABLE.items() if after in found} - found:
        found |= more
    return frozenset(found)


MAY_PROMOTE: Final = _leading_to(Phase.PROMOTED)
"""Phases from which the table leads to a promotion, the promotion itself included."""


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


@dataclass(frozen=True, slots=True)
class Desired:
    """What the world should look like in a phase."""

    control: str | None
    share: float | None
    resident: tuple[str, ...]


def desired(phase: Phase, control: str, candidate: str, config: RolloutConfig) -> Desired:
    """What routes and replicas should hold while a rollout is in a phase.

    A leased share is always the candidate's: when nobody renews it, the version serves that has the longer record.
    """
    if phase in STAYS or phase is Phase.AWAITING_SECOND_PROBATION:
        return Desired(candidate, None, (control, candidate))
    share = {
        Phase.CANARY_SMALL: config.share_small,
        Phase.CANARY_HALF: config.share_half,
        Phase.AWAITING_PROMOTION: config.share_half,
        Phase.PROBATION: config.share_probation,
        Phase.SECOND_PROBATION: config.share_second_probation,
    }.get(phase)
    if phase is Phase.SECOND_PROBATION:  # its candidate first: that is what everybody has without it
        return Desired(control, share, (candidate, control))
    return Desired(control, share, (control,) if phase is Phase.STARTING else (control, candidate))
