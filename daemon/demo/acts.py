"""The acts that demo and drill share: quiet traffic, a desk that appears, the wait for a promotion, the commands."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import orjson

from daemon.demo.children import ChildFailed
from daemon.demo.daemon_client import Seen, StageTimeout
from daemon.demo.documents import Json, integer, part
from daemon.demo.mix import even
from daemon.demo.stages import acting_alarms, live_rollout, stage_of
from daemon.demo.stand import Stand, cli

LOOK_S = 0.25


async def quiet(stand: Stand, exchanges: int) -> None:
    """Old desks only, until that many exchanges are served and the daemon has read them, or time is up."""
    stand.watch.stage("quiet")
    stand.users.phase = "quiet"
    stand.users.start()
    until = time.monotonic() + stand.script.quiet_s
    while stand.journal.requests < exchanges and time.monotonic() < until:
        await asyncio.sleep(LOOK_S)
        stand.check()
    served = stand.journal.requests - stand.journal.failed
    await stand.watcher.until(
        lambda seen: (integer(part(seen.status, "counts"), "exchanges") or 0) >= served * 0.95,
        20.0,
        f"the daemon to read the first {served} exchanges",
    )
    stand.say(f"quiet traffic: {stand.journal.requests} exchanges on {len(stand.world.present_desks)} desks")


def appear(stand: Stand, desk: str, word: str) -> float:
    """A new desk takes its share of the traffic; returns the wall-clock time."""
    share = stand.script.new_share
    stand.mix.change({desk: share, **even(list(stand.world.present_desks), 1.0 - share)})
    stand.users.phase = f"drift:{desk}"
    stand.watch.stage("alarm")
    at = stand.mark(word)
    stand.say(f"{word}: {desk} is {share:.0%} of the traffic from here on")
    return at


async def follow(stand: Stand, drift_at: float, before: str | None, deadline_s: float) -> Json:
    """Time the stages from the drift to a champion other than ``before``. Raises StageTimeout, ChildFailed."""
    until = time.monotonic() + deadline_s
    told: set[str] = set()
    while True:
        stand.check()
        _tell(stand, drift_at, told)
        status = stand.watcher.seen.status
        stage = stage_of(status)
        if stage is not None and stage != stand.watch.name:
            stand.enter(stage)
        if status.get("champion") not in (None, before) and stage is None:
            return status
        if time.monotonic() > until:
            raise StageTimeout("a promotion", deadline_s, _where(stand.watcher.seen))
        await asyncio.sleep(LOOK_S)


def _tell(stand: Stand, drift_at: float, told: set[str]) -> None:
    for alarm in acting_alarms(stand.watcher.seen):
        key = str(alarm["alarm_id"])
        if key in told or float(alarm["at"]) < drift_at:
            continue
        told.add(key)
        terms = ", ".join(cast("list[str]", part(alarm, "slice").get("terms") or [])[:6])
        stand.marks.append((float(alarm["at"]), f"alarm: {alarm['kind']}"))
        stand.say(f"confirmed alarm: {alarm['kind']} drift by {alarm['detector']} {f'({terms})' if terms else ''}")


def _where(seen: Seen) -> str:
    last = [f"{e.get('kind')} {e.get('reason')}" for e in list(seen.events)[-4:]]
    return f"stage {stage_of(seen.status)}, champion {seen.status.get('champion')}, ledger ends: {'; '.join(last)}"


async def canary_began(stand: Stand, candidate_other_than: str | None, deadline_s: float, what: str) -> Json:
    """The first look at which a new candidate answers users. Raises StageTimeout."""

    def live(seen: Seen) -> Json | None:
        rollout = live_rollout(seen)
        return rollout if rollout and rollout["candidate"] != candidate_other_than else None

    return await stand.watcher.until(live, deadline_s, what)


async def command(stand: Stand, *words: str) -> tuple[int, Json, str]:
    """Run ``homeostat`` as a person would, with ``--json``: exit code, its document, and what it said on stderr."""
    process = await asyncio.create_subprocess_exec(
        *cli(*words, "--json", "--config", str(stand.home.config)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    try:
        document: Any = orjson.loads(out)
    except orjson.JSONDecodeError:
        document = {}
    if process.returncode is None:
        raise ChildFailed(f"homeostat {words[0]} did not end")
    said = err.decode(errors="replace")
    return process.returncode, cast("Json", document if isinstance(document, dict) else {}), said
