"""What candidates made of mirrored exchanges: one score an exchange and rollout, and nothing of what was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import func, insert, select

from daemon.store import tables
from daemon.store.open import Read, Tx
from deploy.shadow import Score

T = tables.shadow_scores


def add(tx: Tx, rollout: str, scores: Sequence[Score], at: float) -> bool:
    """Store the scores of one block; False, and nothing stored, when one of its exchanges has a score already."""
    known = (T.c.rollout == rollout) & T.c.exchange_id.in_([s.exchange_id for s in scores])
    if tx.conn.execute(select(T.c.block).where(known)).first() is not None:
        return False
    tx.conn.execute(insert(T), [{"rollout": rollout, "at": at, **asdict(score)} for score in scores])
    return True


def of_rollout(read: Read, rollout: str) -> list[Score]:
    """All scores, block by block."""
    query = select(T).where(T.c.rollout == rollout).order_by(T.c.block, T.c.corrected)
    return [Score(r.block, r.exchange_id, r.identity, r.corrected, r.right) for r in read.conn.execute(query)]


def since(read: Read, rollout: str, at: float) -> int:
    """Scores of a rollout that were made at ``at`` or later."""
    query = select(func.count()).select_from(T).where((T.c.rollout == rollout) & (T.c.at >= at))
    return int(read.conn.execute(query).scalar_one())
