"""``homeostat init``: a config beside what runs already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import JsonOption, ReasonOption


def init(
    home: Annotated[Path, typer.Option("--home", envvar="HOMEOSTAT_HOME", help="Folder to write into.")] = Path(),
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="A running server, as in http://127.0.0.1:8000; it is only asked.")
    ] = None,
    alias: Annotated[
        str | None, typer.Option("--alias", help="The model name that clients send; default: the first served.")
    ] = None,
    kafka: Annotated[
        str | None, typer.Option("--kafka", help="Brokers, host:port, comma-separated; default: a SQLite log.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing config.")] = False,
    as_json: JsonOption = False,
    reason: ReasonOption = "",
) -> None:
    """Write homeostat.yaml (mode observe), gateway.json and the keys. Changes nothing outside the folder."""
    from daemon.cli import output
    from daemon.init_home import Wish, init_home

    del reason
    brokers = tuple(part.strip() for part in (kafka or "").split(",") if part.strip())
    written = init_home(Wish(home, base_url, alias, brokers, force))
    notes = "\n".join(f"note: {note}" for note in written.notes)
    human = f"wrote {written.config} and {written.gateway}\n{notes}\nnext: homeostat run --config {written.config}"
    found = {"config": str(written.config), "gateway": str(written.gateway), "notes": list(written.notes)}
    output.show(found, as_json, human)
