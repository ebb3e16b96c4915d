"""From an older schema to the present one: numbered steps, each in a transaction of its own with the version it gives.

A step makes and fills what its version changed, in SQL of its own: it must read the same for ever, while ``tables``
goes on. Columns need a step; a new table that begins empty needs none but its number, since tables that are missing are
made when a store is opened. Nothing goes back: a store that a newer homeostat has taken over is refused by older ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import JSON, Boolean, LargeBinary, column, insert, inspect, select, table, text, update
from sqlalchemy.engine import Connection

from daemon.store import tables


@dataclass(frozen=True, slots=True)
class Step:
    """What leads from version ``to - 1`` to ``to``."""

    to: int
    what: str
    apply: Callable[[Connection], None]


def _stakes(conn: Connection) -> None:
    """Rollouts that users meet are marked with what their evidence was bet with until now. Other rows read as they are;
    the newer ones hold what an older homeostat would refuse.
    """
    rollouts = table("rollouts", column("id"), column("phase"), column("active", Boolean), column("data", JSON))
    met = ("canary_small", "canary_half", "awaiting_promotion", "probation")
    live = select(rollouts.c.id, rollouts.c.data).where(rollouts.c.active, rollouts.c.phase.in_(met))
    for name, data in conn.execute(live).all():
        marked = {**data, "stakes": "0.03:0.1 0.075:0.42 0.15:0.28 0.28:0.16 0.6:0.04"}
        conn.execute(update(rollouts).where(rollouts.c.id == name).values(data=marked))


def _rewards(conn: Connection) -> None:
    """Until now retention took corrections without a word of what they said: the newest exchange that lost one is
    noted, since only those after it have rewards that are all known.
    """
    conn.execute(text("ALTER TABLE exchanges ADD COLUMN rewards TEXT"))
    conn.execute(text("CREATE INDEX exchanges_with_text ON exchanges (received_at) WHERE text IS NOT NULL"))
    conn.execute(text("CREATE INDEX feedback_with_text ON feedback (sent_at) WHERE text IS NOT NULL"))
    lost = text(
        "SELECT x.deployment, MAX(x.received_at) FROM exchanges x JOIN feedback f ON f.exchange_id = x.exchange_id "
        "WHERE f.kind = 'correction' AND (x.text IS NULL OR f.text IS NULL) GROUP BY x.deployment"
    )
    states = table("states", column("name"), column("blob", LargeBinary), column("at"))
    for deployment, at in conn.execute(lost).all():
        name = f"rewards_known_after:{deployment}"
        conn.execute(insert(states).values(name=name, blob=repr(float(at)).encode(), at=at))


STEPS: Final[tuple[Step, ...]] = (
    Step(3, "exchanges with their sampling", _stakes),
    Step(4, "rewards that outlive the text", _rewards),
)
"""In order, without a gap, up to ``tables.SCHEMA_VERSION``. Version 1 was never released."""


def version_of(conn: Connection) -> str | None:
    """The schema version of a database; None for an empty one."""
    if not inspect(conn).has_table(tables.meta.name):
        return None
    return conn.execute(select(tables.meta.c.value).where(_KEY)).scalar_one_or_none()


def due(found: str | None, wanted: str, steps: Sequence[Step] = STEPS) -> tuple[Step, ...] | None:
    """The steps from ``found`` to ``wanted``; None where no such way is known: a newer store, or one too old."""
    if found is None or found == wanted:
        return ()
    way = tuple(step for step in steps if found.isdecimal() and int(found) < step.to <= int(wanted))
    numbers = [step.to for step in way]
    whole = bool(way) and numbers == list(range(int(found) + 1, int(wanted) + 1))
    return way if whole else None


def take(conn: Connection, step: Step) -> bool:
    """One step and its version, in the transaction of ``conn``; False where somebody else took it meanwhile."""
    if version_of(conn) != str(step.to - 1):
        return False
    step.apply(conn)
    conn.execute(update(tables.meta).where(_KEY).values(value=str(step.to)))
    return True


_KEY: Final = tables.meta.c.key == "schema_version"
