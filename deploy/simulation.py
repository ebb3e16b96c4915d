"""Made-up traffic through the real decision code: what a rollout would have done, from a seed. Pure.

``simulate`` plays sessions into ``Evidence``, asks ``judge`` after every event and moves along the rollout's table,
exactly as the daemon does; only the traffic is invented. Times are seconds of the invented clock.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from deploy.evidence import Evidence, Tick, Unit
from deploy.guards import Bounds
from deploy.rollout import FINAL, LIVE, Phase, Signal, desired, move
from deploy.rollout_config import RolloutConfig
from deploy.verdict import judge
from streams.events import Attempt, Exchange, Message

Share = Annotated[float, Field(ge=0.0, le=1.0)]
ROLLOUT: Final = "simulated"
INSIDE: Final = (Message(role="user", content="inside the slice"),)
OUTSIDE: Final = (Message(role="user", content="outside of it"),)
_SLOW_S: Final = 2.0
_BOUNDS: Final = Bounds(first_token_s=1.0, token_s=1.0, tokens=1000.0)


class World(BaseModel):
    """What users, candidate and infrastructure do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    control: Share = 0.6
    """Mean reward of the control outside the slice."""
    effect: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.0
    """The candidate's mean reward minus the control's, outside the slice."""
    slice_share: Share = 1.0
    """Share of sessions whose first prompt lies in the slice that raised the alarm; 1: there is no slice."""
    control_in_slice: Share | None = None
    """None: as outside."""
    effect_in_slice: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    """None: as outside."""
    concentration: Annotated[float, Field(gt=0.0)] | None = None
    """a + b of a Beta reward (graded); None: Bernoulli."""
    drift: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.0
    """Change of both arms' mean reward over the first ``drift_units`` units."""
    drift_units: Annotated[int, Field(ge=1)] = 1000
    sessions_per_s: Annotated[float, Field(gt=0.0)] = 1.0
    turns: Annotated[float, Field(ge=1.0)] = 1.0
    """Mean exchanges of a session (geometric)."""
    feedback: Share = 1.0
    """Chance that a session is rated at all."""
    feedback_times: Annotated[float, Field(gt=0.0)] = 1.0
    """The same chance with the candidate, as a factor."""
    delay_good_s: Annotated[float, Field(ge=0.0)] = 0.0
    """Mean delay (exponential) of a reward of at least one half."""
    delay_bad_s: Annotated[float, Field(ge=0.0)] = 0.0
    """Mean delay of a lower one: people complain sooner than they praise."""
    errors: Share = 0.0
    """Chance that a session of the control is broken: every one of its exchanges fails."""
    error_times: Annotated[float, Field(gt=0.0)] = 1.0
    """The same chance with the candidate, as a factor."""
    slow: Share = 0.05
    """Chance that a session of the control is slow to its first token, in each of its exchanges."""
    slow_times: Annotated[float, Field(gt=0.0)] = 1.0
    hostile: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of all sessions (and feedback) that are one identity's, who rates everything 0."""
    arm_fault: Annotated[float, Field(gt=0.0)] = 1.0
    """Sample-ratio fault: the canary's real share is this many times the logged one."""
    ramp: tuple[tuple[int, float], ...] = ()
    """(unit, share): from that unit on the share is set by hand, whatever the phase wants."""
    late_effect: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.0
    """Added to the candidate's effect from ``late_units`` units into probation on."""
    late_units: Annotated[int, Field(ge=0)] = 10_000


@dataclass(frozen=True, slots=True)
class Step:
    """One move of the rollout."""

    phase: Phase
    """The phase that it led to."""
    signal: Signal
    reason: str
    assigned: int
    """Units assigned by then, both arms, uncapped."""
    rewarded: int
    """Units that had been rated by then."""
    at: float


@dataclass(frozen=True, slots=True)
class Course:
    """What became of a rollout."""

    steps: tuple[Step, ...]
    phase: Phase
    """Where it ended, or stood when the sessions were over."""
    assigned: int
    rewarded: int

    def reached(self, phase: Phase) -> Step | None:
        """The move that led to ``phase``, if one did."""
        return next((s for s in self.steps if s.phase is phase), None)


def simulate(
    world: World, config: RolloutConfig, seed: int, sessions: int, start: Phase = Phase.CANARY_SMALL
) -> Course:
    """A rollout over at most ``sessions`` sessions, from a live phase on; the same for the same arguments."""
    return _Run(world, config, seed, start).play(sessions)


class _Run:
    def __init__(self, world: World, config: RolloutConfig, seed: int, start: Phase) -> None:
        self._world, self._config, self._rng = world, config, random.Random(seed)
        self._evidence = Evidence(ROLLOUT, config, _BOUNDS, lambda text: text == INSIDE[0].content)
        self._phase, self._steps = start, list[Step]()
        self._phase_at, self._phase_units = 0.0, 0
        self._late: list[tuple[float, int, Exchange, float]] = []
        self._said: dict[str, tuple[float, float]] = {}
        """Session to (reward, when it was sent) until its window is over; nobody is rated twice."""

    def play(self, sessions: int) -> Course:
        gap = 1.0 / self._world.sessions_per_s
        for number in range(sessions):
            now = number * gap
            self._said_until(now)
            if self._phase not in FINAL:
                self._session(number, now)
            if self._phase in FINAL or now >= self._config.deadline_s:
                break
        end = sessions * gap
        self._said_until(end)
        seen = self._evidence.processes
        return Course(tuple(self._steps), self._phase, seen.assigned, seen.rewarded)

    def _session(self, number: int, now: float) -> None:
        world, rng = self._world, self._rng
        share = self._share(number)
        canary = rng.random() < min(share * world.arm_fault, 1.0)
        bad = rng.random() < world.hostile
        inside = rng.random() < world.slice_share
        broken = rng.random() < world.errors * (world.error_times if canary else 1.0)
        slow = rng.random() < world.slow * (world.slow_times if canary else 1.0)
        turns = 1 if world.turns == 1.0 else 1 + int(math.log(1.0 - rng.random()) / math.log(1.0 - 1.0 / world.turns))
        chance = world.feedback * (world.feedback_times if canary else 1.0)
        mean = self._mean(canary, inside, number)
        for turn in range(turns):
            exchange = _exchange(number, turn, now, canary, share, inside, bad, broken, slow)
            self._judge(self._evidence.observe_exchange(exchange, turn == 0), now)
            if self._phase in FINAL:
                return
            if turn == 0 and rng.random() < chance:
                reward = 0.0 if bad else self._reward(mean)
                delay = world.delay_good_s if reward >= 0.5 else world.delay_bad_s
                heapq.heappush(
                    self._late, (now + (rng.expovariate(1.0 / delay) if delay else 0.0), number, exchange, reward)
                )
        self._said_until(now)

    def _share(self, number: int) -> float:
        share = desired(self._phase, "control", "candidate", self._config).share
        for first, by_hand in self._world.ramp:
            if number >= first:
                share = by_hand
        assert share is not None  # every live phase has one
        return share

    def _mean(self, canary: bool, inside: bool, number: int) -> float:
        world = self._world
        base, effect = world.control, world.effect
        if inside and world.control_in_slice is not None:
            base = world.control_in_slice
        if inside and world.effect_in_slice is not None:
            effect = world.effect_in_slice
        if self._phase is Phase.PROBATION and self._units_in_phase >= world.late_units:
            effect += world.late_effect
        drifted = base + world.drift * min(number / world.drift_units, 1.0)
        return min(max(drifted + (effect if canary else 0.0), 0.0), 1.0)

    def _reward(self, mean: float) -> float:
        spread = self._world.concentration
        if spread is None or not 0.0 < mean < 1.0:
            return float(self._rng.random() < mean)
        return self._rng.betavariate(mean * spread, (1.0 - mean) * spread)

    def _said_until(self, now: float) -> None:
        while self._late and self._late[0][0] <= now and self._phase not in FINAL:
            at, _, exchange, reward = heapq.heappop(self._late)
            self._said[exchange.session] = (reward, at)
            self._judge(self._evidence.observe_reward(exchange, reward, at), at)
        if self._phase not in FINAL:
            self._judge(self._evidence.mature(now, self._rewards), now)

    def _rewards(self, due: Sequence[Unit]) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for unit in due:
            reward, at = self._said.pop(unit.session, (0.0, math.inf))
            if at <= unit.first_at + self._config.maturity_s:
                found[unit.session] = [reward]
        return found

    @property
    def _units_in_phase(self) -> int:
        return self._evidence.processes.assigned - self._phase_units

    def _judge(self, tick: Tick, now: float) -> None:
        if not tick.events or self._phase not in LIVE:
            return
        seen = self._evidence.observed()
        found = judge(self._phase, seen.processes, seen.kill, self._config, self._units_in_phase, now - self._phase_at)
        if found.signal is None:
            return
        self._phase = move(self._phase, found.signal)
        self._phase_at, self._phase_units = now, seen.processes.assigned
        units = (seen.processes.assigned, seen.processes.rewarded)
        self._steps.append(Step(self._phase, found.signal, found.reason, *units, now))


def _exchange(
    number: int, turn: int, now: float, canary: bool, share: float, inside: bool, bad: bool, broken: bool, slow: bool
) -> Exchange:
    """One exchange; not validated again, since its values are ours."""
    version = "candidate" if canary else "control"
    return Exchange.model_construct(
        exchange_id=f"{number}-{turn}",
        deployment="simulated",
        tenant="simulated",
        session=str(number),
        identity="hostile" if bad else str(number),
        messages=INSIDE if inside else OUTSIDE,
        completion="a reply",
        version=version,
        rollout=ROLLOUT,
        arm="canary" if canary else "control",
        propensity=share,
        received_at=now,
        dispatched_at=now,
        completed_at=now,
        first_token_s=_SLOW_S if slow else 0.1,
        status=500 if broken else 200,
        attempts=(Attempt(version=version, status=500),) if broken else (),
    )
