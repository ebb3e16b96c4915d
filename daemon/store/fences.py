"""The writer's epoch of each deployment: every change of what is served carries a higher one (R1)."""

from __future__ import annotations

from sqlalchemy import insert, select, update

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.fences


def current(read: Read, deployment: str) -> int:
    """The newest epoch; 0 before the first."""
    return read.conn.execute(select(T.c.epoch).where(T.c.deployment == deployment)).scalar_one_or_none() or 0


def advance(tx: Tx, deployment: str, *, holder: str, at: float, above: int = 0) -> int:
    """Take the next epoch, higher than every one before and than ``above`` (an agent's route that was found); it."""
    before = current(tx, deployment)
    epoch = max(before, above) + 1
    values = {"epoch": epoch, "holder": holder, "at": at}
    changed = tx.conn.execute(update(T).where(T.c.deployment == deployment).values(**values)).rowcount
    if not changed:
        tx.conn.execute(insert(T).values(deployment=deployment, **values))
    return epoch


def adopt(tx: Tx, deployment: str, epoch: int, *, holder: str, at: float) -> None:
    """Record an epoch that an agent's route carries, when it is higher than ours."""
    if epoch > current(tx, deployment):
        advance(tx, deployment, holder=holder, at=at, above=epoch - 1)
