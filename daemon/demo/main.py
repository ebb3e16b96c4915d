"""Entries of ``homeostat demo`` and ``homeostat drill``: put the stand up, play, write the figures, say what failed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from daemon.demo.children import ChildFailed
from daemon.demo.daemon_client import CommandRefused, DaemonUnreachable
from daemon.demo.drill import DRILL, DRILL_CONFIG, Faults, play_drill
from daemon.demo.drill_figures import DrillFigures
from daemon.demo.figures import DemoFigures
from daemon.demo.options import DemoOptions, Script, script_for
from daemon.demo.report import Story, write_report
from daemon.demo.scenario import play
from daemon.demo.screen import Screen
from daemon.demo.stand import SetupError, standing
from daemon.demo.world.questions import WorldError

OK, FAILED, USAGE = 0, 1, 2
INTERRUPTED = 130


def run_demo(options: DemoOptions) -> int:
    """Run the demo. Exit code 0: every check holds; 1: some fail, by name; 2: an option or the machine is wrong."""
    return _run(lambda screen: _demo(options, script_for(options), screen))


def _run(work: Callable[[Screen], Coroutine[Any, Any, int]]) -> int:
    screen = Screen()
    try:
        return asyncio.run(_interruptible(work(screen)))
    except (SetupError, WorldError) as error:
        screen.say(f"error: {error}")
        return USAGE
    except (ChildFailed, DaemonUnreachable, CommandRefused) as error:
        screen.say(f"error: {error}")
        return FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        screen.say("interrupted; everything that was started is stopped")
        return INTERRUPTED


async def _interruptible(work: Awaitable[int]) -> int:
    """SIGTERM ends a run as Ctrl-C does: through the clean-up."""
    task = asyncio.ensure_future(work)
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def run_drill(options: DemoOptions) -> int:
    """Run the drill. Exit codes as of ``run_demo``."""
    return _run(lambda screen: _drill(options, DRILL, screen))


async def _demo(options: DemoOptions, script: Script, screen: Screen) -> int:
    check_json(options.json_path)
    async with standing(options, script, screen) as stand:
        figures = await play(stand)
        await screen.stop()
        report = stand.out / "report.html"
        rows = _rows(figures)
        story = Story("homeostat demo", stand.began_at, rows, figures.failures, stand.marks)
        write_report(report, story, stand.journal, stand.watcher.seen, frozenset(stand.world.new_desks))
    write_json(options.json_path, figures.model_dump())
    show(screen, "homeostat demo", rows, figures.failures, report)
    return OK if figures.ok else FAILED


async def _drill(options: DemoOptions, script: Script, screen: Screen) -> int:
    check_json(options.json_path)
    with tempfile.TemporaryDirectory(prefix="homeostat-drill-") as folder:
        faults = Faults(Path(folder))
        setting = standing(
            options, script, screen, new_desks=2, silent_desks=1, over=DRILL_CONFIG, env=faults.disarmed()
        )
        async with setting as stand:
            figures = await play_drill(stand, faults, script.scenario_s)
            await screen.stop()
            report, rows = stand.out / "report.html", _drill_rows(figures)
            story = Story("homeostat drill", stand.began_at, rows, figures.failures, stand.marks)
            write_report(report, story, stand.journal, stand.watcher.seen, frozenset(stand.world.new_desks))
    write_json(options.json_path, figures.model_dump())
    show(screen, "homeostat drill", rows, figures.failures, report)
    return OK if figures.ok else FAILED


def check_json(path: Path | None) -> None:
    """Find out before minutes of work whether the figures can be written. Raises SetupError."""
    if path is not None and not path.resolve().parent.is_dir():
        raise SetupError(f"expected a folder for --json {path}; make {path.resolve().parent} first")


def write_json(path: Path | None, document: dict[str, Any]) -> None:
    """Write one JSON object. Raises OSError."""
    if path is not None:
        path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


def show(screen: Screen, title: str, rows: list[tuple[str, str]], failed: list[str], report: Path) -> None:
    """The closing table, the failing checks by name, and where the report is."""
    table = Table(title=title, show_header=False)
    for name, value in rows:
        table.add_row(name, value)
    screen.console.print(table)
    for failure in failed:
        screen.say(f"FAILED {failure}")
    screen.say(f"{'every check holds' if not failed else f'{len(failed)} checks failed'}; report: {report}")


def known(value: object) -> str:
    """A figure for the table; what was not reached says so."""
    return "not reached" if value is None else str(value)


def _drill_rows(f: DrillFigures) -> list[tuple[str, str]]:
    undefended, harmful, trainer = f.undefended, f.harmful, f.trainer
    return [
        ("first promotion", str(f.promoted)),
        ("selection off", f"{undefended.verdict} by {undefended.stopped_by}: {undefended.reason}"),
        ("trainer", f"{trainer.killed} killed, {trainer.non_finite} NaN, {trainer.attempts} attempts"),
        ("requests failed meanwhile", str(trainer.failed_requests)),
        ("harmful candidate at the gate", str(harmful.gate)),
        ("... in its canary", f"{harmful.verdict}: {harmful.reason}, after {harmful.units} units"),
        ("... routed to it afterwards", str(harmful.routed_after)),
        ("... its examples suspended", str(harmful.suspended)),
        ("requests", f"{f.requests}, {f.failed} failed"),
        ("seconds", f"{f.seconds:.0f} (base training {f.base_seconds:.0f} more)"),
        ("stages", ", ".join(f"{name} {s:.0f}" for name, s in f.stages.items())),
    ]


def _rows(f: DemoFigures) -> list[tuple[str, str]]:
    def share(value: float | None) -> str:
        return "not reached" if value is None else f"{value:.1%}"

    back, new, old = f.rollback, f.new_desk, f.old_desks
    bound = "not reached" if old.loss_upper95 is None else f"{100 * old.loss_upper95:.2f} points"
    return [
        ("alarms before the drift", str(f.alarms.before)),
        (
            "alarm after it",
            "none" if f.alarms.kind is None else f"{f.alarms.kind}, after {f.alarms.delay_exchanges} exchanges",
        ),
        ("new desk", f"{share(new.before)} of {new.n_before} before, {share(new.after)} of {new.n} after"),
        ("the same corrections, TF-IDF", share(f.tfidf_baseline)),
        ("corrections used", known(f.corrections_used)),
        ("old desks", f"{share(old.before)} before, {share(old.after)} after, loss below {bound} (95 %, n {old.n})"),
        (
            "roll-back",
            "not reached" if back.ms is None else f"{back.ms} ms, {back.failed} of {back.requests} requests failed",
        ),
        ("... to the old version after the acknowledgement", known(back.dispatched_after_ack)),
        ("requests", f"{f.requests}, {f.failed} failed"),
        ("seconds", f"{f.seconds:.0f} (base training {f.base_seconds:.0f} more)"),
        ("stages", ", ".join(f"{name} {s:.0f}" for name, s in f.stages.items())),
    ]
