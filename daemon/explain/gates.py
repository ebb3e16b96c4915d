"""The gate's checks as measures: each estimate's bound against its margin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from daemon.explain.explanation import Measure, Relation

_CHECKS: Final[Mapping[str, tuple[Relation, str]]] = {
    "old": (">", "accuracy on old traffic, candidate minus champion: lower 95 % bound against the margin"),
    "new": (">", "accuracy on the new traffic, candidate minus champion: lower 95 % bound against the margin"),
    "reply_length": ("<=", "factor by which replies to old prompts grew or shrank"),
    "empty_replies": ("<=", "how much larger the share of empty replies is"),
    "distinct_replies": (">=", "distinct replies, candidate to champion: collapse shows here"),
    "nll": ("<=", "nats per token by which the champion's own replies became less likely"),
}

WORDS: Final[Mapping[str, str]] = {
    "passed": "Every check of the gate held.",
    "old_desks_worse": "On old traffic the candidate may be worse than the champion by more than the margin.",
    "new_desk_not_better": "On the alarm's traffic the candidate was not shown to be better.",
    "new_desk_worse": "On the newest traffic the candidate may be worse than the champion by more than the margin.",
    "behaviour_shift": "Its replies to old prompts changed in length, emptiness or variety beyond the bounds.",
    "nll_not_finite": "The trainer measured losses that are not finite: the adapter is broken.",
    "nll_worse": "What the champion said became too unlikely: the adapter moved too far.",
    "too_few_old": "There were too few old questions to judge by, which never passes.",
    "too_few_new": "There were too few new questions to judge by, which never passes.",
    "missing_evidence": "Evidence is missing, which never passes.",
    "invalid_evidence": "The evidence contradicts itself or the version has no effect; it never passes.",
}


def measures(gate: Mapping[str, Any] | None) -> tuple[Measure, ...]:
    """The checks of a stored ``GateResult``; empty without one."""
    found: list[dict[str, Any]] = list((gate or {}).get("checks") or [])
    return tuple(_measure(check) for check in found)


def _measure(check: Mapping[str, Any]) -> Measure:
    relation, said = _CHECKS.get(str(check["name"]), (">=", ""))
    bound = check.get("bound")
    value = None if bound is None else float(bound)
    ok = check.get("ok")
    estimate = check.get("estimate")
    of = f"; estimate {float(estimate):.3g}, n = {check.get('n')}" if estimate is not None else "; not measured"
    return Measure(
        f"gate_{check['name']}", value, relation, float(check["margin"]), None if ok is None else bool(ok), said + of
    )
