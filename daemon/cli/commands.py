"""Verbs that command: rollback, promote, approve, abort, pause, resume, adapt."""

from __future__ import annotations

import json
from typing import Annotated, Any, cast

import typer

from daemon.cli import output
from daemon.cli.looks import client
from daemon.cli.options import ConfigOption, HomeOption, JsonOption, ReasonOption


def _plain(verb: str, document: Any) -> str:
    pairs = "  ".join(f"{key} {output.cell(value, key)}" for key, value in cast("output.Json", document or {}).items())
    return f"{verb}: {pairs or 'done'}"


def rollback(
    to: Annotated[str | None, typer.Option("--to", help="A version to go back to; default: the previous one.")] = None,
    suspend_data: Annotated[
        bool, typer.Option("--suspend-data", help="Keep its new examples out of later training.")
    ] = False,
    reason: ReasonOption = "",
    config: ConfigOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go back at once. Works during every phase; the version that is left is denied for good."""
    body = {"to": to, "reason": reason, "suspend_data": suspend_data}
    found = client(config, home).post("/api/v1/rollback", body)
    gateways = output.part(found, "gateways")
    acknowledged = sum(bool(ok) for ok in gateways.values())
    human = (
        f"rolled back from {found.get('from')} to {found.get('to')} in {output.cell(found.get('ms'))} ms "
        f"(epoch {found.get('epoch')}, {acknowledged} of {len(gateways)} gateways)"
    )
    output.show(found, as_json, human)


def _command(verb: str, reason: str, config: ConfigOption, home: HomeOption, as_json: bool) -> None:
    found = client(config, home).post(f"/api/v1/{verb}", {"reason": reason})
    output.show(found, as_json, _plain(verb, found))


def promote(
    reason: ReasonOption = "", config: ConfigOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Promote the candidate of the running rollout now, whatever the evidence says."""
    _command("promote", reason, config, home, as_json)


def approve(
    version: Annotated[str | None, typer.Argument(help="A denied version that may be routed again.")] = None,
    examples: Annotated[
        bool, typer.Option("--examples", help="Also learn again from the examples that its rollback suspended.")
    ] = False,
    reason: ReasonOption = "",
    config: ConfigOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Allow the canary or the promotion that waits; with VERSION and --reason, lift the denial of a version."""
    from daemon.faults import ConfigError

    if version is None and examples:
        raise ConfigError("--examples: expected a VERSION beside it, whose suspended examples may be learned from")
    body = {"reason": reason} | ({} if version is None else {"version": version, "examples": examples})
    found = client(config, home).post("/api/v1/approve", body)
    output.show(found, as_json, _plain("approve", found))


def abort(
    reason: ReasonOption = "", config: ConfigOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """End the running rollout or cycle; the champion stays."""
    _command("abort", reason, config, home, as_json)


def pause(
    reason: ReasonOption = "", config: ConfigOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Start nothing new until `resume`."""
    _command("pause", reason, config, home, as_json)


def resume(
    reason: ReasonOption = "", config: ConfigOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Go on after `pause`. After a freeze by rollbacks it needs --reason, and the count of rollbacks begins anew."""
    _command("resume", reason, config, home, as_json)


def adapt(
    overrides: Annotated[str, typer.Option("--overrides", help="JSON object of settings for this cycle alone.")] = "{}",
    reason: ReasonOption = "",
    config: ConfigOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a learning cycle now, without an alarm."""
    from daemon.faults import ConfigError

    try:
        settings = json.loads(overrides)
    except ValueError as error:
        raise ConfigError(f"--overrides: expected a JSON object, got {overrides!r}: {error}") from error
    found = client(config, home).post("/api/v1/adapt", {"reason": reason, "overrides": settings})
    output.show(found, as_json, _plain("adapt", found))
