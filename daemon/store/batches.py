"""Long id lists in pieces: databases bound the number of parameters of one statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, select

from daemon.store.open import Read

BATCH = 500


def batches(ids: Iterable[str], size: int = BATCH) -> Iterator[Sequence[str]]:
    """Pieces of at most ``size`` ids, in order."""
    piece: list[str] = []
    for one in ids:
        piece.append(one)
        if len(piece) == size:
            yield piece
            piece = []
    if piece:
        yield piece


def present(read: Read, column: ColumnElement[Any], ids: Iterable[str]) -> set[str]:
    """Which of ``ids`` occur in ``column``."""
    found: set[str] = set()
    for piece in batches(ids):
        found.update(read.conn.execute(select(column).where(column.in_(piece))).scalars())
    return found
