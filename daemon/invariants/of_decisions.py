"""R5 and R6: every move is in a table and in the ledger, and rests on data that is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from daemon import cycle as cycle_table
from daemon.invariants.facts import Facts
from daemon.store.units import Unit, UnitEvent
from deploy import processes
from deploy.processes import Path, Processes
from deploy.rollout import BEGINS, FINAL, TABLE, Phase, RolloutConfig, Signal
from deploy.routes import RouteFile
from deploy.verdict import numbers


def by_the_table(facts: Facts) -> Iterator[str]:
    """R5."""
    for before, after in pairwise(facts.written[max(0, facts.written_from - 1) :]):
        yield from _control_moved(facts, before.file, after.file)
    if facts.ledger_from >= len(facts.ledger):
        return
    phases: dict[str, str] = {}
    for entry in facts.ledger:
        if entry.kind not in ("rollout", "cycle") or entry.subject == entry.deployment:
            continue
        signal, before = entry.data.get("signal"), phases.get(entry.subject)
        if signal is None:
            first = str(entry.data.get("to_phase", cycle_table.Phase.COLLECTING.value))
            if before is not None:
                yield f"{entry.subject} begins again ({entry.reason})"
            if entry.kind == "rollout" and BEGINS.get(entry.reason) != first:
                yield f"{entry.subject} begins in {first} by {entry.reason}"
            if entry.kind == "cycle" and first not in cycle_table.BEGINS.values():
                yield f"{entry.subject} begins in {first}"
            phases[entry.subject] = first
            continue
        after = _MOVES.get((entry.kind, before, str(signal)))
        if after is None or (entry.data.get("from_phase"), entry.data.get("to_phase")) != (before, after):
            moved = f"{entry.data.get('from_phase')} to {entry.data.get('to_phase')}"
            yield f"{entry.subject} moved from {moved} by {signal}; the ledger had it in {before}"
        phases[entry.subject] = str(entry.data.get("to_phase"))
    for row in facts.rollouts:
        if phases.get(row.id) != row.phase:
            yield f"{row.id} is in {row.phase}, the ledger says {phases.get(row.id)}"
        if row.active == (Phase(row.phase) in FINAL):
            yield f"{row.id} is in {row.phase} and {'' if row.active else 'in'}active"
    for row in facts.cycles:
        if phases.get(row.id) != row.phase:
            yield f"{row.id} is in {row.phase}, the ledger says {phases.get(row.id)}"
        if row.active != (cycle_table.Phase(row.phase) in cycle_table.OPEN):
            yield f"{row.id} is in {row.phase} and {'' if row.active else 'in'}active"


def _control_moved(facts: Facts, before: RouteFile, after: RouteFile) -> Iterator[str]:
    """What should serve changes by a promotion, by a way back, or from the base to the identity, and by nothing else;
    what stands in for it changes nothing. A promotion has a share in the route before it, unless something stood in
    for the control, or a person promoted twice before any share was written.
    """
    old, new = before.route(facts.alias), after.route(facts.alias)
    if old is None or new is None or old.wanted == new.wanted or ":" in after.reason:
        return
    promoted = old.split is not None and new.wanted == old.split.candidate
    resumed = new.split is not None and new.split.candidate == old.wanted  # the promotion's rows never came
    trials = [r.id for r in facts.rollouts if (r.candidate, r.control) == (new.wanted, old.wanted)]
    past = bool(trials) and (old.stands_in_for is not None or any(_forced(facts, trial) for trial in trials))
    if not (promoted or resumed or past) and (old.wanted, new.wanted) != (None, facts.identity):
        yield f"control moved from {old.wanted} to {new.wanted} by {after.reason}"


_MOVES: Final[Mapping[tuple[str, str | None, str], str]] = {
    **{("cycle", before.value, signal.value): after.value for (before, signal), after in cycle_table.TABLE.items()},
    **{("rollout", before.value, signal.value): after.value for (before, signal), after in TABLE.items()},
}
"""Both tables in the words of the ledger: (kind, phase, signal) to the next phase."""


_NEEDS: Final[Mapping[Phase, Sequence[str]]] = {
    Phase.CANARY_SMALL: ("e_non_inferior_small",),
    Phase.CANARY_HALF: ("e_superior_in_slice", "e_non_inferior_half"),
}


def data_before_promotion(facts: Facts) -> Iterator[str]:
    """R6."""
    rows = {r.id: r for r in facts.rollouts}
    for number in range(facts.ledger_from, len(facts.ledger)):
        entry = facts.ledger[number]
        if entry.kind != "rollout" or entry.actor != "daemon":
            continue
        row, phase, to = rows.get(entry.subject), entry.data.get("from_phase"), entry.data.get("to_phase")
        passed = phase in _NEEDS and to in (Phase.CANARY_HALF, Phase.AWAITING_PROMOTION, Phase.PROBATION)
        kept = to == Phase.KEPT and entry.data.get("signal") == Signal.NO_HARM
        if row is None or not (passed or kept or to == Phase.PROMOTED):
            continue
        config = RolloutConfig.model_validate(row.data["config"])
        seen = entry.data
        for name in _NEEDS.get(Phase(str(phase)), ()):
            if not float(seen.get(name, 0.0)) >= config.promote_threshold:
                yield f"{row.id} passed {phase} with {name} = {seen.get(name)}, {config.promote_threshold} are needed"
        least = min(float(seen.get(f"units_matured_{arm}", 0.0)) for arm in ("control", "canary"))
        if kept and float(seen.get("units_rewarded", 0.0)) < 2 * config.min_units_per_arm:
            yield f"{row.id} was kept after {seen.get('units_rewarded')} rated units"
        if least < config.min_units_per_arm and not _forced(facts, row.id):
            yield f"{row.id} passed {phase} with {least} matured units in an arm"
        if to == Phase.PROMOTED:
            came = float(seen.get("units", 0.0)) - _units_before_probation(facts, row.id, number)
            if came < min(config.probation_units, config.min_units_per_arm):
                yield f"{row.id} was promoted after {came:g} units of probation"
        if not _recomputed(facts, row.id, config, seen):
            yield f"{row.id}: no recorded units give the numbers with which it passed {phase}"


def _units_before_probation(facts: Facts, rollout: str, until: int) -> float:
    """Units that a rollout had when its newest probation began, by the ledger's first ``until`` entries."""
    for entry in reversed(facts.ledger[:until]):
        if entry.kind == "rollout" and entry.subject == rollout and entry.data.get("to_phase") == Phase.PROBATION:
            return float(entry.data.get("units", 0.0))
    return 0.0


def _forced(facts: Facts, rollout: str) -> bool:
    """Whether a person moved it past the statistics."""
    return any(e.subject == rollout and e.reason == "promoted_by_person" for e in facts.ledger)


def _recomputed(facts: Facts, rollout: str, config: RolloutConfig, seen: Mapping[str, object]) -> bool:
    """Whether some prefix of the recorded units gives exactly these numbers."""
    state = Processes()
    wanted = {name: value for name, value in seen.items() if name.startswith(("e_", "units"))}
    units = {unit.seq: unit for unit in facts.units.get(rollout, ())}
    for event in (None, *facts.unit_events.get(rollout, ())):
        if event is not None:
            state = processes.apply(state, _as_applied(event, units[event.unit]), config)
        if state.assigned == wanted.get("units") and state.rewarded == wanted.get("units_rewarded"):
            found = numbers(state)
            if all(found.get(name) == value for name, value in wanted.items()):
                return True
    return False


def _as_applied(event: UnitEvent, unit: Unit) -> processes.UnitEvent:
    return processes.UnitEvent(
        seq=event.seq,
        path=Path(event.path),
        unit=event.unit,
        canary=unit.arm == "canary",
        propensity=unit.propensity,
        value=event.value,
        in_slice=unit.in_slice,
        at=event.at,
    )
