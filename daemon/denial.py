"""What is never served again, and what is never trained on again: the rows behind each way back."""

from __future__ import annotations

from daemon import ledger
from daemon.store import Tx, buffers, denials, suspended, versions
from daemon.unanswered import reopen


def deny(tx: Tx, deployment: str, version: str, reason: str, actor: str, now: float) -> None:
    """Never route it again without an explicit approval. What it was trained for is unanswered again."""
    denials.deny(tx, deployment, version, reason=reason, actor=actor, at=now)
    versions.set_status(tx, version, "denied")
    reopen(tx, deployment, version, actor, now)


def suspend(tx: Tx, deployment: str, rollout: str, version: str, actor: str, now: float) -> int:
    """Suspend the new examples (never replay or anchors) that a harmful version was trained on; how many."""
    row = versions.get(tx, version)
    if row is None or row.buffer is None:
        return 0
    ids = [item.exchange_id for item in buffers.items(tx, row.buffer, "new")]
    count = suspended.add(tx, rollout, ids, now)
    data = {"examples": count, "buffer": row.buffer, "version": version}
    ledger.append(tx, deployment, "suspension", rollout, "harmful_version", actor=actor, at=now, data=data)
    return count
