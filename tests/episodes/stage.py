"""Where an episode is played: within, the product's failpoints, ids, codec and rows are the world's."""

from __future__ import annotations

import uuid
from collections.abc import Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Final

import daemon.adoption
import daemon.collecting
import daemon.controller
import daemon.cycle_rows
import daemon.holdback
import daemon.ingest
import daemon.intake
import daemon.residency
import daemon.rolling
import daemon.rollout_start
import daemon.route_write
import daemon.troubles
from streams.codec import Decoded
from streams.events import DeadLetter
from streams.log import Record
from tests.episodes.played import (
    Silent,
)
from tests.episodes.store_twin import twin_rows
from tests.episodes.world import World


class _Stage:
    """The world that plays now; the patched names of the product look here."""

    world: World | None = None


_stage: Final = _Stage()


def _on_stage() -> World:
    assert _stage.world is not None
    return _stage.world


@contextmanager
def stage(twin: bool = True) -> Generator[None]:
    """Within, the product's failpoints, ids, codec and (with the twin) its rows are the world's."""

    def failpoint(name: str) -> None:
        _on_stage().failpoint(name)

    def decode(record: Record) -> Decoded | DeadLetter:
        return _on_stage().log.decode(record)

    def numbered() -> uuid.UUID:
        return uuid.UUID(int=_on_stage().rng.getrandbits(128))

    ids, silent = SimpleNamespace(uuid4=numbered), Silent()
    patches: list[tuple[Any, str, Any]] = [
        (daemon.adoption, "failpoint", failpoint),
        (daemon.ingest, "failpoint", failpoint),
        (daemon.intake, "decode", decode),
        (daemon.ingest, "settle", silent),
        (daemon.residency, "failpoint", failpoint),
        (daemon.rolling, "failpoint", failpoint),
        (daemon.route_write, "failpoint", failpoint),
        (daemon.holdback, "uuid", ids),
        (daemon.collecting, "uuid", ids),
        (daemon.cycle_rows, "uuid", ids),
        (daemon.rollout_start, "uuid", ids),
        (daemon.troubles, "log", silent),
        (daemon.controller, "set_gauges", silent),
    ]
    kept = [(module, name, getattr(module, name)) for module, name, _ in patches]
    for module, name, value in patches:
        setattr(module, name, value)
    try:
        if twin:
            with twin_rows():
                yield
        else:
            yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


def play_in(world: World) -> None:
    """Let this world be the one that the patched names look at."""
    _stage.world = world
