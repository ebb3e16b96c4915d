"""Verbs that become a process: run, trainer, agent."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from daemon.cli.options import ConfigOption, HomeOption, JsonOption, ReasonOption, config_file

LevelOption = Annotated[Literal["debug", "info", "warning", "error"], typer.Option("--log-level", help="Least to log.")]


def run(
    config: ConfigOption = None,
    home: HomeOption = None,
    log_level: LevelOption = "info",
    as_json: JsonOption = True,
    reason: ReasonOption = "",
) -> None:
    """The daemon: reads the log, watches, learns, rolls out; serves the API. Ends on SIGTERM."""
    from daemon import logging
    from daemon.app import Daemon, Options
    from daemon.assemble import assemble
    from daemon.config import load_config

    del reason
    path = config_file(config, home).resolve()
    loaded = load_config(path)
    logging.configure(log_level, as_json)
    Daemon(Options(loaded, path, assemble)).run()
