"""Options that verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="The config file; default: homeostat.yaml in --home.", show_default=False),
]
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", envvar="HOMEOSTAT_HOME", help="The home folder; default: this one.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the ledger with your name.")]


def config_file(config: Path | None, home: Path | None) -> Path:
    """Where the config is."""
    return config if config is not None else (home or Path()) / "homeostat.yaml"
