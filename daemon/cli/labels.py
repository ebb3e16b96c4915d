"""``homeostat labels``: which labels are wanted, what for, and of which exchanges."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli import output
from daemon.cli.looks import client
from daemon.cli.options import ConfigOption, HomeOption, JsonOption, ReasonOption

LINE = 80


def labels(
    text: Annotated[bool, typer.Option("--text", help="With prompts and replies (scope operate).")] = False,
    config: ConfigOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    reason: ReasonOption = "",
) -> None:
    """Labels that are wanted: open requests, and the unrated exchanges that would help them most."""
    del reason
    found = client(config, home).get("/api/v1/labels", text=str(text).lower())
    output.show(found, as_json, _plain(found))


def _plain(found: output.Json) -> str:
    requests = output.parts(found, "requests")
    still = [r for r in requests if not r["end"]]
    lines = [_request(r) for r in (still or requests[-1:])] or ["no labels were asked for"]
    rows = output.parts(found, "exchanges")
    if rows:
        short = [{k: _short(v) if k in ("prompt", "reply") else v for k, v in row.items()} for row in rows]
        columns = [c for c in ("exchange_id", "at", "session", "request", "prompt", "reply") if c in rows[0]]
        lines += ["", output.table(short, columns)]
    return "\n".join(lines)


def _request(one: output.Json) -> str:
    what = f"{one['id']}  for {one['verdict']}  {one['got']} of {one['needed']}"
    about = f"alarm {one['alarm']}" + (f"  cycle {one['cycle']}" if one["cycle"] else "")
    until = f"until {output.cell(one['deadline'], 'at')}" if not one["end"] else str(one["end"])
    return f"{what}  {until}  {about}  slice {output.cell(one['slice'])}"


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= LINE else text[: LINE - 3] + "..."
