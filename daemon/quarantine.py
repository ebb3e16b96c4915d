"""Events on which our own code fails: one of them must not stop all that come behind it.

A batch that fails is read again, one record at a time. A record that then fails alone is set aside: it becomes a dead
letter, and the rest goes on. Faults of the machine are no event's, and where ``IN_A_ROW`` records have
failed and none has passed in between it is not the records either: then the ingest waits, as for any fault of ours, and
nothing is given up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from daemon.store.open import StoreError
from streams.errors import LogUnavailable
from streams.log import Record

IN_A_ROW: Final = 3
MACHINE: Final = (StoreError, LogUnavailable, OSError, MemoryError)
"""Faults that no event brings about."""
log = structlog.get_logger(room="daemon.quarantine")
_Place = tuple[str, int, int]


class Quarantine:
    """Which records are to be read alone, and which are set aside. Bounded by ``IN_A_ROW``; forgotten by a restart, as
    the record that fails is read again then.
    """

    def __init__(self) -> None:
        self._alone = 0
        """Records of the batch that failed which are still to be read one by one."""
        self._aside: dict[_Place, str] = {}
        self._in_a_row = 0

    def most(self, usual: int) -> int:
        """How many records the next batch may hold."""
        return 1 if self._alone else usual

    def fault_of(self, record: Record) -> str | None:
        """Why a record is set aside; None: it is not."""
        return self._aside.get(_place(record))

    def failed(self, records: Sequence[Record], error: Exception) -> None:
        """A batch did not go through; nothing of it was kept."""
        if isinstance(error, MACHINE):
            return
        if not self._alone:
            self._alone = len(records)
            return
        for record in records:
            place = _place(record)
            if place in self._aside or self._in_a_row >= IN_A_ROW:
                continue
            self._in_a_row += 1
            self._aside[place] = type(error).__name__  # its message may hold a user's words
            topic, partition, offset = place
            log.error("event_set_aside", topic=topic, partition=partition, offset=offset, error=type(error).__name__)

    def passed(self, records: Sequence[Record]) -> None:
        """A batch was committed."""
        self._alone = max(self._alone - len(records), 0)
        for record in records:
            if self._aside.pop(_place(record), None) is None:
                self._in_a_row = 0


def _place(record: Record) -> _Place:
    return record.topic, record.partition, record.offset
