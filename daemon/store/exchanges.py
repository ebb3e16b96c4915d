"""Exchanges as captured. Text lies in a column of its own, which retention empties; the rest stays for ever, the
reward that the text gave with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.engine import Row

from daemon.store import tables
from daemon.store.batches import batches, present
from daemon.store.open import Read, Tx
from monitors.reward import Heard
from streams.events import Exchange

T = tables.exchanges
TEXT: Final = {"messages", "completion", "completion_token_ids", "client_request_id"}
"""What a person or the model wrote."""
EMPTY: Final[dict[str, Any]] = {"messages": (), "completion": ""}
MOST_COUNTED: Final = 200_000
"""Exchanges among which people are counted: half a second."""


class Reply(NamedTuple):
    """What was answered, and what feedback on it is held against."""

    deployment: str
    tenant: str
    session: str
    completion: str


def insert_new(tx: Tx, events: Sequence[Exchange]) -> set[str]:
    """Store the events that are not stored yet; their ids. Of a repeated id the first stays."""
    known = present(tx, T.c.exchange_id, (e.exchange_id for e in events))
    rows: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.exchange_id not in known and event.exchange_id not in rows:
            rows[event.exchange_id] = _row(event)
    if rows:
        tx.conn.execute(insert(T), list(rows.values()))
    return set(rows)


def get(read: Read, exchange_id: str) -> Exchange | None:
    """One exchange, without its text once retention took that."""
    return get_many(read, [exchange_id]).get(exchange_id)


def get_many(read: Read, ids: Iterable[str]) -> dict[str, Exchange]:
    """The stored ones among ``ids``."""
    found: dict[str, Exchange] = {}
    for piece in batches(ids):
        for row in read.conn.execute(select(T).where(T.c.exchange_id.in_(piece))):
            found[row.exchange_id] = _event(row)
    return found


def since(read: Read, deployment: str, from_s: float, until_s: float, limit: int) -> list[Exchange]:
    """Exchanges received in [from_s, until_s), the newest ``limit`` of them, oldest first (then by id)."""
    where = (T.c.deployment == deployment) & (T.c.received_at >= from_s) & (T.c.received_at < until_s)
    query = select(T).where(where).order_by(T.c.received_at.desc(), T.c.exchange_id.desc()).limit(limit)
    return [_event(row) for row in read.conn.execute(query)][::-1]


def of_rollout_sessions(read: Read, rollout: str, sessions: Iterable[str]) -> list[Exchange]:
    """Exchanges of a rollout in these sessions, in the order they were received."""
    found: list[Exchange] = []
    for piece in batches(sessions):
        where = (T.c.rollout == rollout) & T.c.session.in_(piece)
        found.extend(_event(row) for row in read.conn.execute(select(T).where(where)))
    return sorted(found, key=lambda x: (x.received_at, x.exchange_id))


def of_sessions(read: Read, deployment: str, sessions: Iterable[str]) -> list[Exchange]:
    """Exchanges of these sessions, in the order they were received."""
    found: list[Exchange] = []
    for piece in batches(sessions):
        where = (T.c.deployment == deployment) & T.c.session.in_(piece)
        found.extend(_event(row) for row in read.conn.execute(select(T).where(where)))
    return sorted(found, key=lambda x: (x.received_at, x.exchange_id))


def people(read: Read, deployment: str, since_s: float) -> int | None:
    """Identities that came since then. None where that is not known: nothing so old is recorded, or more than
    ``MOST_COUNTED`` exchanges are newer.
    """
    mine = T.c.deployment == deployment
    older = select(T.c.exchange_id).where(mine & (T.c.received_at <= since_s)).limit(1)
    if read.conn.execute(older).first() is None:
        return None
    came = select(T.c.identity).where(mine & (T.c.received_at > since_s)).limit(MOST_COUNTED).subquery()
    counts = select(func.count(), func.count(came.c.identity.distinct())).select_from(came)
    rows, identities = read.conn.execute(counts).one()
    return int(identities) if rows < MOST_COUNTED else None


def newest_of_rollout(read: Read, rollout: str, limit: int) -> list[Exchange]:
    """The newest ``limit`` exchanges of a rollout, oldest first."""
    newest = (T.c.received_at.desc(), T.c.exchange_id.desc())
    query = select(T).where(T.c.rollout == rollout).order_by(*newest).limit(limit)
    return [_event(row) for row in read.conn.execute(query)][::-1]


def of_identity(read: Read, identity: str, limit: int) -> list[str]:
    """Ids of a user's exchanges, for lineage questions."""
    query = select(T.c.exchange_id).where(T.c.identity == identity).order_by(T.c.received_at).limit(limit)
    return list(read.conn.execute(query).scalars())


def oldest_replies(read: Read, before_s: float, limit: int) -> dict[str, Reply]:
    """Id to reply of the oldest ``limit`` exchanges received before ``before_s`` whose text is still here."""
    where = (T.c.received_at < before_s) & T.c.text.is_not(None)
    columns = (T.c.exchange_id, T.c.deployment, T.c.tenant, T.c.session, T.c.text)
    query = select(*columns).where(where).order_by(T.c.received_at).limit(limit)
    return {
        row.exchange_id: Reply(row.deployment, row.tenant, row.session, orjson.loads(row.text)["completion"])
        for row in read.conn.execute(query)
    }


def forget_text(tx: Tx, rewards: Mapping[str, Heard]) -> None:
    """Blank the text of these exchanges; in its place stays what their reward was by it. Ids and figures stay too."""
    rows = [{"of": name, "heard": orjson.dumps(heard).decode()} for name, heard in rewards.items()]
    if rows:
        query = update(T).where(T.c.exchange_id == bindparam("of")).values(text=None, rewards=bindparam("heard"))
        tx.conn.execute(query, rows)


def kept_rewards(read: Read, ids: Iterable[str]) -> dict[str, Heard]:
    """What stands in the place of the text of those among ``ids`` whose text is gone."""
    found: dict[str, Heard] = {}
    for piece in batches(ids):
        query = select(T.c.exchange_id, T.c.rewards).where(T.c.exchange_id.in_(piece) & T.c.rewards.is_not(None))
        for row in read.conn.execute(query):
            found[row.exchange_id] = tuple((at, reward) for at, reward in orjson.loads(row.rewards))
    return found


def _row(event: Exchange) -> dict[str, Any]:
    return {
        "exchange_id": event.exchange_id,
        "deployment": event.deployment,
        "tenant": event.tenant,
        "session": event.session,
        "identity": event.identity,
        "version": event.version,
        "rollout": event.rollout,
        "status": event.status,
        "received_at": event.received_at,
        "facts": event.model_dump_json(exclude=TEXT, exclude_none=True),
        "text": event.model_dump_json(include=TEXT),
    }


def _event(row: Row[Any]) -> Exchange:
    text = orjson.loads(row.text) if row.text is not None else EMPTY
    return Exchange.model_validate(orjson.loads(row.facts) | text)
