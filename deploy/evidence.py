"""Units of one rollout: who counts, in which arm, and which events their feedback becomes. No I/O.

A unit is a session whose first exchange came after the rollout began; its arm and propensity are those of that
exchange, for good (intention to treat). An identity counts for at most ``identity_cap`` units; the rest is recorded
as capped.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from deploy.corruption import corrupted
from deploy.fleet import Before, Newest, fleet_trouble
from deploy.guards import GUARDS, Bounds
from deploy.processes import Processes, apply
from deploy.rollout_config import RolloutConfig
from deploy.unit_events import Path, UnitEvent
from monitors.bets import at_random
from monitors.guardrails import failed, happened
from streams.events import Exchange


@dataclass(slots=True)
class Unit:
    """One session of the rollout; ``seq`` numbers them from 0 in order of arrival."""

    seq: int
    session: str
    identity: str
    canary: bool
    propensity: float
    in_slice: bool
    first_at: float
    capped: bool
    harmed: bool = False
    """Its first reward was counted on the harm path."""


RewardsOf = Callable[[Sequence[Unit]], Mapping[str, Sequence[float]]]
"""Session to the rewards of its exchanges by what was sent within the unit's window, those without any left out; asked
once for all units whose window is over, and never for none.
"""


@dataclass(frozen=True, slots=True)
class Kill:
    """The kill switch outside alpha: consecutive server errors of the candidate over distinct sessions, the whole fleet
    against the time before, and the user's own queries.
    """

    consecutive: int = 0
    sessions: frozenset[str] = frozenset()
    fleet: str = ""
    """Reason why the fleet is in trouble (``deploy.fleet``); empty while it is not."""
    query: str = ""
    """Name of the user's query that is beyond its limit (``deploy.kill_query``); the controller puts it here."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The evidence at one instant: what a verdict is made of, and what the ledger records beside it."""

    processes: Processes
    kill: Kill


@dataclass(frozen=True, slots=True)
class Tick:
    """What one call changed: rows to store in the same transaction."""

    units: tuple[Unit, ...] = ()
    """Units assigned by this call."""
    events: tuple[UnitEvent, ...] = ()


_NOTHING = Tick()


class Evidence:
    """Bounded by the sessions of one rollout; ``restore`` rebuilds it from its rows, bit for bit.

    ``sliced`` is False when no slice raised the alarm: then every unit is inside and none is spared.
    """

    def __init__(
        self,
        rollout: str,
        config: RolloutConfig,
        bounds: Bounds,
        in_slice: Callable[[str], bool],
        before: Before | None = None,
        *,
        sliced: bool = True,
    ) -> None:
        self.rollout, self.config = rollout, config
        self._guards = bounds.specs()
        self._slow = [self._guards[p] for p in (Path.FIRST_TOKEN, Path.PACE) if p in self._guards]
        self._before, self._newest = before, deque[Newest](maxlen=config.fleet_window)
        self._in_slice, self._sliced = in_slice, sliced
        self.processes = Processes()
        self.kill = Kill()
        self._units: dict[str, Unit] = {}
        self._open: dict[str, Unit] = {}
        self._closing: list[tuple[float, str]] = []
        """Heap of the open units by (first_at, session): the order in which their windows end."""
        self._per_identity: Counter[str] = Counter()
        self._matured_per_identity: Counter[str] = Counter()
        self._counted: dict[Path, set[str]] = {path: set() for path in self._guards}
        """Identities of which the guardrail has had its event."""
        self._seq = 0

    @classmethod
    def restore(
        cls,
        rollout: str,
        config: RolloutConfig,
        bounds: Bounds,
        in_slice: Callable[[str], bool],
        units: Iterable[Unit],
        events: Iterable[UnitEvent],
        before: Before | None = None,
        *,
        sliced: bool = True,
    ) -> Evidence:
        """Rebuild from stored rows: the e-processes are folded again, and what a unit did is what its events say."""
        made = cls(rollout, config, bounds, in_slice, before, sliced=sliced)
        by_seq = {unit.seq: unit for unit in units}
        for unit in by_seq.values():
            made._add(unit)
        for event in events:
            made.processes = apply(made.processes, event, config)
            made._seq = event.seq
            made._recall_event(by_seq[event.unit], event.path)
        made._closing = [(unit.first_at, unit.session) for unit in made._open.values()]
        heapq.heapify(made._closing)
        return made

    def recall_kill_switch(self, newest: Iterable[Exchange]) -> None:
        """Count consecutive errors again from the rollout's newest exchanges, in the order they ended; no event."""
        for exchange in newest:
            self._watch_kill_switch(exchange)

    def observed(self) -> Observed:
        """The evidence as it is now; later events do not change what is returned."""
        return Observed(self.processes, self.kill)

    def _recall_event(self, unit: Unit, path: Path) -> None:
        match path:
            case Path.PROMOTE | Path.CLOSED:
                del self._open[unit.session]
                self._matured_per_identity[unit.identity] += 1
            case Path.HARM:
                unit.harmed = True
            case Path.ASSIGNED:
                pass
            case _:
                self._counted.setdefault(path, set()).add(unit.identity)

    def observe_exchange(self, exchange: Exchange, first_of_session: bool) -> Tick:
        """Count one exchange of this rollout; the first of a new session makes a unit."""
        if exchange.rollout != self.rollout or exchange.arm is None or exchange.propensity is None:
            return _NOTHING
        self._watch_kill_switch(exchange)
        unit, events, assigned = self._units.get(exchange.session), list[UnitEvent](), False
        if unit is None and first_of_session:
            unit = self._assign(exchange)
            assigned = unit is not None
            if unit is not None and not unit.capped:
                events.append(self._event(Path.ASSIGNED, unit, 1.0, exchange.received_at))
        if unit is None or unit.capped:
            return Tick((unit,) if unit and assigned else ())
        # the first per identity is also the first per session: one identity owns a session
        for path, spec in self._guards.items():
            counted = self._counted[path]
            if GUARDS[path].spares_slice and self._sliced and unit.in_slice:
                continue
            if unit.identity not in counted and happened(spec, exchange):
                counted.add(unit.identity)
                events.append(self._event(path, unit, 1.0, exchange.completed_at))
        return Tick((unit,) if assigned else (), tuple(events))

    def observe_reward(self, exchange: Exchange, reward: float, sent_at: float) -> Tick:
        """Count the reward of one rated exchange for harm: the first of its unit, at once. ``mature`` promotes."""
        unit = self._units.get(exchange.session)
        if unit is None or exchange.rollout != self.rollout:
            return _NOTHING
        events = tuple[UnitEvent, ...]()
        if not unit.harmed and not unit.capped:
            unit.harmed = True
            events = (self._event(Path.HARM, unit, reward, sent_at),)
        return Tick(events=events)

    def mature(self, now: float, rewards_of: RewardsOf) -> Tick:
        """Close the units whose window is over, in request order, and give each one's mean to the promote path.

        The rewards are asked for only now, and nothing is kept of them before: what came first, and whether there was a
        restart in between, cannot matter.
        """
        horizon = now - self.config.maturity_s - self.config.lateness_s
        due: list[Unit] = []
        while self._closing and self._closing[0][0] <= horizon:
            due.append(self._open.pop(heapq.heappop(self._closing)[1]))
        if not due:
            return _NOTHING
        rewards, events = rewards_of(due), list[UnitEvent]()
        for unit in due:
            # the cap counts units, rewarded or not: whether one is rewarded may depend on the arm
            self._matured_per_identity[unit.identity] += 1
            values = rewards.get(unit.session)
            if values and not unit.harmed and not unit.capped:
                # Its reward came when its window was closed for others: what may speak for a candidate speaks against.
                unit.harmed = True
                events.append(self._event(Path.HARM, unit, sum(values) / len(values), unit.first_at))
            if not values or self._matured_per_identity[unit.identity] > self.config.identity_cap:
                events.append(self._event(Path.CLOSED, unit, 0.0, unit.first_at))
                continue
            events.append(self._event(Path.PROMOTE, unit, sum(values) / len(values), unit.first_at))
        return Tick(events=tuple(events))

    @property
    def unit_counts(self) -> tuple[int, int]:
        """(units that count, units capped)."""
        capped = sum(u.capped for u in self._units.values())
        return len(self._units) - capped, capped

    def _assign(self, exchange: Exchange) -> Unit | None:
        propensity = exchange.propensity
        if propensity is None or not at_random(propensity):
            return None
        unit = Unit(
            seq=len(self._units),
            session=exchange.session,
            identity=exchange.identity,
            canary=exchange.arm == "canary",
            propensity=propensity,
            in_slice=self._in_slice(exchange.prompt),
            first_at=exchange.received_at,
            capped=self._per_identity[exchange.identity] >= self.config.identity_cap,
        )
        self._add(unit)
        return unit

    def _add(self, unit: Unit) -> None:
        self._units[unit.session] = self._open[unit.session] = unit
        self._per_identity[unit.identity] += 1
        heapq.heappush(self._closing, (unit.first_at, unit.session))

    def _watch_kill_switch(self, exchange: Exchange) -> None:
        wrong = failed(exchange)
        if self._before is not None:
            slow = any(happened(spec, exchange) for spec in self._slow)
            corrupt = corrupted(exchange)
            self._newest.append(Newest(exchange.session, wrong, slow, corrupt))
            if wrong or slow or corrupt or self.kill.fleet:  # nothing else begins or ends trouble
                trouble = fleet_trouble(self._before, tuple(self._newest), self.config)
                self.kill = replace(self.kill, fleet=trouble)
        if exchange.arm != "canary":
            return
        if not wrong:
            if self.kill.consecutive:
                self.kill = replace(self.kill, consecutive=0, sessions=frozenset())
            return
        sessions = self.kill.sessions
        if len(sessions) < self.config.kill_sessions:
            sessions = sessions | {exchange.session}
        self.kill = replace(self.kill, consecutive=self.kill.consecutive + 1, sessions=sessions)

    def _event(self, path: Path, unit: Unit, value: float, at: float) -> UnitEvent:
        self._seq += 1
        event = UnitEvent(self._seq, path, unit.seq, unit.canary, unit.propensity, value, unit.in_slice, at)
        self.processes = apply(self.processes, event, self.config)
        return event
