"""Retention: text goes, ids and figures stay, so that lineage and verdicts hold after it."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.store import dead_letters, exchanges, feedback
from daemon.store.open import Tx


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Rows whose text was blanked."""

    exchanges: int
    feedback: int
    dead_letters: int


def forget_text(tx: Tx, before_s: float) -> Forgotten:
    """Blank every text older than ``before_s`` (wall-clock seconds); idempotent."""
    return Forgotten(
        exchanges=exchanges.forget_text(tx, before_s),
        feedback=feedback.forget_text(tx, before_s),
        dead_letters=dead_letters.forget_text(tx, before_s),
    )
