"""All tables in one place. Times are wall-clock seconds (UTC); ids are text unless the store numbers the rows itself.

What a person wrote (messages, replies, corrections, comments) lives in the two ``text`` columns and in ``dead_letters``
alone, so that retention empties those and every other table may be shown to anybody who may read the state.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import JSON

SCHEMA_VERSION: Final = "4"
"""Raised by every change that another version of the daemon could not read: of this file, of a row's JSON, or of what
a state blob holds; with a step in ``migrations``. 2: rollouts with their own alpha and bounds, the watch in parts.
3: exchanges with their sampling. 4: rewards that outlive the text."""

metadata = MetaData()
# SQLite numbers rows only in a column that is exactly INTEGER PRIMARY KEY.
Serial = BigInteger().with_variant(Integer, "sqlite")

meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False))

# ---------------------------------------------------------------------------------------------------------- the log
offsets = Table(
    "offsets",
    metadata,
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
)
gaps = Table(
    "gaps",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("topic", String, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("expected", BigInteger, nullable=False),
    Column("found", BigInteger, nullable=False),
    Column("at", Float, nullable=False),
)
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("reason", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("payload", Text, nullable=True),
    Column("at", Float, nullable=False),
    Column("sent_at", Float, nullable=True, index=True),
)
counters = Table(
    "counters",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# ------------------------------------------------------------------------------------------------------- the events
exchanges = Table(
    "exchanges",
    metadata,
    Column("exchange_id", String, primary_key=True),
    Column("deployment", String, nullable=False),
    Column("tenant", String, nullable=False),
    Column("session", String, nullable=False, index=True),
    Column("identity", String, nullable=False, index=True),
    Column("version", String, nullable=False),
    Column("rollout", String, nullable=True),
    Column("status", Integer, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("facts", Text, nullable=False),
    Column("text", Text, nullable=True),
    # [[from when (s), reward or null], ...] by trusted feedback, written when the text goes: [] is none, NULL not yet.
    Column("rewards", Text, nullable=True),
    Index("exchanges_by_time", "deployment", "received_at"),
)
_has_text = exchanges.c.text.is_not(None)
Index("exchanges_with_text", exchanges.c.received_at, sqlite_where=_has_text, postgresql_where=_has_text)
feedback = Table(
    "feedback",
    metadata,
    Column("feedback_id", String, primary_key=True),
    Column("exchange_id", String, nullable=False, index=True),
    Column("deployment", String, nullable=False),
    Column("identity", String, nullable=True, index=True),
    Column("kind", String, nullable=False),
    Column("sent_at", Float, nullable=False),
    Column("facts", Text, nullable=False),
    Column("text", Text, nullable=True),
    Index("feedback_by_time", "deployment", "sent_at"),
)
_has_words = feedback.c.text.is_not(None)
Index("feedback_with_text", feedback.c.sent_at, sqlite_where=_has_words, postgresql_where=_has_words)
sessions = Table(
    "sessions",
    metadata,
    Column("deployment", String, primary_key=True),
    Column("session", String, primary_key=True),
    Column("first_at", Float, nullable=False),
    Column("first_exchange", String, nullable=False),
)
states = Table(
    "states",
    metadata,
    Column("name", String, primary_key=True),
    Column("blob", LargeBinary, nullable=False),
    Column("at", Float, nullable=False),
)

# -------------------------------------------------------------------------------------------------------- decisions
ledger = Table(
    "ledger",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("at", Float, nullable=False),
    Column("deployment", String, nullable=False),
    Column("subject", String, nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("data", JSON, nullable=False),
)
ledger_refs = Table(
    "ledger_refs",
    metadata,
    Column("ledger", Serial, ForeignKey("ledger.id"), primary_key=True),
    Column("ref", String, primary_key=True, index=True),
)
alarms = Table(
    "alarms",
    metadata,
    Column("alarm_id", String, primary_key=True),
    Column("seq", Integer, nullable=False, index=True),
    Column("deployment", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("detector", String, nullable=False),
    Column("primary", Boolean, nullable=False),
    Column("confirmed", Boolean, nullable=False),
    Column("at", Float, nullable=False),
    Column("body", JSON, nullable=False),
    Column("answer", String, nullable=True),
)
cycles = Table(
    "cycles",
    metadata,
    Column("id", String, primary_key=True),
    Column("deployment", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("phase", String, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("reason", String, nullable=False),
    Column("data", JSON, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
)
Index(
    "one_active_cycle",
    cycles.c.deployment,
    unique=True,
    sqlite_where=cycles.c.active,
    postgresql_where=cycles.c.active,
)
rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String, primary_key=True),
    Column("deployment", String, nullable=False),
    Column("candidate", String, nullable=False),
    Column("control", String, nullable=True),
    Column("cause", String, nullable=False),
    Column("phase", String, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("reason", String, nullable=False),
    Column("data", JSON, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("deadline", Float, nullable=False),
    Column("ended_at", Float, nullable=True),
)
# R1: the database itself refuses a second active rollout of a deployment.
Index(
    "one_active_rollout",
    rollouts.c.deployment,
    unique=True,
    sqlite_where=rollouts.c.active,
    postgresql_where=rollouts.c.active,
)
fences = Table(
    "fences",
    metadata,
    Column("deployment", String, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("holder", String, nullable=False),
    Column("at", Float, nullable=False),
)
intents = Table(
    "intents",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("rollout", String, nullable=False, index=True),
    Column("effect", String, nullable=False),
    Column("args", JSON, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("reason", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("settled_at", Float, nullable=True),
)
commands = Table(
    "commands",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("verb", String, nullable=False),
    Column("args", JSON, nullable=False),
    Column("actor", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("answer", String, nullable=True),
    Column("at", Float, nullable=False),
    Column("settled_at", Float, nullable=True),
)

# --------------------------------------------------------------------------------------------------------- versions
versions = Table(
    "versions",
    metadata,
    Column("version", String, primary_key=True),
    Column("deployment", String, nullable=False),
    Column("tenant", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("base_digest", String, nullable=False),
    Column("parent", String, nullable=True),
    Column("status", String, nullable=False),
    Column("gate", JSON, nullable=True),
    Column("manifest", String, nullable=False),
    Column("buffer", String, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("promoted_at", Float, nullable=True),
)
proofs = Table(
    "proofs",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("version", String, nullable=False),
    Column("replica", String, nullable=False),
    Column("incarnation", String, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("reason", String, nullable=False),
    Column("numbers", JSON, nullable=False),
    Column("at", Float, nullable=False),
    Index("proofs_of", "version", "replica"),
)
denials = Table(
    "denials",
    metadata,
    Column("version", String, primary_key=True),
    Column("deployment", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("lifted_at", Float, nullable=True),
    Column("lifted_reason", String, nullable=True),
)
suspended = Table(
    "suspended",
    metadata,
    Column("exchange_id", String, primary_key=True),
    Column("rollout", String, primary_key=True),
    Column("at", Float, nullable=False),
    Column("lifted_at", Float, nullable=True),
    Column("lifted_reason", String, nullable=True),
)
buffers = Table(
    "buffers",
    metadata,
    Column("digest", String, primary_key=True),
    Column("deployment", String, nullable=False),
    Column("tenant", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
)
buffer_items = Table(
    "buffer_items",
    metadata,
    Column("buffer", String, ForeignKey("buffers.digest"), primary_key=True),
    Column("exchange_id", String, primary_key=True, index=True),
    Column("role", String, primary_key=True),
    Column("stage", String, nullable=False),
    Column("reason", String, nullable=False),
)
jobs = Table(
    "jobs",
    metadata,
    Column("id", String, primary_key=True),
    Column("cycle", String, nullable=False, index=True),
    Column("state", String, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("worker", String, nullable=True),
    Column("spec", JSON, nullable=False),
    Column("report", JSON, nullable=False),
    Column("reason", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("claimed_at", Float, nullable=True),
    Column("heartbeat_at", Float, nullable=True),
    Column("ended_at", Float, nullable=True),
)

# --------------------------------------------------------------------------------------------------------- evidence
units = Table(
    "units",
    metadata,
    Column("rollout", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("session", String, nullable=False),
    Column("identity", String, nullable=False),
    Column("arm", String, nullable=False),
    Column("propensity", Float, nullable=False),
    Column("in_slice", Boolean, nullable=False),
    Column("capped", Boolean, nullable=False),
    Column("first_at", Float, nullable=False),
)
Index("one_unit_a_session", units.c.rollout, units.c.session, unique=True)
unit_events = Table(
    "unit_events",
    metadata,
    Column("rollout", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("path", String, nullable=False),
    Column("unit", Integer, nullable=False),
    Column("value", Float, nullable=False),
    Column("at", Float, nullable=False),
)
shadow_scores = Table(
    "shadow_scores",
    metadata,
    Column("rollout", String, primary_key=True),
    Column("exchange_id", String, primary_key=True),
    Column("block", Integer, nullable=False),
    Column("identity", String, nullable=False),
    Column("corrected", Boolean, nullable=False),
    Column("right", Boolean, nullable=False),
    Column("at", Float, nullable=False),
)
