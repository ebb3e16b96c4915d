"""E1 to E4: events are kept once, counted once, a second delivery or a restart changes nothing, a loss is recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Final, cast

from daemon.invariants.facts import Facts
from daemon.store.units import Unit, UnitEvent
from deploy.processes import Path


def stored_once(facts: Facts) -> Iterator[str]:
    """E1."""
    events = facts.events
    if events is None:
        return
    exchanges, feedback = events.below
    for kind, wanted, kept in (
        ("exchange", exchanges, events.exchanges),
        ("feedback", feedback, events.feedback),
    ):
        if wanted != kept:
            yield f"{kind}: lost {sorted(wanted - kept)[:3]}, from nowhere {sorted(kept - wanted)[:3]}"
    for one in events.kept:
        if one.kind != "broken":
            continue
        place = (*one.position, one.offset)
        read = one.offset < events.committed.get(one.position, 0)
        if (place in events.letters) != read:
            yield f"broken record at {place}: {'no letter' if read else 'a letter before it was committed'}"


def counted_once(facts: Facts) -> Iterator[str]:
    """E2."""
    events = facts.events
    if events is None:
        return
    wanted, said = events.below
    for name, held in (("exchanges", len(wanted)), ("feedback", len(said))):
        counted = events.counters.get(name, 0)
        if counted != held:
            yield f"counter {name} is {counted}, the log holds {held}"
    wrong = {one: n for one, n in events.watched.items() if n != 1 or one not in wanted}
    if wrong or set(events.watched) != wanted:
        yield f"detectors: wrongly {dict(list(wrong.items())[:3])}, not {sorted(wanted - events.watched.keys())[:3]}"
    for rollout, found in facts.units.items():
        yield from _units_once(rollout, found, facts.unit_events.get(rollout, ()))


def same_again(facts: Facts) -> Iterator[str]:
    """E3."""
    if facts.again is None or facts.again[0] == facts.again[1]:
        return
    before, after = facts.again
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        old, new = cast("Mapping[str, object]", before), cast("Mapping[str, object]", after)
        changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        yield f"a redelivery changed {', '.join(changed)}"
    else:
        yield f"a restart changed {before} to {after}"


def losses_recorded(facts: Facts) -> Iterator[str]:
    """E4."""
    events = facts.events
    if events is None or not (events.lost or events.gaps):
        return
    named = events.passed_over
    silent = [(at, n) for at, n in events.lost - named if n < events.committed.get(at, 0)]
    if silent:
        yield f"{len(silent)} records were lost to retention, and no gap says so: {sorted(silent)[:3]}"
    invented = named - events.lost
    if invented:
        yield f"a gap names what the log still had: {sorted(invented)[:3]}"
    if sum(gap.found - gap.expected for gap in events.gaps) != len(named):
        yield f"a gap is recorded more than once: {events.gaps}"
    told = [entry.data for entry in facts.ledger if entry.kind == "event_gap"]
    if [tuple(data[name] for name in _GAP) for data in told] != [astuple(gap) for gap in events.gaps]:
        yield f"the ledger tells of {len(told)} gaps, {len(events.gaps)} are recorded"


_GAP: Final = ("topic", "partition", "expected", "found")
_ONCE: Final = ((Path.ASSIGNED.value,), (Path.PROMOTE.value, Path.CLOSED.value), (Path.HARM.value,))


def _units_once(rollout: str, found: Sequence[Unit], events: Sequence[UnitEvent]) -> Iterator[str]:
    if len({u.session for u in found}) != len(found):
        yield f"{rollout}: a session is two units"
    for paths in _ONCE:
        often = [unit for unit, n in Counter(e.unit for e in events if e.path in paths).items() if n > 1]
        if often:
            yield f"{rollout}: unit {often[0]} counted again on {'/'.join(paths)}"
