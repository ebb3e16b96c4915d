"""Why a rollout is where it is: its last decision, its e-values against 1/alpha, its arms. Pure but for reading."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from daemon.explain.evidence_path import (
    MOST_BOUNDED,
    MOST_EVENTS,
    Recorded,
    Walk,
    effect,
    events_of,
    first_rewards,
    walk,
)
from daemon.explain.explanation import Arm, Decided, Explanation, Measure, Relation, Remedy, compare, span
from daemon.explain.rollout_words import CAN_DO, NEXT, WHAT, words
from daemon.explain.shadow_words import shadow_measure, shadow_note
from daemon.query_watch import stored
from daemon.store import Read, rollouts, shadow_scores, units
from daemon.store import ledger as entries
from deploy.guards import GUARDS
from deploy.kill_query import QueryState
from deploy.processes import UnitEvent
from deploy.rollout import FINAL, LIVE, TABLE, Phase, RolloutConfig, Signal
from deploy.verdict import needs, numbers

_TESTS: Final[tuple[tuple[str, str], ...]] = (
    ("harm", "the weighted evidence of harm; ends the rollout"),
    ("non_inferior_small", "not worse by more than the first margin; ends the first step"),
    ("non_inferior_half", "not worse by more than the second margin; one half of the second step"),
    ("superior_in_slice", "better on the alarm's slice; the other half of the second step"),
    ("sample_ratio", "the arms are not as large as they were drawn; voids the comparison"),
    ("harm_reward", "part of harm: users rate the candidate lower"),
    *((f"harm_{guard.name}", f"part of harm: {guard.reason.replace('_', ' ')}") for guard in GUARDS.values()),
    ("feedback_rate", "one arm is rated more often than twice as often as the other; voids the comparison"),
)


def explain(read: Read, row: rollouts.Rollout, now: float) -> Explanation:
    """The explanation of one rollout at ``now``."""
    phase, config = Phase(row.phase), RolloutConfig.model_validate(row.data["config"])
    story = [e for e in entries.about(read, row.id) if e.kind == "rollout"]
    drawn = units.of_rollout(read, row.id)
    rows = units.events_of(read, row.id)
    events = events_of(drawn, rows[:MOST_EVENTS])
    verdicts = [e for e in story if "e_harm" in e.data]
    scores = shadow_scores.of_rollout(read, row.id)
    walked = walk(events, config, [Recorded(str(e.data.get("to_phase", "")), e.data) for e in verdicts])
    seen = numbers(walked.final)
    facts = _facts(seen, config, row)
    last = story[-1] if story else None
    reason = row.reason if phase in FINAL or not row.data.get("waiting") else str(row.data["waiting"])
    decided_on = (
        facts
        if last is None or last.reason != reason
        else _facts({**seen, **_numeric(last.data)}, config, row, last.data)
    )
    return Explanation(
        subject=row.id,
        kind="rollout",
        title=f"rollout {row.id} of {row.candidate} against {row.control or 'the base'}: {WHAT[phase]}",
        decided=Decided(
            WHAT[phase],
            reason,
            words(reason).format_map(decided_on),
            row.ended_at or row.changed_at,
            last.actor if last is not None else "daemon",
        ),
        measures=(
            *_measures(phase, seen, config),
            *shadow_measure(scores, phase, config),
            *_queries(read, row, phase, config),
        ),
        next=_next(phase, row, seen, config, facts, now),
        can_do=tuple(Remedy(r.command.format_map(facts), r.effect) for r in CAN_DO[phase]),
        arms=_arms(row, drawn, events, seen),
        effect=effect(events, config),
        path=walked.path if events else None,
        notes=_notes(walked, verdicts, rows, events, seen) + shadow_note(scores, phase, config),
    )


def _facts(
    seen: Mapping[str, float],
    config: RolloutConfig,
    row: rollouts.Rollout,
    told: Mapping[str, Any] = MappingProxyType({}),
) -> Mapping[str, str]:
    """Numbers as words, and what the ledger told of a query; a name that is not there is a dash."""
    found: dict[str, str] = defaultdict(lambda: "–")
    found |= {name: str(told[name]) for name in ("query", "relation", "expr") if name in told}
    found |= {name: f"{value:.3g}" for name, value in seen.items() if math.isfinite(value)}
    found |= {name: f"{value:g}" for name, value in config.model_dump().items() if isinstance(value, (int, float))}
    shares = ("share_small", "share_half", "share_probation", "share_second_probation")
    found |= {name: f"{100.0 * getattr(config, name):g} %" for name in shares}
    found |= {"needs": f"{config.harm_threshold:.3g}", "needs_promote": f"{config.promote_threshold:g}"}
    found |= {"needs_void": f"{config.void_threshold:g}"}
    found |= {"needs_shadow": f"{config.shadow_threshold:g}", "shadow_wait_s": span(config.shadow.wait_s)}
    found |= {"probation_s": span(config.probation_s), "candidate": row.candidate}
    return found


def _numeric(data: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in data.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _measures(phase: Phase, seen: Mapping[str, float], config: RolloutConfig) -> tuple[Measure, ...]:
    found = [
        compare(name, seen[f"e_{name}"], ">=", needs(name, config), said)
        for name, said in _TESTS
        if f"e_{name}" in seen
    ]
    if phase is Phase.CANARY_SMALL:
        fewest = min(seen["units_matured_control"], seen["units_matured_canary"])
        said = "matured units of the smaller arm; the first step waits for them"
        found.append(compare("units_an_arm", fewest, ">=", float(config.min_units_per_arm), said))
    return tuple(found)


def _queries(read: Read, row: rollouts.Rollout, phase: Phase, config: RolloutConfig) -> list[Measure]:
    """The newest looks at the user's own queries; of an ended rollout the last ones, while no other has begun."""
    looks = stored(read, f"{row.id}:live") or ({} if phase in LIVE else stored(read, f"{row.id}:before"))
    found: list[Measure] = []
    for query in config.kill_queries:
        state = looks.get(query.name, QueryState())
        relation: Relation = ">" if query.relation == "above" else "<"
        beyond = f"beyond it at {state.beyond} of {query.looks} looks in a row"
        said = f"the operator's own query, {beyond if not state.missing else state.missing.replace('_', ' ')}"
        found.append(compare(f"query_{query.name}", state.value, relation, query.threshold, said))
    return found


def _next(
    phase: Phase,
    row: rollouts.Rollout,
    seen: Mapping[str, float],
    config: RolloutConfig,
    facts: Mapping[str, str],
    now: float,
) -> tuple[str, ...]:
    lines = [NEXT[phase].format_map(facts)]
    if phase not in FINAL:
        left = row.deadline - now
        lines.append(
            f"Without a verdict it ends {TABLE[phase, Signal.DEADLINE].value} in {span(left)}."
            if left > 0
            else "Its deadline has passed: it ends at the next tick."
        )
    wanted = {
        Phase.CANARY_SMALL: ("non_inferior_small",),
        Phase.CANARY_HALF: ("superior_in_slice", "non_inferior_half"),
    }.get(phase, ())
    matured = seen["units_matured_control"] + seen["units_matured_canary"]
    for name in wanted:
        e = seen[f"e_{name}"]
        if 1.0 < e < config.promote_threshold and matured:
            more = matured * (math.log(config.promote_threshold) / math.log(e) - 1.0)
            lines.append(
                f"If {name.replace('_', ' ')} goes on growing as so far, it takes about {more:.0f} more units."
            )
    if phase in LIVE and matured == 0.0:
        lines.append(
            f"No unit is matured yet: each waits {span(config.maturity_s + config.lateness_s)} for its feedback."
        )
    return tuple(lines)


def _arms(
    row: rollouts.Rollout, stored: Sequence[units.Unit], events: Sequence[UnitEvent], seen: Mapping[str, float]
) -> tuple[Arm, ...]:
    versions = {"control": row.control, "canary": row.candidate}
    counted = [unit for unit in stored if not unit.capped]
    found: list[Arm] = []
    for arm, version in versions.items():
        rated, first = first_rewards(events, arm == "canary")
        mean = seen[f"mean_reward_{arm}"]
        matured = int(seen[f"units_matured_{arm}"])
        drawn = sum(unit.arm == arm for unit in counted)
        found.append(Arm(arm, version, drawn, rated, first, matured, None if math.isnan(mean) else mean))
    return tuple(found)


def _notes(
    walked: Walk,
    verdicts: Sequence[entries.Entry],
    rows: Sequence[units.UnitEvent],
    events: Sequence[UnitEvent],
    seen: Mapping[str, float],
) -> tuple[str, ...]:
    notes: list[str] = []
    if verdicts:
        agreed = sum(walked.found)
        notes.append(
            f"Recomputed from {int(seen['units'])} recorded units: {agreed} of {len(verdicts)} recorded verdicts have "
            "the same numbers, bit for bit."
        )
        for entry, found in zip(verdicts, walked.found, strict=True):
            if not found:
                notes.append(f"The numbers of ledger entry {entry.id} ({entry.reason}) do not follow from the units.")
    if len(rows) > len(events):
        notes.append(f"Shown are the first {len(events)} of {len(rows)} events.")
    if seen["units_matured_control"] + seen["units_matured_canary"] > MOST_BOUNDED:
        notes.append(f"The interval is that of the first {MOST_BOUNDED} matured units, and it is valid for them.")
    return tuple(notes)
