"""What people are told of a freeze: one ledger entry when it begins, one when it ends, and its line in the status.

Whether a cycle starts is decided from the rows alone (``daemon.freeze``). The record follows them at each tick; entry
and record are one transaction, so a crash leaves both or neither and the next tick writes what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pydantic import BaseModel, ConfigDict

from daemon import freeze, ledger
from daemon.store import Read, Store, Tx, states
from daemon.store import ledger as entries

STATE: Final = "freeze"
BEGUN: Final = "frozen_after_rollbacks"
LIFTED: Final = "freeze_lifted"
"""A person resumed: the entry of the command is the one that ends the freeze."""
OVER: Final = "freeze_over"
"""It ended otherwise: a promotion, a denial that was lifted, or a larger ``cycle.freeze_after``."""
SHOWN: Final = 5
"""Rollbacks that are named, the newest ones."""


class Freeze(BaseModel):
    """A freeze that holds."""

    model_config = ConfigDict(frozen=True)

    since: float
    """Wall seconds of the rollback that began it."""
    rollbacks: int
    rollouts: tuple[str, ...]
    """The newest ``SHOWN`` that were rolled back, newest first."""
    reasons: tuple[str, ...]
    """Why each of them was."""


def found(rolled_back: tuple[freeze.RolledBack, ...], most: int) -> Freeze | None:
    """The freeze that ``most`` rollbacks in a row begin; None while there are fewer. Pure."""
    if len(rolled_back) < most:
        return None
    since = sorted(one.at for one in rolled_back)[most - 1]
    shown = rolled_back[:SHOWN]
    return Freeze(
        since=since,
        rollbacks=len(rolled_back),
        rollouts=tuple(one.rollout for one in shown),
        reasons=tuple(one.reason for one in shown),
    )


def load(read: Read) -> Freeze | None:
    """The freeze as it was recorded last."""
    stored = states.get(read, STATE)
    return None if stored is None else Freeze.model_validate_json(stored)


def settle(tx: Tx, deployment: str, most: int, now: float) -> Freeze | None:
    """Bring record and ledger in line with the rows; the freeze that holds now."""
    rolled_back = freeze.rolled_back(tx, deployment)
    holds, known = found(rolled_back, most), load(tx)
    if holds == known:
        return holds
    if holds is None:
        assert known is not None
        data = {"since": known.since, "rollbacks": len(rolled_back), "freeze_after": most}
        ledger.append(tx, deployment, "freeze", deployment, OVER, actor="daemon", at=now, data=data)
        states.drop(tx, STATE)
        return None
    if known is None:
        data = holds.model_dump(mode="json") | {"freeze_after": most, "rollout": holds.rollouts[0]}
        ledger.append(tx, deployment, "freeze", deployment, BEGUN, actor="daemon", at=now, data=data)
    states.put(tx, STATE, holds.model_dump_json().encode(), now)
    return holds


def lift(tx: Tx, deployment: str, now: float) -> None:
    """A person ends it; who calls this writes the entry."""
    freeze.lift(tx, deployment, now)
    states.drop(tx, STATE)


class FreezeRecord:
    """Keeps the record, at each tick. Nothing that counts moves without an entry in the ledger, so the rows, which are
    large, are looked at only when there is a new one. Lost by a restart: then they are looked at once more.
    """

    def __init__(self, store: Store, deployment: str, most: int, clock: Callable[[], float]) -> None:
        self._store, self._deployment, self._most, self._clock = store, deployment, most, clock
        self._seen: int | None = None

    def tick(self) -> None:
        """Record what changed since the tick before. Raises the store's errors."""
        with self._store.read() as read:
            newest = next((entry.id for entry in entries.newest(read, 1)), 0)
            if newest == self._seen:
                return
            moved = found(freeze.rolled_back(read, self._deployment), self._most) != load(read)
        if moved:
            with self._store.begin() as tx:
                settle(tx, self._deployment, self._most, self._clock())
        self._seen = newest
