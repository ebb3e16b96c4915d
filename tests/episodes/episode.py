"""One seed, one life of a deployment: steps at random, faults among them, the invariants after each.

    python -m tests.episodes.episode SEED [SEED2]    plays the seeds SEED to SEED2 and says what broke
    HOMEOSTAT_SEED=SEED python -m pytest tests/episodes    plays that seed alone

A failure prints the seed, the first broken invariant, the last steps and the ledger's tail.
"""

from __future__ import annotations

import gc
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from daemon.faults import Refused
from daemon.invariants import CALM_S, INVARIANTS, Broken, Invariant, broken
from daemon.live_evidence import restore
from daemon.store.rollouts import Rollout
from streams.events import DeadLetter
from tests.episodes.facts import Camera, kept
from tests.episodes.failure import Failure, failure
from tests.episodes.past import furnish
from tests.episodes.played import IDENTITY
from tests.episodes.settings import ME
from tests.episodes.stage import play_in, stage
from tests.episodes.store_twin import StoreTwin
from tests.episodes.traffic import request
from tests.episodes.twin_tables import Tables
from tests.episodes.world import Crash, Faults, World

LENGTHS: Final = (40, 40, 40, 120)
"""Steps of an episode, drawn. Most bugs are found sooner by many short lives, some by long ones alone:
``tests/bench/episodes.py`` has the figures.
"""
CALM_STEP_S: Final = 15.25
CALM_STEPS: Final = 4
"""The last is beyond ``CALM_S``; one is shorter than the lease of a training job."""


@dataclass
class Episode:
    """Plays one seed."""

    seed: int
    invariants: tuple[Invariant, ...] = INVARIANTS
    store: Any = field(default_factory=StoreTwin)
    tables: Callable[[], Tables] | None = None
    looks: bool = True
    """False: nothing is checked on the way, for runs whose end alone is of interest."""
    again: tuple[object, object] | None = None
    done: list[str] = field(default_factory=list[str])
    failure: Failure | None = None

    def __post_init__(self) -> None:
        self.world = World(self.seed, self.store)
        play_in(self.world)
        furnish(self.world)
        self.camera = Camera(self.world, self.tables or (lambda: self.store.tables))

    def play(self, steps: int | None = None) -> Failure | None:
        """All steps, then calm; the first failure ends it. ``steps`` None: as many as the seed draws."""
        world = self.world
        drawn = world.rng.choice(LENGTHS)
        steps = drawn if steps is None else steps
        names, weights = zip(*WEIGHTS, strict=True)
        for name in world.rng.choices(names, weights, k=steps):
            self._step(name, getattr(self, f"_{name}"))
            if self.failure is not None:
                return self.failure
        self._calm()
        return self.failure

    def _step(self, name: str, act: Callable[[], None], calm_s: float | None = None) -> None:
        if self.failure is not None:
            return
        world = self.world
        self.done.append(name)
        seconds = world.rng.uniform(0.1, 1.5)
        world.now += seconds
        world.mono += seconds
        try:
            act()
        except Crash:
            world.die()
        except Exception as error:  # noqa: BLE001 - a daemon's call may fail by faults alone
            where = traceback.extract_tb(error.__traceback__)[-1]
            world.unexpected.append(f"{name}: {error!r} at {where.filename}:{where.lineno}")
        self._check(calm_s)

    def _check(self, calm_s: float | None = None) -> None:
        if not self.looks:
            return
        facts = self.camera.shoot(calm_s, self.again)
        self.again = None
        found = [] if facts is None else broken(facts, self.invariants)
        if self.world.unexpected:
            found.insert(0, Broken("calls", "a call fails by faults alone", self.world.unexpected[0]))
        if found:
            self.failure = failure(self.seed, found[0], self.done, self.camera.tables().ledger)

    def count(self, ends: Counter[str]) -> None:
        """Add what happened in it: what a run has met."""
        tables = self.camera.tables()
        ends.update(r.phase for r in tables.rollouts.values())
        ends.update(
            f"second probation {r.phase} {r.reason}" for r in tables.rollouts.values() if r.data.get("promotion")
        )
        ends.update(f"cycle {c.reason}" for c in tables.cycles.values())
        ends.update(f"rollback {e.reason}" for e in tables.ledger if e.kind == "rollback")
        ends["unanswered again"] += sum(e.kind == "alarm" for e in tables.ledger)
        ends["crashes"] += self.world.crashes
        ends["gaps"] += len(tables.gaps)
        ends["suspensions"] += bool(tables.suspended)

    def let_go(self) -> None:
        """Cut the circles in it, so that its memory is free without a search for them."""
        for one in (self.world, self):
            vars(one).clear()

    # ------------------------------------------------------------------------------------------------------ steps

    def _tick(self) -> None:
        self.world.tick()

    def _tick_crashing(self) -> None:
        """The daemon dies at one of the next effects."""
        self.world.faults.crash_in = self.world.rng.randrange(40)
        self.world.tick()
        self.world.faults.crash_in = None

    def _tick_disturbed(self) -> None:
        """Others act while it ticks."""
        self.world.faults.intrude = 0.06
        self.world.tick()
        self.world.faults.intrude = 0.0

    def _read(self) -> None:
        self.world.read()

    def _read_crashing(self) -> None:
        self.world.faults.crash_in = self.world.rng.randrange(6)
        self.world.read()
        self.world.faults.crash_in = None

    def _traffic(self) -> None:
        world = self.world
        for _ in range(world.rng.randrange(1, 7)):
            request(world)
        world.arrive()
        if world.retention is not None:
            world.retain(self.camera.tables().offsets)

    def _arrive(self) -> None:
        self.world.arrive()

    def _garbage(self) -> None:
        self.world.log.append(None, self.world.now)

    def _wait(self) -> None:
        seconds = self.world.rng.choice((2.0, 3.0, 5.0, 20.0))
        self.world.now += seconds
        self.world.mono += seconds

    def _train(self) -> None:
        self.world.train()

    def _kill(self) -> None:
        """At a quiet instant: the next daemon must know of the units what this one knew."""
        world = self.world
        ingest, active = world.ingest, rollouts_of(self.camera.tables())
        evidence = None if ingest is None else ingest.evidence
        world.die()
        if evidence is not None and evidence.rollout in active:
            with world.store.read() as read:
                self.again = (evidence.processes, restore(read, active[evidence.rollout]).processes)

    def _store_fails(self) -> None:
        faults = self.world.faults
        faults.store_in, faults.store_fails = self.world.rng.randrange(12), self.world.rng.choice((1, 1, 3, 20))

    def _log_away(self) -> None:
        self.world.faults.log_away = not self.world.faults.log_away

    def _replica(self) -> None:
        """Dies, comes back, or is cut off."""
        world = self.world
        one = world.rng.choice(world.host.replicas)
        match world.rng.randrange(4):
            case 0:
                one.alive = one.settled = False
            case 1:
                one.mute = not one.mute
                one.settled = False
            case _:
                one.restart(world.host.file, world.mono)

    def _heal(self) -> None:
        """Whoever is down comes back, and networks work."""
        self.world.faults.loses, self.world.faults.log_away = 0.0, False
        for one in self.world.host.replicas:
            one.mute = False
            if not one.alive:
                one.restart(self.world.host.file, self.world.mono)

    def _watch(self) -> None:
        self.world.host.watch_files()

    def _lose(self) -> None:
        self.world.faults.loses = self.world.rng.choice((0.0, 0.3, 1.0))

    def _late_push(self) -> None:
        if self.world.host.mail:
            self.world.host.deliver_late(self.world.rng.randrange(1000))

    def _clock(self) -> None:
        """The wall clock is set; a second time sets it right."""
        world = self.world
        off = world.now - world.mono - 1_000_000.0
        world.now -= off
        if abs(off) < 1.0:
            world.now += world.rng.choice((3600.0, -3600.0, -172800.0, 20.0, -20.0))

    def _direct(self) -> None:
        self.world.direct_rollback()

    def _rollback(self) -> None:
        world = self.world
        to = None
        if world.rng.random() < 0.3:
            names = [*world.qualities, IDENTITY, "support-ffffffffffff"]
            to = world.rng.choice(names)
        away = world.seed % 5 == 3  # not drawn: the other seeds stay what they were
        if away:
            world.faults.store_in, world.faults.store_fails = 0, 1 + world.seed % 4
        world.rollback(to, world.rng.random() < 0.4)
        if away or world.rng.random() < 0.2:
            world.rollback(None)  # at once again

    def _command(self) -> None:
        """One of the other verbs."""
        controller = self.world.controller
        verbs = ("promote", "promote", "approve", "approve", "approve", "abort", "pause", "resume")
        verb = self.world.rng.choice(verbs)
        if controller is not None:
            self._ask(verb, lambda: getattr(controller, verb)(ME))

    def _adapt(self) -> None:
        controller = self.world.controller
        if controller is not None:
            self._ask("adapt", lambda: controller.adapt(ME, {}))

    def _ask(self, verb: str, act: Callable[[], object]) -> None:
        self.world.troubled = False
        with suppress(Refused):
            self.world.guard(verb, act)

    # ------------------------------------------------------------------------------------------------------- calm

    def _calm(self) -> None:
        """No more faults: everything must move, and past every deadline nothing may be left."""
        world = self.world
        world.faults = Faults()
        world.now = 1_000_000.0 + world.mono
        self._heal()
        calm = 0.0
        for _ in range(CALM_STEPS):
            calm += CALM_STEP_S
            self._step("calm", lambda: self._calm_step(CALM_STEP_S), calm)
        left = [r.deadline - world.now for r in self.camera.tables().rollouts.values() if r.active]
        if left:
            leap = max(max(left), 0.0) + CALM_S + 1.0
            self._step("leap", lambda: self._calm_step(leap))
            for _ in range(2):
                calm += CALM_STEP_S
                self._step("calm", lambda: self._calm_step(CALM_STEP_S), calm)
        if self.seed % 4 == 0 and not rollouts_of(self.camera.tables()):
            self._step("redelivered", self._redelivered)

    def _redelivered(self) -> None:
        """The whole log once more, but for what nobody has read."""
        world = self.world
        world.read()
        before = kept(self.camera.tables())
        lost = world.log.lost
        for (topic, partition, offset), found in list(world.log.decoded.items()):
            if not isinstance(found, DeadLetter) and ((topic, partition), offset) not in lost:
                world.log.append(found.event, world.now, str(found.token))
        world.read()
        self.again = (before, kept(self.camera.tables()))

    def _calm_step(self, seconds: float) -> None:
        world = self.world
        world.now += seconds
        world.mono += seconds
        world.arrive(everything=True)
        world.host.watch_files()
        world.tick()
        world.train(calm=True)
        if world.job is not None:
            world.train(calm=True)
        world.read()


WEIGHTS: Final = (
    ("tick", 28),
    ("tick_crashing", 3),
    ("tick_disturbed", 2),
    ("read", 14),
    ("read_crashing", 1),
    ("traffic", 22),
    ("arrive", 4),
    ("garbage", 0.5),
    ("wait", 3),
    ("train", 13),
    ("kill", 0.7),
    ("store_fails", 0.8),
    ("log_away", 0.6),
    ("replica", 1.5),
    ("heal", 3),
    ("watch", 3),
    ("lose", 0.7),
    ("late_push", 1),
    ("clock", 0.8),
    ("direct", 0.25),
    ("rollback", 0.6),
    ("command", 1.5),
    ("adapt", 2),
)
"""Steps and how often each is drawn, in per cent (nearly)."""


def rollouts_of(tables: Tables) -> dict[str, Rollout]:
    """The active ones, by id."""
    return {r.id: r for r in tables.rollouts.values() if r.active}


ENDS: Counter[str] = Counter()
"""What the episodes of this process have met."""


def play(seeds: Iterable[int], stop: bool = True) -> tuple[int, list[Failure]]:
    """Play seeds on the twin; (episodes played, failures)."""
    failures: list[Failure] = []
    played = 0
    gc.freeze()
    gc.disable()  # an episode is let go by hand: a search for its circles would cost a tenth of it
    with stage():
        for seed in seeds:
            played += 1
            if played % 500 == 0:
                gc.collect()
            episode = Episode(seed)
            found = episode.play()
            episode.count(ENDS)
            episode.let_go()
            if found is not None:
                failures.append(found)
                if stop:
                    break
    gc.enable()
    gc.unfreeze()
    return played, failures


def main() -> int:
    """Play the seeds of the command line."""
    first = int(sys.argv[1])
    last = int(sys.argv[2]) if len(sys.argv) > 2 else first
    began = time.process_time()
    played, failures = play(range(first, last + 1), stop=False)
    seconds = time.process_time() - began
    print(dict(sorted(ENDS.items())))
    names = Counter(f.broken.name for f in failures)
    for one in failures[:5]:
        print(one, end="\n\n")
    print(
        f"{played} episodes in {seconds:.1f} s ({1000 * seconds / played:.1f} ms each), {len(failures)} failed {names}"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
