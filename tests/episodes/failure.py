"""What an episode says when an invariant breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from daemon.invariants import Broken
from daemon.store.ledger import Entry

TAIL: Final = 15
"""Entries of the ledger that are shown."""


@dataclass
class Failure:
    """What broke first, and what led to it."""

    seed: int
    step: int
    broken: Broken
    steps: list[str]
    ledger: list[str]

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}, step {self.step}: {self.broken.name} ({self.broken.statement})",
            f"  {self.broken.detail}",
            "last steps: " + " ".join(self.steps[-30:]),
            "ledger:",
            *(f"  {line}" for line in self.ledger),
            f"again: python -m tests.episodes.episode {self.seed}",
        ]
        return "\n".join(lines)


def failure(seed: int, found: Broken, done: list[str], ledger: Sequence[Entry]) -> Failure:
    """The failure after the steps ``done``."""
    tail = [f"{e.at:.1f} {e.kind} {e.subject} {e.reason} {_short(e.data)}" for e in ledger[-TAIL:]]
    return Failure(seed, len(done), found, done, tail)


def _short(data: Any) -> str:
    return " ".join(
        f"{k}={v}"
        for k, v in data.items()
        if k in ("signal", "from_phase", "to_phase", "candidate", "from", "to", "version", "control")
    )
