"""What a person sees while a run goes on: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from daemon.demo.daemon_client import Seen
from daemon.demo.documents import Json, number, part
from daemon.demo.journal import Journal, Served, accuracy
from daemon.demo.stages import acting_alarms

WINDOW_S = 10.0
"""Seconds of traffic behind the figures on the screen."""
PLAIN_EVERY_S = 5.0
LIVE_EVERY_S = 0.5
TAIL = 6
"""Ledger rows shown."""


@dataclass(frozen=True, slots=True)
class Look:
    """One line of figures, ready to be shown."""

    seconds: float
    stage: str
    rate: float
    by_desk: list[tuple[str, float | None, int]]
    failed: int
    alarms: list[str]
    route: str
    evidence: list[tuple[str, float]]
    ledger: list[str]

    def plain(self) -> str:
        """The line for a log file."""
        desks = " ".join(f"{name} {right:.2f}" for name, right, _ in self.by_desk if right is not None)
        e = " ".join(f"{name} {value:.3g}" for name, value in self.evidence)
        parts = [f"[{self.seconds:5.0f} s] {self.stage}", f"{self.rate:.0f} req/s", desks, self.route, e]
        if self.failed:
            parts.append(f"{self.failed} FAILED")
        return " · ".join(p for p in parts if p)


def look(seen: Seen, journal: Journal, new_desks: frozenset[str], stage: str, seconds: float, now: float) -> Look:
    """The figures of the last seconds."""
    rows = journal.between(now - WINDOW_S)
    old = [r for r in rows if r.desk not in new_desks]
    by_desk: list[tuple[str, float | None, int]] = [("old desks", *accuracy(old))]
    for desk in sorted(new_desks):
        mine = [r for r in rows if r.desk == desk]
        if mine:
            by_desk.append((desk, *accuracy(mine)))
    evidence = list(seen.snapshots[-1].evidence.items()) if seen.snapshots else []
    alarms = [f"{a['kind']} by {a['detector']}" for a in acting_alarms(seen)]
    return Look(
        seconds,
        stage,
        len(rows) / WINDOW_S,
        by_desk,
        journal.failed + journal.feedback_failed,
        alarms,
        _route(seen.status, rows),
        evidence,
        [_event(e) for e in list(seen.events)[-TAIL:]],
    )


def _route(status: Json, rows: list[Served]) -> str:
    route = part(status, "route")
    control, candidate, share = route.get("control") or "base", route.get("candidate"), number(route, "share")
    if not candidate or not share:
        return f"serving {control}"
    canary = [r for r in rows if r.arm == "canary"]
    seen = f", {len(canary) / len(rows):.0%} of requests" if rows else ""
    return f"serving {control} + {candidate} at {share:.0%}{seen}"


def _event(event: Json) -> str:
    return f"{event.get('kind')} {event.get('subject')}: {event.get('reason')}"


class Screen:
    """Shows a ``Look`` twice a second (terminal) or every five seconds (elsewhere), and lines in between."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._task: asyncio.Task[None] | None = None
        self._live: Live | None = None

    def say(self, line: str) -> None:
        """One line that stays."""
        self.console.print(Text(line))

    def start(self, source: Callable[[], Look]) -> None:
        """Begin to show what ``source`` gives."""
        self._task = asyncio.create_task(self._forever(source))

    async def stop(self) -> None:
        """Stop showing; idempotent."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._live is not None:
            self._live.stop()
            self._live = None

    async def _forever(self, source: Callable[[], Look]) -> None:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=2, transient=True)
            self._live.start()
        shown_at = time.monotonic()
        while True:
            await asyncio.sleep(LIVE_EVERY_S)
            if self._live is not None:
                self._live.update(panel(source()))
            elif time.monotonic() - shown_at >= PLAIN_EVERY_S:
                shown_at = time.monotonic()
                self.say(source().plain())


def panel(shown: Look) -> Panel:
    """The live panel."""
    grid = Table.grid(padding=(0, 2))
    grid.add_row("traffic", f"{shown.rate:.0f} requests/s, {shown.failed} failed")
    for name, right, count in shown.by_desk:
        grid.add_row(f"right, {name}", "-" if right is None else f"{right:.0%} of {count}")
    grid.add_row("route", shown.route)
    grid.add_row("alarms", ", ".join(shown.alarms) or "none confirmed")
    for name, value in shown.evidence:
        grid.add_row(f"e-value, {name}", f"{value:.3g}")
    ledger = Text("\n".join(shown.ledger), style="dim")
    return Panel(Group(grid, Text(""), ledger), title=f"homeostat · {shown.stage} · {shown.seconds:.0f} s")
