"""Verbs of the demo. The one place in the project that imports ``daemon.demo``, and only when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from daemon.cli.options import ReasonOption

Corpus = Annotated[Path | None, typer.Option("--corpus", help="Folder with real text; default: the project's grammar.")]
New = Annotated[str | None, typer.Option("--new", help="Group that is the new desk; default: the last by name.")]
Seed = Annotated[int, typer.Option("--seed", help="Everything random hangs on it.")]
Server = Annotated[Literal["builtin", "vllm"], typer.Option("--server", help="What serves.")]
Log = Annotated[Literal["sqlite", "kafka"], typer.Option("--log", help="Where events lie.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures there.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for everything that the run leaves.")]


def demo(
    corpus: Corpus = None,
    new: New = None,
    seed: Seed = 1,
    server: Server = "builtin",
    log: Log = "sqlite",
    json_file: JsonFile = None,
    out: Out = None,
    reason: ReasonOption = "",
) -> None:
    """The whole loop on this machine: drift, alarm, training, gate, canary, promotion, rollback. Minutes."""
    from daemon.demo.main import run_demo

    del reason
    raise typer.Exit(run_demo(_options(corpus, new, seed, server, log, json_file, out)))


def drill(
    corpus: Corpus = None,
    new: New = None,
    seed: Seed = 1,
    server: Server = "builtin",
    log: Log = "sqlite",
    json_file: JsonFile = None,
    out: Out = None,
    reason: ReasonOption = "",
) -> None:
    """What could go wrong: poisoned feedback, a harmful candidate, a trainer that dies. Minutes."""
    from daemon.demo.main import run_drill

    del reason
    raise typer.Exit(run_drill(_options(corpus, new, seed, server, log, json_file, out)))


def _options(
    corpus: Path | None, new: str | None, seed: int, server: Any, log: Any, json_file: Path | None, out: Path | None
) -> Any:
    from daemon.demo.options import DemoOptions

    return DemoOptions(corpus=corpus, new=new, seed=seed, server=server, log=log, json_path=json_file, out=out)
