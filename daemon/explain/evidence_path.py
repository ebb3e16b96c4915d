"""The e-values of a rollout over its units, recomputed from the recorded events with the processes that decided.

Nothing here is read from a status or a log: the rows of ``store.units`` go through ``deploy.processes.apply`` once
more, and the ledger's numbers are looked for on the way. What is drawn is what was decided on, or it says that it is
not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from daemon.explain.explanation import Effect, EvidencePath, Mark
from daemon.store import units
from deploy.processes import Path, Processes, UnitEvent, apply
from deploy.rollout import RolloutConfig
from deploy.verdict import needs, numbers
from monitors.bets import at_random
from monitors.confidence import interval

MOST_EVENTS: Final = 50_000
"""Events that are gone through for one answer: about two seconds of one core."""
MOST_BOUNDED: Final = 20_000
"""Units that an interval is made of, the first ones: a tenth of a second. It is valid after any number of them."""
POINTS: Final = 400
"""Points of a path: more than a terminal or a picture has columns."""
_LEAST: Final = 1e-9
_BASES: Final[tuple[tuple[Path, Literal["matured units", "first rewards"]], ...]] = (
    (Path.PROMOTE, "matured units"),
    (Path.HARM, "first rewards"),
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A verdict as the ledger holds it: phase that it led to, and the numbers beside it."""

    phase: str
    numbers: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Walk:
    """What the recorded events give."""

    path: EvidencePath
    final: Processes
    found: tuple[bool, ...]
    """For each recorded verdict, whether some prefix of the events gives every one of its numbers, bit for bit."""


def events_of(stored: Sequence[units.Unit], events: Iterable[units.UnitEvent]) -> list[UnitEvent]:
    """Rows of the store as what the processes eat."""
    by_seq = {unit.seq: unit for unit in stored}
    made: list[UnitEvent] = []
    for e in events:
        unit = by_seq[e.unit]
        canary = unit.arm == "canary"
        made.append(UnitEvent(e.seq, Path(e.path), e.unit, canary, unit.propensity, e.value, unit.in_slice, e.at))
    return made


def walk(events: Sequence[UnitEvent], config: RolloutConfig, recorded: Sequence[Recorded] = ()) -> Walk:
    """Go through the events in their order. Pure."""
    state = Processes()
    names = tuple(name for name in numbers(state) if name.startswith("e_"))
    points: list[tuple[int, tuple[float, ...]]] = []
    found = [False] * len(recorded)
    marks: list[Mark | None] = [None] * len(recorded)
    for event in (None, *events):
        if event is not None:
            state = apply(state, event, config)
        seen = numbers(state)
        points.append((state.assigned, tuple(math.log10(max(seen[name], _LEAST)) for name in names)))
        for n, verdict in enumerate(recorded):
            if not found[n] and _same(verdict.numbers, seen):
                found[n] = True
                marks[n] = Mark(state.assigned, verdict.phase)
    for n, verdict in enumerate(recorded):
        marks[n] = marks[n] or Mark(int(verdict.numbers.get("units", 0)), verdict.phase)
    kept = _thinned(points)
    lines = {name.removeprefix("e_"): tuple(values[n] for _, values in kept) for n, name in enumerate(names)}
    shown = tuple(m for m in marks if m is not None and m.units)  # phases before the first unit have no place on it
    path = EvidencePath(tuple(x for x, _ in kept), lines, {name: needs(name, config) for name in lines}, shown)
    return Walk(path, state, tuple(found))


def effect(events: Sequence[UnitEvent], config: RolloutConfig) -> Effect | None:
    """Canary minus control over matured units in request order; while there are none, over first rewards as they came.

    The estimate is the mean of the contrast that the processes bet on (``monitors.bets``), which the ramp does not
    bias; the interval is the confidence sequence of ``monitors.confidence``. None without any reward.
    """
    for path, basis in _BASES:
        rated = [(e.canary, e.propensity, e.value) for e in events if e.path is path and at_random(e.propensity)]
        if rated:
            low, high = interval(rated[:MOST_BOUNDED], config.alpha)
            return Effect(_contrast(rated), low, high, 1.0 - config.alpha, len(rated), basis)
    return None


def first_rewards(events: Sequence[UnitEvent], canary: bool) -> tuple[int, float | None]:
    """(number, mean) of an arm's first rewards."""
    rewards = [e.value for e in events if e.path is Path.HARM and e.canary is canary]
    return len(rewards), sum(rewards) / len(rewards) if rewards else None


def _contrast(rated: Sequence[tuple[bool, float, float]]) -> float:
    total = contrasts = 0.0
    for n, (canary, propensity, reward) in enumerate(rated):
        centre = (0.5 + total) / (n + 1)
        contrasts += (reward - centre) * (1.0 / propensity if canary else -1.0 / (1.0 - propensity))
        total += reward
    return contrasts / len(rated)


def _same(wanted: Mapping[str, Any], seen: Mapping[str, float]) -> bool:
    """Whether all recorded numbers that these evidences know are these."""
    if wanted.get("units") != seen["units"]:
        return False
    return all(wanted[name] == value for name, value in seen.items() if name in wanted)


def _thinned(points: Sequence[tuple[int, tuple[float, ...]]]) -> list[tuple[int, tuple[float, ...]]]:
    """At most ``POINTS`` points, evenly over the events; the first and the last stay."""
    if len(points) <= POINTS:
        return list(points)
    step = (len(points) - 1) / (POINTS - 1)
    return [points[round(n * step)] for n in range(POINTS)]
