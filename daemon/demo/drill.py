"""The drill: what must not get through. Three faults on a running deployment, each told from outside.

(a) The same feedback with selection off, trained by the real trainer: the unchanged gate must stop it.
(b) A candidate that harms a desk which nobody has asked lately, and which returns during its canary: the canary must
    roll it back, nothing may be routed to it afterwards, and what it was trained on must be suspended.
(c) During (a) the trainer is killed in mid-job and writes NaN once: recorded, tried again, serving untouched.

The second desk, from whose corrections the candidate of (b) learns, appears while (a) is at work: a cycle is open, so
that its alarm starts none, and minutes are saved.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from daemon.demo.acts import appear, canary_began, follow, quiet
from daemon.demo.children import ChildFailed
from daemon.demo.daemon_client import CommandRefused, DaemonUnreachable, Seen, StageTimeout
from daemon.demo.documents import Json, integer, listed, part
from daemon.demo.drill_figures import (
    DrillFigures,
    Harmful,
    drill_failures,
    gate_event,
    gate_verdict,
    routed_after,
    suspended,
    trainer_figures,
    undefended_figures,
)
from daemon.demo.journal import accuracy
from daemon.demo.measure import last_dispatch
from daemon.demo.mix import even
from daemon.demo.options import Script
from daemon.demo.stages import CYCLE_OVER, FINAL, acting_alarms, stage_of
from daemon.demo.stand import Stand

DRILL = Script(quiet_exchanges=1500, scenario_s=360.0)
"""Less quiet traffic than the demo: false alarms are the demo's question."""
DRILL_CONFIG: Json = {
    "cycle": {"min_labels": 400, "cooldown_s": 60.0, "job_lease_s": 4.0, "history_s": 120.0},
    "training": {"steps": 200},
    "monitors": {"reference_size": 800},
}
"""Three trainings have to fit into six minutes; the gate is the demo's. The cooldown leaves (b) to the drill. The
silent desk is asked in the quiet phase only, and the history is shorter than the time from there to the harmful
candidate.
"""
SELECTION_OFF: Json = {"selection": {"enabled": False}, "training": {"warm_start": False}}
"""From the base, as the promoted version was: the same feedback, and nothing between it and the trainer."""
UNPROTECTED: Json = {"training": {"kl_weight": 0.5, "learning_rate": 0.01, "warm_start": False}}
"""Loosely held: what is replayed loses some two points, what is not falls to a tenth or a quarter. With steps twice as
large what is replayed loses more than ten points on some seeds, and the gate stops it."""
SILENT_SHARE = 0.3
"""Share of the traffic with which the silent desk returns."""
SETTLE_EXCHANGES = 400
"""Exchanges after a promotion whose traffic is the one that the monitors have just taken as their reference."""
SECOND_CORRECTIONS = 420
"""Corrections of the second desk before its candidate is trained."""
WATCH_AFTER_S = 5.0
"""Full load after the automatic roll-back, in which the candidate must not be seen."""
LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Faults:
    """Failpoints of the trainer that stay quiet while their file exists."""

    folder: Path

    @property
    def kill(self) -> Path:
        """Removed: the trainer kills itself once in the middle of a job."""
        return self.folder / "trainer-kill"

    @property
    def nan(self) -> Path:
        """Removed: the trainer writes NaN once."""
        return self.folder / "trainer-nan"

    def disarmed(self) -> dict[str, str]:
        """Make the files; the environment that the daemon hands to its trainer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.kill.touch()
        self.nan.touch()
        points = f"trainer.kill_mid_job=kill_once:{self.kill},trainer.write_nan=raise_once:{self.nan}"
        return {"HOMEOSTAT_FAILPOINTS": points}

    def arm(self) -> None:
        """Both faults happen once from now on."""
        self.kill.unlink(missing_ok=True)
        self.nan.unlink(missing_ok=True)


async def play_drill(stand: Stand, faults: Faults, limit_s: float) -> DrillFigures:
    """All three faults. Never raises for what homeostat fails to do: that is named in ``failures``."""
    figures = DrillFigures(base_seconds=round(stand.base.seconds, 1))
    problems: list[str] = []
    stand.begin()
    try:
        await _promote_first(stand, figures)
        await _settle(stand)
        await _undefended(stand, figures, faults)
        await _harmful(stand, figures)
    except (StageTimeout, ChildFailed, CommandRefused, DaemonUnreachable) as error:
        problems.append(f"drill: {error}")
    stand.watch.stage(None)
    figures.seconds = round(stand.seconds, 1)
    await stand.users.stop()
    figures.stages = {name: round(s, 1) for name, s in stand.watch.seconds.items()}
    figures.requests = stand.journal.requests
    figures.failed = stand.journal.failed + stand.journal.feedback_failed
    figures.failures = problems + drill_failures(figures, limit_s)
    figures.ok = not figures.failures
    return figures


async def _promote_first(stand: Stand, figures: DrillFigures) -> None:
    # The silent desk is still asked: the first version keeps what is replayed. It leaves when the new desk appears.
    stand.mix.change(even(list(stand.world.old_desks)))
    await quiet(stand, stand.script.quiet_exchanges)
    at = appear(stand, stand.world.new_desks[0], "drift")
    before = stand.watcher.seen.status.get("champion")
    status = await follow(stand, at, before, stand.script.scenario_s - stand.seconds)
    figures.promoted = str(status["champion"])
    stand.mark("promoted")
    stand.say(f"promoted: {figures.promoted}")


async def _settle(stand: Stand) -> None:
    """The same traffic a little longer: a mix that changed now would be a drift, and answered as one."""
    stand.watch.stage("settle")
    stand.users.phase = "settle"
    target = stand.journal.requests + SETTLE_EXCHANGES
    while stand.journal.requests < target:
        stand.check()
        await asyncio.sleep(LOOK_S)


async def _adapt(stand: Stand, reason: str, overrides: Json) -> str:
    """Ask for an adaptation with config overrides; the cycle's id. Raises CommandRefused, DaemonUnreachable."""
    answer: Any = await stand.watcher.client.post("/api/v1/adapt", {"reason": reason, "overrides": overrides})
    return str(cast("Json", answer).get("cycle"))


async def _cycle_end(stand: Stand, cycle: str, deadline_s: float, prefix: str) -> Json:
    """Wait until a cycle is over, timing its stages. Raises StageTimeout, ChildFailed."""
    until = time.monotonic() + deadline_s
    while True:
        stand.check()
        stage = stage_of(stand.watcher.seen.status)
        if stage is not None and f"{prefix}_{stage}" != stand.watch.name:
            stand.enter(stage, f"{prefix}_")
        cycles = listed(await stand.watcher.client.get("/api/v1/cycles"), "cycles")
        found = next((c for c in cycles if c.get("id") == cycle), None)
        if found is not None and found["phase"] in CYCLE_OVER:
            return found
        if time.monotonic() > until:
            raise StageTimeout(f"the end of cycle {cycle}", deadline_s, str(found))
        await asyncio.sleep(2 * LOOK_S)


async def _undefended(stand: Stand, figures: DrillFigures, faults: Faults) -> None:
    began_at = stand.mark("selection off")
    stand.watch.stage("undefended")
    faults.arm()
    cycle = await _adapt(stand, "drill: the same feedback with selection off", SELECTION_OFF)
    # The buffer is built from the feedback up to now; what follows is for the next candidate.
    await stand.watcher.until(
        lambda seen: stage_of(seen.status) not in (None, "collect"), 30.0, "the buffer of the undefended version"
    )
    appear(stand, stand.world.new_desks[1], "second desk")
    ended = await _cycle_end(stand, cycle, 150.0, "undefended")
    await stand.watcher.look()
    events = list(stand.watcher.seen.events)
    figures.undefended = undefended_figures(events, ended)
    figures.trainer = trainer_figures(events, cycle)
    figures.trainer.failed_requests = sum(not r.ok for r in stand.journal.between(began_at))
    u, t = figures.undefended, figures.trainer
    stand.say(f"selection off: {u.verdict} by {u.stopped_by} ({u.reason})")
    stand.say(
        f"trainer: {t.killed} killed, {t.non_finite} NaN, {t.attempts} attempts, {t.failed_requests} failed requests"
    )


async def _second_labels(stand: Stand) -> None:
    """Wait for the second desk's own alarm, which names the slice to learn, and for its corrections."""
    stand.watch.stage("second_labels")
    stand.users.pace(stand.script.users.rate)  # the gate's pace would take minutes
    desk = stand.world.new_desks[1]
    since = next(at for at, word in stand.marks if word == "second desk")

    def enough(seen: Seen) -> bool:
        told = any(float(a["at"]) >= since for a in acting_alarms(seen))
        said = sum(1 for s in stand.journal.said if s.desk == desk and s.correction is not None and not s.hostile)
        return told and said >= SECOND_CORRECTIONS

    await stand.watcher.until(enough, 90.0, f"an alarm for {desk} and {SECOND_CORRECTIONS} of its corrections")


async def _harmful(stand: Stand, figures: DrillFigures) -> None:
    await _second_labels(stand)
    silent = list(stand.world.silent_desks)
    cycle = await _adapt(stand, "drill: a candidate that leaves the silent desk unprotected", UNPROTECTED)
    following = asyncio.create_task(_cycle_end(stand, cycle, 240.0, "harmful"))
    try:
        rollout = await _canary_or_end(stand, following)
        left = [*stand.world.present_desks, stand.world.new_desks[0]]
        stand.mix.change({**even(silent, SILENT_SHARE), **even(left, 1.0 - SILENT_SHARE)})
        returned_at = stand.mark("silent desk returns")
        stand.say(f"{', '.join(silent)} returns with {SILENT_SHARE:.0%} of the traffic, the second desk leaves")
        ended = await _rollout_end(stand, str(rollout["id"]), 120.0)
        seen_at = stand.mark("canary over")
        await asyncio.sleep(WATCH_AFTER_S)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    candidate = str(rollout["candidate"])
    events, served = list(stand.watcher.seen.events), list(stand.journal.served)
    gate = gate_event(events, cycle)
    asked = [r for r in served if r.desk in silent and returned_at <= r.sent_at < seen_at]
    figures.harmful = Harmful(
        verdict=str(ended["phase"]),
        reason=str(ended.get("reason")),
        routed_after=routed_after(served, candidate, seen_at, last_dispatch(await stand.gateway.state(), candidate)),
        units=sum(integer(part(ended, "units"), arm) or 0 for arm in ("control", "canary")),
        suspended=suspended(events, str(rollout["id"])),
        gate=None if gate is None else gate_verdict(gate),
        silent_right={arm: accuracy(r for r in asked if r.arm == arm)[0] for arm in ("control", "canary")},
    )
    h = figures.harmful
    stand.say(f"harmful candidate: {h.verdict} ({h.reason}) after {h.units} units, {h.suspended} examples suspended")


async def _canary_or_end(stand: Stand, following: asyncio.Task[Json]) -> Json:
    """The rollout when its candidate first answers users. Raises StageTimeout when the cycle ends before that."""
    began = asyncio.create_task(canary_began(stand, None, 200.0, "the canary of the harmful candidate"))
    await asyncio.wait({began, following}, return_when=asyncio.FIRST_COMPLETED)
    if not began.done():
        began.cancel()
        ended = following.result()
        raise StageTimeout("the canary of the harmful candidate", 0.0, f"its cycle ended: {ended.get('reason')}")
    return began.result()


async def _rollout_end(stand: Stand, rollout: str, deadline_s: float) -> Json:
    """The rollout once it is over. Raises StageTimeout, ChildFailed."""
    until = time.monotonic() + deadline_s
    while True:
        stand.check()
        found = cast("Json", await stand.watcher.client.get(f"/api/v1/rollouts/{rollout}"))
        if found["phase"] in FINAL:
            return found
        if time.monotonic() > until:
            raise StageTimeout(
                f"the end of rollout {rollout}", deadline_s, str(part(stand.watcher.seen.status, "rollout"))
            )
        await asyncio.sleep(LOOK_S)
