"""Verbs that look: status, versions, rollout, events."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any
from urllib.parse import quote

import typer

from daemon.cli import output
from daemon.cli.options import ConfigOption, HomeOption, JsonOption, ReasonOption, config_file

WATCH_S = 1.0
PAGE = 1000


def client(config: ConfigOption, home: HomeOption) -> Any:
    """The API of the daemon that the options name."""
    from daemon.cli.client import Client, target

    return Client(target(config_file(config, home)))


def status(
    config: ConfigOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, until Ctrl-C.")] = False,
    reason: ReasonOption = "",
) -> None:
    """Where everything is: champion, route, rollout with its evidence, cycle, replicas, alarms."""
    del reason  # a look needs none; scripts may pass it to every verb
    api = client(config, home)
    while True:
        found = api.get("/api/v1/status")
        if watch and not as_json and sys.stdout.isatty():
            typer.echo("\x1b[2J\x1b[H", nl=False)
        output.show(found, as_json, output.status(found))
        if not watch:
            return
        time.sleep(WATCH_S)


def versions(
    config: ConfigOption = None, home: HomeOption = None, as_json: JsonOption = False, reason: ReasonOption = ""
) -> None:
    """All versions, newest first: status, gate, buffer, denials."""
    del reason
    found = client(config, home).get("/api/v1/versions")
    rows = [
        row | {"gate": output.part(row, "gate").get("verdict"), "denied": output.part(row, "denied").get("reason")}
        for row in found
    ]
    columns = ("version", "kind", "status", "gate", "denied", "buffer", "parent", "created_at", "promoted_at")
    output.show(found, as_json, output.table(rows, columns))


def rollout(
    rollout_id: Annotated[str | None, typer.Argument(help="One rollout; without it, all of them.")] = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    reason: ReasonOption = "",
) -> None:
    """Rollouts, newest first, or one of them with its effects."""
    del reason
    api = client(config, home)
    if rollout_id is None:
        found = api.get("/api/v1/rollouts")
        columns = ("id", "candidate", "control", "phase", "active", "reason", "started_at", "ended_at")
        output.show(found, as_json, output.table(found, columns))
        return
    one = api.get(f"/api/v1/rollouts/{quote(rollout_id, safe='')}")
    fields = "\n".join(f"{key:<11} {output.cell(value, key)}" for key, value in one.items() if key != "intents")
    effects = output.table(one["intents"], ("at", "effect", "state", "reason", "args"))
    output.show(one, as_json, f"{fields}\n\n{effects}")


def events(
    after: Annotated[int, typer.Option("--after", help="Only entries behind this id.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C.")] = False,
    config: ConfigOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    reason: ReasonOption = "",
) -> None:
    """The ledger: every decision with its reason, oldest first."""
    del reason
    api = client(config, home)
    found: list[Any] = []
    while page := api.get("/api/v1/events", after=after, limit=PAGE):
        after = page[-1]["id"]
        found += page
        if len(page) < PAGE:
            break
    output.show(found, as_json, output.entries(found))
    while follow:
        time.sleep(WATCH_S)
        if page := api.get("/api/v1/events", after=after, limit=PAGE):
            after = page[-1]["id"]
            output.show(page, as_json, output.entries(page))
