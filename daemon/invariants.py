"""What must hold at every instant, as pure functions over a snapshot of facts; each has the name that the design gives.

A checker that looks away is worse than none: an ordering bug that two invariants never saw was found by four in every
second run. So they are reviewed like the daemon itself, and for each there is a planted bug that it must catch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from daemon import cycle as cycle_table
from daemon.store.cycles import Cycle
from daemon.store.ledger import Entry
from daemon.store.rollouts import Rollout
from daemon.store.units import Unit, UnitEvent
from daemon.store.versions import Version
from deploy import processes
from deploy.agent import ReplicaState
from deploy.processes import Path, Processes
from deploy.rollout import FINAL, LIVE, TABLE, Phase, RolloutConfig, Signal
from deploy.routes import RouteFile, Split
from deploy.verdict import numbers
from streams.log import Position


@dataclass(frozen=True, slots=True)
class Written:
    """One route file that the host had, and the replicas that its writer had seen (empty: a rollback looks at none)."""

    file: RouteFile
    seen: Sequence[ReplicaState] = ()


@dataclass(frozen=True, slots=True)
class Serving:
    """One replica as it is, whoever knows of it."""

    name: str
    incarnation: str
    ready: bool
    """Its gateway says that it may be sent traffic."""
    control: str | None
    """Control of the route that its gateway holds."""
    epoch: int
    holds: AbstractSet[str]
    """Versions that are loaded and were proved in this incarnation."""
    settled: bool
    """It has not restarted, nor been away, since before the newest complete tick."""
    lease_live: bool
    """Its gateway gives the split of its route, if there is one, its share."""


@dataclass(frozen=True, slots=True)
class Served:
    """One answer to a user."""

    replica: str
    incarnation: str
    version: str
    epoch: int
    proved: bool
    """The version's effect was proved on this replica in this incarnation, whether the row is written or not."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A person's rollback, and what came of it."""

    outcome: str
    """``done``, the named reason of a refusal, or the words of an error."""
    refused: bool
    target: str | None
    file: RouteFile | None
    """The host's route when the answer was given."""
    up: Sequence[Serving]
    """Replicas that answered then."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One record of the log; ``event`` None: it cannot be decoded."""

    position: Position
    offset: int
    kind: str
    """``exchange``, ``feedback`` or ``broken``."""
    event: str


@dataclass(frozen=True, slots=True)
class Events:
    """The ingest's side. Ids of what is stored; ``watched``: how often a detector was shown an exchange."""

    log: Sequence[Logged]
    committed: Mapping[Position, int]
    exchanges: AbstractSet[str]
    feedback: AbstractSet[str]
    letters: AbstractSet[tuple[str, int, int]]
    counters: Mapping[str, int]
    watched: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Facts:
    """A snapshot. Sequences are oldest first; ``ledger_from`` and ``written_from`` say what is new since the last
    snapshot that was looked at, so that a check of the new alone costs little.
    """

    now: float
    alias: str
    identity: str | None
    base_digest: str
    written: Sequence[Written]
    written_from: int
    replicas: Sequence[Serving]
    served: Sequence[Served]
    """Answers since the last snapshot."""
    asked: Sequence[Asked]
    """Rollbacks since the last snapshot."""
    versions: Mapping[str, Version]
    denied: AbstractSet[str]
    learned: Mapping[str, AbstractSet[str]]
    """Buffer digest to the exchanges that a version trained on it learned anew."""
    proved: AbstractSet[tuple[str, str, str]]
    """(version, replica, incarnation) with a recorded proof that is good."""
    rollouts: Sequence[Rollout]
    cycles: Sequence[Cycle]
    ledger: Sequence[Entry]
    ledger_from: int
    fence: int
    units: Mapping[str, Sequence[Unit]]
    unit_events: Mapping[str, Sequence[UnitEvent]]
    events: Events | None = None
    """None: no batch was committed since the last snapshot."""
    lag: int = 0
    calm_s: float | None = None
    """Seconds of ticks and batches without any fault, at the end of a run; None while faults happen."""

    @property
    def file(self) -> RouteFile | None:
        """The host's route file now."""
        return self.written[-1].file if self.written else None


CALM_S: Final = 60.0
"""Seconds without faults after which everything must have moved."""


@dataclass(frozen=True, slots=True)
class Invariant:
    """``check`` yields one line for each thing that is wrong."""

    name: str
    statement: str
    check: Callable[[Facts], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that does not hold, and how."""

    name: str
    statement: str
    detail: str


def weighted(file: RouteFile | None, alias: str) -> list[str]:
    """Versions that a route file gives any weight: its control and its split's candidate."""
    route = None if file is None else file.route(alias)
    if route is None:
        return []
    named = [route.control, None if route.split is None else route.split.candidate]
    return [version for version in named if version is not None]


def split_of(file: RouteFile | None, alias: str) -> Split | None:
    """The split of a route file."""
    route = None if file is None else file.route(alias)
    return None if route is None else route.split


# ------------------------------------------------------------------------------------------------------------- events


def _below(events: Events, kind: str) -> set[str]:
    return {x.event for x in events.log if x.kind == kind and x.offset < events.committed.get(x.position, 0)}


def stored_once(facts: Facts) -> Iterator[str]:
    """E1."""
    events = facts.events
    if events is None:
        return
    for kind, kept in (("exchange", events.exchanges), ("feedback", events.feedback)):
        wanted = _below(events, kind)
        if wanted ^ kept:
            yield f"{kind}: lost {sorted(wanted - kept)[:3]}, from nowhere {sorted(kept - wanted)[:3]}"
    for one in events.log:
        place = (*one.position, one.offset)
        read = one.offset < events.committed.get(one.position, 0)
        if one.kind == "broken" and (place in events.letters) != read:
            yield f"broken record at {place}: {'no letter' if read else 'a letter before it was committed'}"


def counted_once(facts: Facts) -> Iterator[str]:
    """E2."""
    events = facts.events
    if events is None:
        return
    for name, kind in (("exchanges", "exchange"), ("feedback", "feedback")):
        counted, wanted = events.counters.get(name, 0), len(_below(events, kind))
        if counted != wanted:
            yield f"counter {name} is {counted}, the log holds {wanted}"
    wanted = _below(events, "exchange")
    wrong = {one: n for one, n in events.watched.items() if n != 1 or one not in wanted}
    if wrong or set(events.watched) != wanted:
        yield f"detectors: wrongly {dict(list(wrong.items())[:3])}, not {sorted(wanted - events.watched.keys())[:3]}"
    for rollout, found in facts.units.items():
        yield from _units_once(rollout, found, facts.unit_events.get(rollout, ()))


_ONCE: Final = ((Path.ASSIGNED.value,), (Path.PROMOTE.value, Path.CLOSED.value), (Path.HARM.value,))


def _units_once(rollout: str, found: Sequence[Unit], events: Sequence[UnitEvent]) -> Iterator[str]:
    if len({u.session for u in found}) != len(found):
        yield f"{rollout}: a session is two units"
    for paths in _ONCE:
        often = [unit for unit, n in Counter(e.unit for e in events if e.path in paths).items() if n > 1]
        if often:
            yield f"{rollout}: unit {often[0]} counted again on {'/'.join(paths)}"


# ------------------------------------------------------------------------------------------------------------- weight


def recorded_before_weight(facts: Facts) -> Iterator[str]:
    """A1."""
    for written in facts.written[facts.written_from :]:
        for version in weighted(written.file, facts.alias):
            yield from _unrecorded(facts, version)
            for replica in written.seen:
                if replica.alive and (version, replica.name, replica.incarnation) not in facts.proved:
                    yield f"{version} has weight at epoch {written.file.epoch}, unproved on {replica.name}"
    for one in facts.served:
        if one.version in facts.versions and not one.proved:
            yield f"{one.version} answered on {one.replica} ({one.incarnation}) without a proof"
    for replica in facts.replicas:
        served = replica.control if replica.settled and replica.ready else None
        if served is not None and (served, replica.name, replica.incarnation) not in facts.proved:
            yield f"{served} serves on {replica.name} ({replica.incarnation}) and no proof of it is recorded"


def _unrecorded(facts: Facts, version: str) -> Iterator[str]:
    row = facts.versions.get(version)
    if row is None or not row.digest:
        yield f"{version} has weight and no recorded digest"
    elif row.base_digest != facts.base_digest:
        yield f"{version} has weight and another base"
    elif version != facts.identity and (row.gate is None or row.gate.get("verdict") != "pass"):
        yield f"{version} has weight and passed no gate"


def ready_with_champion(facts: Facts) -> Iterator[str]:
    """A3."""
    for replica in facts.replicas:
        if replica.ready and replica.control is not None and replica.control not in replica.holds:
            yield f"{replica.name} is ready without {replica.control}"


# ------------------------------------------------------------------------------------------------------------ rollout


def one_rollout_one_epoch(facts: Facts) -> Iterator[str]:
    """R1."""
    active = [r.id for r in facts.rollouts if r.active]
    if len(active) > 1:
        yield f"{len(active)} active rollouts: {active}"
    for before, after in zip(
        facts.written[max(0, facts.written_from - 1) :], facts.written[max(1, facts.written_from) :], strict=False
    ):
        old, new = before.file, after.file
        if new.epoch < old.epoch or (new.epoch == old.epoch and not _renewal(old, new)):
            yield f"epoch {new.epoch} ({new.actor}, {new.reason}) after {old.epoch} ({old.actor}, {old.reason})"
    epoch = 0 if facts.file is None else facts.file.epoch
    if facts.fence > epoch:
        yield f"the store's epoch {facts.fence} is above the host's {epoch}"
    for replica in facts.replicas:
        if replica.epoch > epoch:
            yield f"{replica.name} holds epoch {replica.epoch}, the host {epoch}"


def _renewal(old: RouteFile, new: RouteFile) -> bool:
    """Whether only the age of leases differs, and none is older."""
    if len(old.routes) != len(new.routes):
        return False
    for a, b in zip(old.routes, new.routes, strict=True):
        if (a.alias, a.control, a.split is None) != (b.alias, b.control, b.split is None):
            return False
        if a.split is not None and b.split is not None:
            same = a.split.model_copy(update={"lease_seq": b.split.lease_seq}) == b.split
            if not same or b.split.lease_seq < a.split.lease_seq:
                return False
    return True


def weight_only_in_a_rollout(facts: Facts) -> Iterator[str]:
    """R2."""
    split = split_of(facts.file, facts.alias)
    if split is None:
        return
    row = next((r for r in facts.rollouts if r.active), None)
    if row is None or row.id != split.rollout:
        yield f"{split.candidate} has {split.share} for {split.rollout}; active is {None if row is None else row.id}"
    elif Phase(row.phase) not in LIVE or row.candidate != split.candidate:
        yield f"{split.candidate} has {split.share} while {row.id} of {row.candidate} is {row.phase}"


def a_way_back_is_resident(facts: Facts) -> Iterator[str]:
    """R3."""
    file = facts.file
    route = None if file is None else file.route(facts.alias)
    if route is None or route.control is None or facts.identity is None:
        return
    targets = {facts.identity, *(_below_in_stack(facts, route.control))}
    if route.split is not None:
        targets = {route.control}
    for replica in facts.replicas:
        if replica.settled and replica.ready and not targets & replica.holds:
            yield f"{replica.name} serves {route.control} and holds none of {sorted(targets)}"


def _below_in_stack(facts: Facts, control: str) -> list[str]:
    promoted = [v for v in facts.versions.values() if v.status == "promoted" and v.kind != "identity"]
    stack = [v.version for v in sorted(promoted, key=lambda v: v.promoted_at or 0.0, reverse=True)]
    return stack[stack.index(control) + 1 :] if control in stack else stack


def never_again(facts: Facts) -> Iterator[str]:
    """R4."""
    for version in weighted(facts.file, facts.alias):
        if version in facts.denied:
            yield f"{version} is denied and has weight"
    if facts.written_from < len(facts.written):
        yield from _left_and_back(facts)
    yield from _learned_from_suspended(facts)


def _left_and_back(facts: Facts) -> Iterator[str]:
    """By the route files alone, which know of a rollback before any row does."""
    left: dict[str, int] = {}
    before: list[str] = []
    for number, written in enumerate(facts.written):
        served = weighted(written.file, facts.alias)
        head = written.file.reason.partition(":")[0]
        if head in ("rollback", Phase.ROLLED_BACK.value):
            left |= {version: written.file.epoch for version in before if version not in served}
        if number >= facts.written_from:
            for version in served:
                if version in left and version != facts.identity:
                    yield f"{version} was left at epoch {left[version]} and is back at {written.file.epoch}"
        before = served


def _learned_from_suspended(facts: Facts) -> Iterator[str]:
    """In the ledger's order: what was suspended before a rollout began."""
    if facts.ledger_from >= len(facts.ledger):
        return
    suspended: set[str] = set()
    for number, entry in enumerate(facts.ledger):
        if entry.kind == "suspension":
            suspended |= facts.learned.get(str(entry.data.get("buffer")), set())
        if number < facts.ledger_from or entry.kind != "rollout" or "signal" in entry.data or not suspended:
            continue
        row = facts.versions.get(str(entry.data.get("candidate")))
        if row is not None and row.buffer is not None and facts.learned.get(row.buffer, set()) & suspended:
            yield f"{entry.subject} of {row.version} began after its examples were suspended"


def by_the_table(facts: Facts) -> Iterator[str]:
    """R5."""
    if facts.ledger_from >= len(facts.ledger):
        return
    phases: dict[str, str] = {}
    for entry in facts.ledger:
        if entry.kind not in ("rollout", "cycle") or entry.subject == entry.deployment:
            continue
        signal, before = entry.data.get("signal"), phases.get(entry.subject)
        if signal is None:
            first = Phase.STARTING.value if entry.kind == "rollout" else cycle_table.Phase.COLLECTING.value
            if before is not None:
                yield f"{entry.subject} begins again ({entry.reason})"
            phases[entry.subject] = first
            continue
        after = _moved(entry.kind, before, str(signal))
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


def _moved(kind: str, before: str | None, signal: str) -> str | None:
    if before is None:
        return None
    if kind == "cycle":
        move = cycle_table.TABLE.get((cycle_table.Phase(before), cycle_table.Signal(signal)))
    else:
        move = TABLE.get((Phase(before), Signal(signal)))
    return None if move is None else move.value


_NEEDS: Final[Mapping[Phase, Sequence[str]]] = {
    Phase.CANARY_SMALL: ("e_non_inferior_small",),
    Phase.CANARY_HALF: ("e_superior_in_slice", "e_non_inferior_half"),
}


def data_before_promotion(facts: Facts) -> Iterator[str]:
    """R6."""
    rows = {r.id: r for r in facts.rollouts}
    for entry in facts.ledger[facts.ledger_from :]:
        if entry.kind != "rollout" or entry.actor != "daemon":
            continue
        row, phase, to = rows.get(entry.subject), entry.data.get("from_phase"), entry.data.get("to_phase")
        passed = phase in _NEEDS and to in (Phase.CANARY_HALF, Phase.AWAITING_PROMOTION, Phase.PROBATION)
        if row is None or not (passed or to == Phase.PROMOTED):
            continue
        config = RolloutConfig.model_validate(row.data["config"])
        seen = entry.data
        for name in _NEEDS.get(Phase(str(phase)), ()):
            if not float(seen.get(name, 0.0)) >= config.threshold:
                yield f"{row.id} passed {phase} with {name} = {seen.get(name)}, {config.threshold} are needed"
        least = min(float(seen.get(f"units_matured_{arm}", 0.0)) for arm in ("control", "canary"))
        if least < config.min_units_per_arm and not _forced(facts, row.id):
            yield f"{row.id} passed {phase} with {least} matured units in an arm"
        if not _recomputed(facts, row.id, config, seen):
            yield f"{row.id}: no recorded units give the numbers with which it passed {phase}"


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


# ----------------------------------------------------------------------------------------------------------- liveness


def moves_on(facts: Facts) -> Iterator[str]:
    """L1."""
    if facts.calm_s is None or facts.calm_s < CALM_S:
        return
    if facts.lag:
        yield f"{facts.lag} records wait after {facts.calm_s:.0f} s without faults"
    for row in facts.rollouts:
        if row.active and facts.now > row.deadline + CALM_S:
            yield f"{row.id} is {row.phase} {facts.now - row.deadline:.0f} s after its deadline"
    split = split_of(facts.file, facts.alias)
    for replica in facts.replicas:
        if split is not None and replica.settled and not replica.lease_live:
            yield f"the share of {split.candidate} is dead on {replica.name}, and nobody renews it"
    active = {r.id for r in facts.rollouts if r.active}
    for row in facts.cycles:
        still = min(facts.calm_s, facts.now - row.changed_at)
        if row.active and still >= CALM_S and row.data.get("rollout") not in active:
            yield f"{row.id} has been {row.phase} for {still:.0f} s without faults"


REFUSALS: Final = frozenset({"nothing_to_roll_back", "no_rollback_target", "target_not_resident", "mode_observe"})
"""Reasons for which a rollback may be refused: there is nothing below, or the person named a wrong target."""


def rolls_back(facts: Facts) -> Iterator[str]:
    """L2."""
    for one in facts.asked:
        if not one.up:
            continue
        if one.outcome != "done":
            if not (one.refused and one.outcome in REFUSALS):
                yield f"a rollback failed: {one.outcome}"
            continue
        route = None if one.file is None else one.file.route(facts.alias)
        if route is None or route.split is not None or route.control != one.target:
            yield f"a rollback to {one.target} left the route {route}"
        for replica in one.up:
            if replica.settled and one.target is not None and one.target not in replica.holds:
                yield f"a rollback went to {one.target}, which {replica.name} does not hold"


INVARIANTS: Final = (
    Invariant("E1", "every event below the committed offset is stored or dead-lettered exactly once", stored_once),
    Invariant("E2", "each event counts once in each counter, detector and unit", counted_once),
    Invariant("A1", "weight only for a version with recorded digest, base, gate and proofs", recorded_before_weight),
    Invariant("A3", "a replica without the proved champion is not ready", ready_with_champion),
    Invariant("R1", "one active rollout, one writer epoch that only rises", one_rollout_one_epoch),
    Invariant("R2", "no active rollout, no canary weight", weight_only_in_a_rollout),
    Invariant("R3", "a resident rollback target exists on every replica that serves", a_way_back_is_resident),
    Invariant("R4", "what was rolled back is never routed again, nor what learned from it", never_again),
    Invariant("R5", "every transition is in the table, and the ledger replays to the rows", by_the_table),
    Invariant("R6", "missing data never promotes", data_before_promotion),
    Invariant("L1", "after faults stop, lag falls and nothing outlives its deadline", moves_on),
    Invariant("L2", "a rollback issued at any instant completes unless every replica is down", rolls_back),
)


def broken(facts: Facts, invariants: Sequence[Invariant] = INVARIANTS) -> list[Broken]:
    """Everything that does not hold in a snapshot, in the order of ``INVARIANTS``."""
    return [Broken(one.name, one.statement, detail) for one in invariants for detail in one.check(facts)]


__all__ = [
    "CALM_S",
    "INVARIANTS",
    "Asked",
    "Broken",
    "Events",
    "Facts",
    "Invariant",
    "Logged",
    "Served",
    "Serving",
    "Written",
    "broken",
]
