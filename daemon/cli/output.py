"""How results are printed: JSON as it came, or lines for a person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import typer

Json = dict[str, Any]


def show(document: Any, as_json: bool, human: str) -> None:
    """Print one result."""
    typer.echo(json.dumps(document) if as_json else human)


def table(rows: Sequence[Json], columns: Sequence[str]) -> str:
    """Columns of equal width; a line that says so when there is nothing."""
    if not rows:
        return "none"
    cells = [
        [column.replace("_", " ") for column in columns],
        *[[cell(row.get(c), c) for c in columns] for row in rows],
    ]
    widths = [max(len(line[n]) for line in cells) for n in range(len(columns))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def cell(value: Any, column: str = "") -> str:
    """One value: times as local clock time, floats short, nothing as a dash."""
    if value is None or value == "":
        return "-"
    if isinstance(value, int | float) and not isinstance(value, bool) and (column == "at" or column.endswith("_at")):
        return datetime.fromtimestamp(value).strftime("%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)


def part(document: Json, key: str) -> Json:
    """An object inside a document; empty where it is null or absent."""
    return cast("Json", document.get(key) or {})


def parts(document: Json, key: str) -> list[Json]:
    """A list of objects inside a document; empty where it is null or absent."""
    return cast("list[Json]", document.get(key) or [])


def _pairs(values: Json) -> str:
    return " ".join(f"{key}={cell(value)}" for key, value in values.items())


def entries(rows: Sequence[Json]) -> str:
    """Entries of the ledger, one a line."""
    lines: list[str] = []
    for row in rows:
        who, data = f"{row['subject']}: {row['reason']} (by {row['actor']})", _pairs(part(row, "data"))
        lines.append(f"{row['id']:>6}  {cell(row['at'], 'at')}  {row['kind']:<18} {who}  {data}".rstrip())
    return "\n".join(lines) or "none"


def _version(found: Json, role: str) -> str:
    """A version, with its kind where that is not the usual one."""
    name = found.get(role)
    kind = part(found, "kinds").get(str(name), "lora")
    return cell(name) if kind == "lora" else f"{cell(name)} ({kind})"


def status(found: Json) -> str:
    """The status for a person."""
    route = part(found, "route")
    lines = [
        f"deployment  {found.get('deployment')}   mode {found.get('mode')}{'   PAUSED' if found.get('paused') else ''}",
        *_freeze(part(found, "freeze")),
        f"champion    {_version(found, 'champion')}   previous {_version(found, 'previous')}",
        f"route       epoch {cell(route.get('epoch'))}  control {cell(route.get('control'))}  candidate "
        f"{cell(route.get('candidate'))}  share {cell(route.get('share'))}",
        *(
            [f"            stands in for {route['stands_in_for']}, which no replica has"]
            if route.get("stands_in_for")
            else []
        ),
        *_learning(part(found, "cycle"), part(found, "rollout")),
    ]
    held = part(route, "holdback")
    if held:
        lines.append(f"holdback    {100.0 * float(held['share']):g} % of sessions stay on {held['anchor']}")
    for asked in parts(found, "labels"):
        until = cell(asked["deadline"], "at")
        about = f"alarm {asked['alarm']}"
        lines.append(f"labels      {asked['left']} more wanted for {asked['verdict']}, {about}, until {until}")
    for trouble in parts(found, "troubles"):
        since = cell(trouble.get("since"), "since_at")
        lines.append(f"TROUBLE     {trouble['where']}: {trouble['reason']} since {since}\n    {trouble['message']}")
    for replica in parts(found, "replicas"):
        models = ", ".join(replica.get("models") or []) or "no models"
        lines.append(f"replica     {replica['name']}  {'ready' if replica.get('ready') else 'NOT READY'}  {models}")
    monitors = part(found, "monitors")
    if monitors:
        lines.append("; ".join([f"monitors    {monitors.get('phase')}", *map(str, monitors.get("notes") or [])]))
    lines += [f"{title:<11} {_pairs(part(found, title)) or '-'}" for title in ("counts", "lag")]
    for alarm in parts(found, "alarms")[:5]:
        state = "confirmed" if alarm.get("confirmed") else "suspected"
        lines.append(
            f"alarm       {cell(alarm.get('at'), 'at')}  {alarm.get('kind')}  {alarm.get('detector')}  {state}"
        )
    return "\n".join(lines)


def _freeze(freeze: Json) -> list[str]:
    if not freeze:
        return []
    pairs = zip(freeze["rollouts"], freeze["reasons"], strict=True)
    named = ", ".join(f"{rollout} {reason}" for rollout, reason in pairs)
    return [
        f"FROZEN      since {cell(freeze['since'], 'since_at')}: {freeze['rollbacks']} rollbacks in a row ({named})",
        f"            no cycle starts by itself until: {freeze['resume']}",
    ]


def _learning(cycle: Json, rollout: Json) -> list[str]:
    lines: list[str] = []
    if cycle:
        head = f"cycle       {cycle['id']}  {cycle['phase']}  ({cycle.get('reason')})"
        lines.append(f"{head}  {_pairs(part(cycle, 'counts'))}".rstrip())
    if rollout:
        head = f"rollout     {rollout['id']}  {rollout['phase']}  share {cell(rollout.get('share'))}"
        lines.append(f"{head}  ({rollout.get('reason')})")
    for name, one in part(rollout, "evidence").items():
        numbers = "  ".join(f"{key} {cell(one.get(key))}" for key in ("e", "needs", "units"))
        lines.append(f"  {name:<26} {numbers}")
    return lines
