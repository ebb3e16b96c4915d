"""The daemon as an operator sees it: its public API, polled."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import aiohttp
import orjson

from daemon.demo.documents import Json, listed, number, part

T = TypeVar("T")

POLL_S = 0.5
"""Seconds between two looks at the status: the demo's tick."""
EVENTS_KEPT = 20_000
SNAPSHOTS_KEPT = 4_000


class DaemonUnreachable(Exception):
    """The peer's: the daemon's API gave no answer."""


class CommandRefused(Exception):
    """The daemon answered a command with an error; the message is its own."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status


class StageTimeout(Exception):
    """Something that the scenario waits for did not happen in time."""

    def __init__(self, what: str, deadline_s: float, seen: str) -> None:
        super().__init__(f"waited {deadline_s:.0f} s for {what}; the daemon last said: {seen}")
        self.what = what


class DaemonClient:
    """Reads status and events, sends commands."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=30.0), headers={"authorization": f"Bearer {token}"}
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def get(self, path: str, **query: str | int) -> Any:
        """A document of the API. Raises DaemonUnreachable, CommandRefused."""
        return await self._call("GET", path, params={k: str(v) for k, v in query.items()})

    async def post(self, path: str, body: Json) -> Any:
        """A command. Raises DaemonUnreachable, CommandRefused."""
        return await self._call("POST", path, data=orjson.dumps(body), headers={"content-type": "application/json"})

    async def _call(self, method: str, path: str, **kwargs: Any) -> Any:
        try:
            async with self._http.request(method, self._url + path, **kwargs) as response:
                raw = await response.read()
                if response.status >= 400:
                    raise CommandRefused(response.status, raw[:500].decode(errors="replace"))
                return orjson.loads(raw) if raw else None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise DaemonUnreachable(f"{method} {self._url}{path}: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at the status, cut to what the charts need."""

    at: float
    cycle: str | None
    rollout: str | None
    share: float | None
    evidence: dict[str, float]
    """Name to e-value."""


@dataclass(slots=True)
class Seen:
    """What has been seen so far, bounded."""

    status: Json = field(default_factory=dict[str, Any])
    events: deque[Json] = field(default_factory=lambda: deque[Json](maxlen=EVENTS_KEPT))
    snapshots: deque[Snapshot] = field(default_factory=lambda: deque[Snapshot](maxlen=SNAPSHOTS_KEPT))
    alarms: dict[str, Json] = field(default_factory=dict[str, Json])
    unreachable: int = 0
    """Looks that got no answer."""


class Watcher:
    """Polls status and ledger in the background and lets the scenario wait for conditions on them."""

    def __init__(self, client: DaemonClient) -> None:
        self.client = client
        self.seen = Seen()
        self._changed = asyncio.Condition()
        self._after = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to poll."""
        self._task = asyncio.create_task(self._forever())

    async def stop(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _forever(self) -> None:
        while True:
            try:
                await self.look()
            except (DaemonUnreachable, CommandRefused):
                self.seen.unreachable += 1
            await asyncio.sleep(POLL_S)

    async def look(self) -> None:
        """One look now. Raises DaemonUnreachable, CommandRefused."""
        status = cast("Json", await self.client.get("/api/v1/status"))
        events = listed(await self.client.get("/api/v1/events", after=self._after, limit=500), "events")
        async with self._changed:
            self.seen.status = status
            for event in events:
                self._after = max(self._after, int(event["id"]))
                self.seen.events.append(event)
            for alarm in listed(status, "alarms"):
                self.seen.alarms[str(alarm["alarm_id"])] = alarm
            self.seen.snapshots.append(_snapshot(status))
            self._changed.notify_all()

    async def until(self, condition: Callable[[Seen], T | None], deadline_s: float, what: str) -> T:
        """The first truthy result of a condition on what has been seen. Raises StageTimeout."""
        until = time.monotonic() + deadline_s
        async with self._changed:
            while not (result := condition(self.seen)):
                left = until - time.monotonic()
                if left <= 0.0:
                    raise StageTimeout(what, deadline_s, describe(self.seen.status))
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), min(left, 5.0))
        return result


def describe(status: Json) -> str:
    """One line on where the daemon is, for messages."""
    cycle, rollout = part(status, "cycle"), part(status, "rollout")
    parts = [
        f"champion {status.get('champion')}",
        f"cycle {cycle.get('phase')} ({cycle.get('reason')})" if cycle else "no cycle",
        f"rollout {rollout.get('phase')} ({rollout.get('reason')})" if rollout else "no rollout",
        f"{len(listed(status, 'alarms'))} alarms",
        f"counts {status.get('counts')}",
    ]
    return ", ".join(parts)


def _snapshot(status: Json) -> Snapshot:
    cycle, rollout = part(status, "cycle"), part(status, "rollout")
    found = {name: number(part(rollout["evidence"], name), "e") for name in part(rollout, "evidence")}
    evidence = {name: e for name, e in found.items() if e is not None}
    return Snapshot(time.time(), cycle.get("phase"), rollout.get("phase"), number(rollout, "share"), evidence)
