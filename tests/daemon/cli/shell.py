"""What tests of the command line are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.daemon.fakes import FakeController


@dataclass
class Result:
    """What a person at a shell gets."""

    code: int
    out: str
    err: str


Shell = Callable[..., Result]


@dataclass
class Served:
    """A home folder whose API is up."""

    home: Path
    controller: FakeController
