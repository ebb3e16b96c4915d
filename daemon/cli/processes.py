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
    from daemon.config import load_config

    del reason
    path = config_file(config, home).resolve()
    loaded = load_config(path)  # before the imports, which take seconds: a typing mistake is answered at once
    from daemon import logging
    from daemon.app import Daemon, Options
    from daemon.assemble import assemble

    logging.configure(log_level, as_json)
    Daemon(Options(loaded, path, assemble)).run()


def trainer(
    config: ConfigOption = None,
    home: HomeOption = None,
    log_level: LevelOption = "info",
    as_json: JsonOption = True,
    worker: Annotated[
        str, typer.Option("--worker", help="Name in the daemon's books; default: host and process.")
    ] = "",
    reason: ReasonOption = "",
) -> None:
    """The trainer: takes jobs from the daemon and trains. Needs torch; `homeostat run` starts one by itself."""
    import os
    import platform

    from adapters.trainer import run_trainer
    from adapters.trainer_api import HttpTrainerApi
    from daemon import logging, secrets
    from daemon.config import load_config
    from daemon.faults import MachineFault

    del reason
    logging.configure(log_level, as_json)
    loaded = load_config(config_file(config, home))
    try:
        token = secrets.read(loaded.secrets, "trainer.token")
        loaded.artifacts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}: `homeostat run` makes it; run the trainer as the same user"
        raise MachineFault(message) from error
    try:
        from adapters.training.lora import train
    except ModuleNotFoundError as error:
        message = f"trainer.python: {error.name} is not in this environment: name one with torch and peft"
        raise MachineFault(message) from error
    name = worker or f"{platform.node()}-{os.getpid()}"[:128]
    api = HttpTrainerApi(loaded.api.url, token)
    raise typer.Exit(run_trainer(api, loaded.artifacts, train, name))


def agent(
    config: ConfigOption = None,
    home: HomeOption = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="TCP port to listen on.", min=1, max=65535)] = 8378,
    log_level: LevelOption = "info",
    as_json: JsonOption = True,
    reason: ReasonOption = "",
) -> None:
    """The agent of a serving host, for a daemon elsewhere; guarded by the control token. Ends on SIGTERM."""
    from daemon import logging
    from daemon.agent_process import serve_agent
    from daemon.config import load_config

    del reason
    logging.configure(log_level, as_json)
    serve_agent(load_config(config_file(config, home)), host, port)
