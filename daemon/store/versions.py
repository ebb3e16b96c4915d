"""Versions: what was registered, gated, promoted or denied. The bytes are the registry's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Row

from daemon.store import tables
from daemon.store.open import Read, Tx

T = tables.versions
STEP_S: Final = 0.001
"""Seconds between two promotions at least: their order is the order of the stack."""
Status = Literal["registered", "gated", "promoted", "denied"]


@dataclass(frozen=True, slots=True)
class Version:
    """A row of the version table; ``gate`` is the gate's result, JSON-able."""

    version: str
    deployment: str
    tenant: str
    kind: str
    digest: str
    base_digest: str
    parent: str | None
    status: Status
    gate: Mapping[str, Any] | None
    manifest: str
    buffer: str | None
    created_at: float
    promoted_at: float | None = None


def register(tx: Tx, version: Version) -> bool:
    """Store it unless it is stored; whether it was new. Content-addressed, so an equal name is the same version."""
    if get(tx, version.version) is not None:
        return False
    values = {name: getattr(version, name) for name in Version.__slots__}
    tx.conn.execute(insert(T).values(values))
    return True


def get(read: Read, version: str) -> Version | None:
    """One version."""
    row = read.conn.execute(select(T).where(T.c.version == version)).first()
    return None if row is None else _version(row)


def of_deployment(read: Read, deployment: str, limit: int = 1000) -> list[Version]:
    """Newest first."""
    query = select(T).where(T.c.deployment == deployment).order_by(T.c.created_at.desc(), T.c.version).limit(limit)
    return [_version(row) for row in read.conn.execute(query)]


def set_gate(tx: Tx, version: str, gate: Mapping[str, Any], *, passed: bool) -> None:
    """Record the gate's result; only a pass makes it ``gated``. What was promoted or denied stays as it is: the same
    content is the same version, and an examination of it again is no word on what serves.
    """
    values: dict[str, Any] = {"gate": dict(gate)} | ({"status": "gated"} if passed else {})
    where = (T.c.version == version) & T.c.status.in_(("registered", "gated"))
    tx.conn.execute(update(T).where(where).values(**values))


def promote(tx: Tx, version: str, at: float) -> None:
    """It serves now: the top of the promoted stack, also where the clock was set back since the last promotion."""
    deployment = select(T.c.deployment).where(T.c.version == version).scalar_subquery()
    newest = tx.conn.execute(select(func.max(T.c.promoted_at)).where(T.c.deployment == deployment)).scalar_one()
    above = at if newest is None else max(at, newest + STEP_S)
    tx.conn.execute(update(T).where(T.c.version == version).values(status="promoted", promoted_at=above))


def set_status(tx: Tx, version: str, status: Status) -> None:
    """Only the status; ``denials`` keeps why."""
    tx.conn.execute(update(T).where(T.c.version == version).values(status=status))


def promoted_stack(read: Read, deployment: str) -> list[Version]:
    """Promoted versions that are not denied, newest promotion first: champion, then the rollback targets.

    Demonstrations are not in it while what they stand on is denied. The identity version is not either; it is always
    the last target.
    """
    where = (T.c.deployment == deployment) & (T.c.status == "promoted") & (T.c.kind != "identity")
    gone = select(T.c.version).where(T.c.status == "denied")
    where &= (T.c.kind != "demonstrations") | T.c.parent.not_in(gone)
    return [_version(row) for row in read.conn.execute(select(T).where(where).order_by(T.c.promoted_at.desc()))]


def identity(read: Read, deployment: str, base_digest: str) -> Version | None:
    """The zero-effect version of this base, the newest when rank or targets changed."""
    where = (T.c.deployment == deployment) & (T.c.kind == "identity") & (T.c.base_digest == base_digest)
    row = read.conn.execute(select(T).where(where).order_by(T.c.created_at.desc())).first()
    return None if row is None else _version(row)


def of_buffer(read: Read, digest: str) -> list[Version]:
    """Versions trained on this buffer."""
    return [_version(row) for row in read.conn.execute(select(T).where(T.c.buffer == digest))]


def _version(row: Row[Any]) -> Version:
    return Version(*row)
