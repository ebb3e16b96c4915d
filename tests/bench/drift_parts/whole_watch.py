"""The whole watch on the project's own world: from an exchange to the confirmed alarm, its slice and its cause."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import mean, median

from daemon.demo.world.build import build_world
from daemon.demo.world.questions import DeskWorld
from monitors.alarms import Alarm, AlarmKind
from monitors.watch import Watch, WatchConfig
from streams.events import Exchange
from tests.bench.drift_parts.bars import Bars
from tests.bench.drift_parts.delays import Delays, number
from tests.bench.drift_parts.reference_loop import step_ns
from tests.monitors.foreign import foreign
from tests.monitors.traffic import exchange

QUIET, HORIZON = 2_600, 1_500
BARS = {0.5: 115, 0.25: 285, 0.1: 1_100}
"""Exchanges from the onset to the confirmed alarm with its slice: what MEWMA and a classifier took before novelty."""
MISSED = {0.5: 0.0, 0.25: 0.12, 0.1: 0.5}
COST_BAR = 150.0
_TIMED, _AT_ONCE, _LATER = 500, 100, 200
"""Quiet exchanges that are timed, how many between two looks at the reference loop, and how many later a rating comes.
"""
REPLY = (
    "Open the settings, choose the page with your cards and press the button at its end. We then send a letter with "
    "a code, which you type in on the same page. It is valid for ten days; after that please order another one there."
)
"""As long as replies are: refusals are looked for in their first 200 characters."""
FOREIGN, FOREIGN_BAR = 0.2, 285
"""Share of the prompts that come in another language, and exchanges until the alarm, as for a quarter of a new desk."""
RATED, RIGHT, CORRECTED = 0.4, 0.85, 0.5
"""Share of exchanges that are rated, of replies that are right, of wrong ones that somebody corrects."""
CONCEPT_BAR = 120
"""Rewards until changed answers to half of the old questions are told, at a budget of 50,000 exchanges."""


@dataclass
class Run:
    """What one run of a watch gave."""

    false: int = 0
    delay: float = math.inf
    recall: float = 0.0
    outside: float = 0.0
    cost: list[float] = field(default_factory=list[float])
    """Microseconds of CPU an exchange with the ratings that come meanwhile, of each hundred."""
    steps: list[float] = field(default_factory=list[float])
    """The same in steps of the reference loop, which ran before and after."""


def _traffic(world: DeskWorld, share: float, count: int, first: int, seed: int) -> Iterator[tuple[Exchange, str]]:
    """Exchanges with their desks; sessions of 1 to 3 questions to one desk, of 500 people."""
    rng = random.Random(f"{seed}/{first}")
    left, desk, session, who = 0, "", 0, 0
    for index in range(first, first + count):
        if left == 0:
            session += 1
            left, who = rng.randint(1, 3), rng.randrange(500)
            desk = world.new_desks[0] if rng.random() < share else rng.choice(list(world.old_desks))
        left -= 1
        text = world.ask(desk, rng).text
        yield exchange(index, text, f"s{first}-{session}", f"u{who}", REPLY), desk


def new_desk(world: DeskWorld, share: float, seed: int) -> Run:
    """A desk never seen takes a share of the traffic."""
    watch, run = Watch(WatchConfig(), seed), Run()
    quiet = [event for event, _ in _traffic(world, 0.0, QUIET, 0, seed)]
    rng = random.Random(f"rated/{seed}")
    rated = [rng.random() < RATED for _ in quiet]
    right = [float(rng.random() < RIGHT) for _ in quiet]

    def both(at: int) -> int:
        """An exchange, and the rating of an older one where there is one; alarms that act."""
        found = watch.observe_exchange(quiet[at])
        old = at - _LATER
        if old >= 0 and rated[old]:
            found = [*found, *watch.observe_reward(quiet[old], right[old], corrected=right[old] == 0.0)]
        return sum(alarm.acts for alarm in found)

    run.false += sum(both(at) for at in range(QUIET - _TIMED))
    for first in range(QUIET - _TIMED, QUIET, _AT_ONCE):
        before, begun = step_ns(), time.thread_time()
        run.false += sum(both(at) for at in range(first, first + _AT_ONCE))
        run.cost.append((time.thread_time() - begun) / _AT_ONCE * 1e6)
        run.steps.append(run.cost[-1] * 1e3 / (0.5 * (before + step_ns())))
    for passed, (event, _) in enumerate(_traffic(world, share, HORIZON, QUIET, seed)):
        found = [alarm for alarm in watch.observe_exchange(event) if alarm.acts]
        if found:
            run.delay = passed + 1.0
            inside = found[0].slice
            rng = random.Random(seed)
            if inside is not None:
                run.recall = sum(inside.contains(world.ask(world.new_desks[0], rng).text) for _ in range(200)) / 200
                old = [world.ask(rng.choice(list(world.old_desks)), rng).text for _ in range(200)]
                run.outside = sum(map(inside.contains, old)) / 200
            break
    return run


def new_language(world: DeskWorld, language: str, seed: int) -> tuple[float, float, str]:
    """Exchanges from the onset to the confirmed alarm and to its suspicion, and the language that it names."""
    watch, rng = Watch(WatchConfig(), seed), random.Random(f"{language}/{seed}")
    for index, (event, _) in enumerate(_with_onset(world, 0.0, seed)):
        if index >= QUIET and rng.random() < FOREIGN:
            event = exchange(index, foreign(language, rng), event.session, event.identity)
        found = [alarm for alarm in watch.observe_exchange(event) if alarm.acts]
        if found:
            numbers = found[0].evidence
            suspected = float(str(numbers["at_event"])) - QUIET
            return index - QUIET + 1.0, suspected, str(numbers.get("language", "none"))
    return math.inf, math.inf, "none"


def rewarded(world: DeskWorld, changed: bool, seed: int) -> tuple[float, str, str]:
    """Rewards until the alarm after the onset, its cause and its words; ``changed``: answers change, else a new desk
    whose questions are answered wrong.
    """
    watch, rng = Watch(WatchConfig(), seed), random.Random(f"rewards/{seed}")
    desks = list(world.old_desks)
    hit = set(desks[::2])
    rated = 0
    for index, (event, desk) in enumerate(_with_onset(world, 0.0 if changed else 0.5, seed)):
        drifted = index >= QUIET
        watch.observe_exchange(event)
        wrong = drifted and (desk in hit if changed else desk in world.new_desks)
        if rng.random() >= RATED:
            continue
        rated += drifted
        reward = float(not wrong and rng.random() < RIGHT)
        found = watch.observe_reward(event, reward, corrected=reward == 0.0 and rng.random() < CORRECTED)
        told: list[Alarm] = [a for a in found if a.acts and a.kind in (AlarmKind.REWARD, AlarmKind.FEEDBACK)]
        if told:
            terms = told[0].evidence.get("terms")
            moved = " ".join(terms) if isinstance(terms, list) else ""
            return (float(rated) if drifted else -1.0), told[0].cause, moved
    return math.inf, "", ""


def _with_onset(world: DeskWorld, share: float, seed: int) -> Iterator[tuple[Exchange, str]]:
    yield from _traffic(world, 0.0, QUIET, 0, seed)
    yield from _traffic(world, share, HORIZON, QUIET, seed)


def table(bars: Bars, seeds: int) -> None:
    """All of it."""
    worlds = [build_world(None, None, seed) for seed in range(seeds)]
    runs = {share: [new_desk(world, share, n) for n, world in enumerate(worlds)] for share in BARS}
    for share, most in BARS.items():
        delays = Delays([run.delay for run in runs[share]])
        bars.delay(
            f"own world, new desk at {share:.0%}",
            delays,
            most,
            0.12 if share > 0.2 else 0.5,
            WatchConfig().events_between_false_alarms,
        )
        recall, outside = ([getattr(run, name) for run in runs[share]] for name in ("recall", "outside"))
        least, most_old = min(recall), max(outside)
        print(f"{'':40} slice at the alarm: recall {median(recall):.2f} (least {least:.2f}), of the old {most_old:.3f}")
    everything = [run for found in runs.values() for run in found]
    false = sum(run.false for run in everything)
    bars.line("own world, false alarms", f"{false} in {len(everything) * QUIET:,} exchanges", "0", false == 0)
    costs, steps = ([c for run in everything for c in getattr(run, name)] for name in ("cost", "steps"))
    cost = median(costs)
    figure = (
        f"median {cost:.0f} microseconds (least {min(costs):.0f}, mean with looks at suspicions {mean(costs):.0f}; "
        f"{median(steps):,.0f} steps of the reference loop)"
    )
    name = f"cost of an exchange, {RATED:.0%} of them rated"
    bars.line(name, figure, f"<= {COST_BAR:.0f}", cost <= COST_BAR)
    for language in ("es", "pl"):
        told = [new_language(world, language, n) for n, world in enumerate(worlds)]
        delays = Delays([d for d, _, _ in told if d > 0], sum(d <= 0 for d, _, _ in told))
        name = f"a fifth of the prompts turns to {language}"
        bars.delay(name, delays, FOREIGN_BAR, 0.0, WatchConfig().events_between_false_alarms)
        print(f"{'':40} suspected after {number(median(suspected for _, suspected, _ in told))}")
        right = sum(named == language for _, _, named in told)
        bars.line(f"language named {language}", f"{right} of {len(told)} alarms", ">= 0.9", right >= 0.9 * len(told))
    for changed, cause in ((True, "changed_answers"), (False, "new_inputs")):
        found = [rewarded(world, changed, n) for n, world in enumerate(worlds)]
        delays = Delays([d for d, _, _ in found if d > 0], sum(d < 0 for d, _, _ in found))
        name = "changed answers" if changed else "new desk answered wrong"
        bars.delay(f"rewards, {name}", delays, CONCEPT_BAR, 0.0, WatchConfig().events_between_false_alarms)
        right = sum(c == cause for _, c, _ in found)
        bars.line(f"cause named {cause}", f"{right} of {len(found)} alarms", ">= 0.9", right >= 0.9 * len(found))
        print(f"{'':40} words that moved: {found[0][2]}")
