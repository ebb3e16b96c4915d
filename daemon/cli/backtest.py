"""``homeostat backtest``: what this policy, or another, would have said of recorded traffic."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from daemon.cli import output
from daemon.cli.options import ConfigOption, HomeOption, JsonOption, ReasonOption, config_file

_UNITS: Final = {"m": 60.0, "h": 3600.0, "d": 86400.0}
_WHEN = 'A time: "2026-01-03", "2026-01-03T04:00" (local), seconds since 1970, or "36h" and "7d" ago.'


def backtest(
    since: Annotated[str, typer.Option("--from", help=_WHEN)],
    until: Annotated[str, typer.Option("--to", help="As --from; 0h is now.")] = "0h",
    config: ConfigOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    reason: ReasonOption = "",
) -> None:
    """Recorded traffic through the same core: alarms, buffers and verdicts that the policy of --config would have
    given. Works on a copy, also while the daemon runs; writes nothing into the home folder."""
    from daemon.backtest.replay import Window
    from daemon.backtest.run import run_backtest

    del reason
    now = time.time()
    window = Window(instant("--from", since, now), instant("--to", until, now))
    found = run_backtest(_policy(config, home), window)
    output.show(found, as_json, summary(found))


def instant(option: str, text: str, now: float) -> float:
    """Seconds since 1970 of what a person wrote. Raises ConfigError.

    >>> instant("--from", "2h", 10_000.0)
    2800.0
    """
    from daemon.faults import ConfigError

    try:
        if text[-1:] in _UNITS:
            return now - float(text[:-1]) * _UNITS[text[-1]]
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ConfigError(f"{option}: expected {_WHEN[2:].lower()[:-1]}, got {text!r}") from None


def _policy(config: Path | None, home: Path | None) -> Any:
    """The config; with both options the policy of one file on the home of another."""
    from daemon.config import load_config

    both = config is not None and home is not None
    return load_config(config_file(config, home), {"home": str(home.resolve())} if both and home is not None else None)


def summary(found: output.Json) -> str:
    """A document of a backtest for a person."""
    window, events = output.part(found, "window"), output.part(found, "events")
    lines = [
        f"replayed {events['exchanges']} exchanges and {events['feedback']} feedback from "
        f"{output.cell(window['replayed_from'], 'at')}; asked about {output.cell(window['from'], 'at')} to "
        f"{output.cell(window['until'], 'at')}",
        "",
        "ALARMS",
        *_alarms(output.parts(found, "alarms"), output.parts(found, "recorded_alarms")),
        "",
        "BUFFERS",
        *_cycles(output.parts(found, "cycles")),
        f"on the day: {_count(output.parts(found, 'recorded_cycles'), 'cycles')}",
        "",
        "VERDICTS",
        output.table([_rollout(r) for r in output.parts(found, "rollouts")], _ROLLOUT),
    ]
    notes: list[str] = found.get("notes") or []
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])


def _alarms(would_be: list[output.Json], recorded: list[output.Json]) -> list[str]:
    """Primary ones by name; informers, which are many and act on nothing, by number."""
    primary = [a for a in would_be if a["primary"]]
    rows = [a | {"state": "confirmed" if a["confirmed"] else "dismissed"} for a in primary]
    confirmed = [a for a in recorded if a["primary"] and a["confirmed"]]
    return [
        output.table(rows, ("at", "kind", "detector", "state", "answer", "terms")),
        f"and {_count([a for a in would_be if not a['primary']], 'of informers')}; "
        f"on the day: {_count(confirmed, 'confirmed')} of {_count(recorded, 'in all')}",
    ]


def _cycles(cycles: list[output.Json]) -> list[str]:
    if not cycles:
        return ["none"]
    lines: list[str] = []
    for cycle in cycles:
        labels = f" with {cycle['labels']} labels" if "labels" in cycle else ""
        at = output.cell(cycle["started_at"], "at")
        lines.append(f"{at}  {cycle['started_by']} ({cycle['alarm']}): {cycle['outcome']}{labels}")
        buffer = output.part(cycle, "buffer")
        if buffer:
            sizes = "  ".join(f"{role} {n}" for role, n in output.part(buffer, "roles").items())
            lines.append(f"    {buffer['digest'][:12]} at {output.cell(buffer['built_at'], 'at')}: {sizes}")
            left = "  ".join(f"{why} {n}" for why, n in output.part(buffer, "left_out").items())
            lines += [f"    left out: {left}"] if left else []
    return lines


_ROLLOUT: Final = ("rollout", "candidate", "on the day", "units", "this policy", "its units", "why", "same")


def _rollout(row: output.Json) -> output.Json:
    recorded, would_be = output.part(row, "recorded"), output.part(row, "would_be")
    verdict = would_be["phase"] or f"undecided in {would_be['reached']}"
    values = (
        row["id"], row["candidate"], recorded["phase"], recorded["units"], verdict, would_be["units"],
        would_be["reason"], row["same"],
    )  # fmt: skip
    return dict(zip(_ROLLOUT, values, strict=True))


def _count(rows: list[output.Json], what: str) -> str:
    return f"{len(rows)} {what}"
