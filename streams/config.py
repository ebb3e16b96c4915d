"""Options of this room: the log, the joiner and what the codec accepts. Each field with unit, default and reason."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """Immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class Topics(Section):
    """Names of the three topics. Traffic and feedback need equal partition counts: a session keeps its number."""

    traffic: TopicName = "homeostat.traffic"
    """Requests with their replies, written by the gateways."""
    feedback: TopicName = "homeostat.feedback"
    """What people said of them, written by the gateways or by backends of the operator's own."""
    dead_letters: TopicName = "homeostat.dead-letters"
    """Events that could not be used, with the reason."""

    @model_validator(mode="after")
    def _distinct(self) -> Topics:
        names = (self.traffic, self.feedback, self.dead_letters)
        if len(set(names)) != len(names):
            raise ValueError(f"three different topics expected, got {', '.join(names)}")
        return self

    @property
    def read(self) -> tuple[str, str]:
        """What the daemon reads."""
        return (self.traffic, self.feedback)


class KafkaSecurity(Section):
    """How to speak to brokers that are not open. Secrets are read from files, so that the config can be shown."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """As the brokers' listener has it."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """SASL mechanism; needed with the SASL protocols."""
    username: str | None = None
    """SASL user; needed with the SASL protocols."""
    password_file: Path | None = None
    """One line; its newline is stripped."""
    ca_file: Path | None = None
    """PEM of the authority that signed the brokers; None: the system's."""
    cert_file: Path | None = None
    """PEM of our own certificate, for brokers that ask for one."""
    key_file: Path | None = None
    """PEM of its private key."""
    check_hostname: bool = True
    """Off only for brokers whose certificate names another host; then anybody with a certificate can be the broker."""

    @model_validator(mode="after")
    def _complete(self) -> KafkaSecurity:
        if self.protocol.startswith("SASL"):
            missing = [n for n in ("mechanism", "username", "password_file") if getattr(self, n) is None]
            if missing:
                raise ValueError(f"{self.protocol} needs {', '.join(missing)}")
        return self


class LogConfig(Section):
    """Where events lie: a SQLite file (embedded) or Kafka."""

    kind: Literal["sqlite", "kafka"] = "sqlite"
    """sqlite: the file at `path`, for one host; kafka: the brokers of `bootstrap`."""
    path: Path = Path("log.db")
    """SQLite file; relative paths are below the home folder."""
    partitions: Annotated[int, Field(ge=1, le=64)] = 1
    """Partitions of a SQLite log made anew; an existing file keeps its own (a session must not move)."""
    bootstrap: tuple[str, ...] = ("127.0.0.1:9092",)
    """Kafka brokers, host:port; any one that answers is enough."""
    topics: Topics = Topics()
    security: KafkaSecurity = KafkaSecurity()
    group: str = "homeostat"
    """Consumer group under which positions are shown to lag dashboards; the real ones are in the store."""
    queue_max: Annotated[int, Field(ge=1)] = 10_000
    """Events a sink holds that are not durable yet; more are dropped and counted, callers never wait."""
    flush_ms: Annotated[int, Field(ge=1, le=1000)] = 50
    """Milliseconds an event waits for company before its batch is written."""
    start_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Seconds to look for a broker before start gives up with a message."""
    metadata_max_age_s: Annotated[float, Field(gt=0)] = 5.0
    """Seconds between two looks for new partitions."""
    align_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds of log time one partition may be read ahead of another that still has records: bounds the joiner's
    memory."""
    max_event_bytes: Annotated[int, Field(ge=1024)] = 1_000_000
    """Larger events are dropped by the sink (counted) and dead-lettered by the reader. Kafka's own default is 1 MiB."""


class DecodeLimits(Section):
    """What the codec accepts; the rest becomes a dead letter with a reason."""

    max_bytes: Annotated[int, Field(ge=1024)] = 1_000_000
    """Bytes of one event; larger ones become dead letters unread, because they would cost memory to read."""
    max_ahead_s: Annotated[float, Field(ge=0)] = 300.0
    """Seconds an event may claim to be later than its append time: clocks differ by minutes, not by hours."""
    deployments: dict[str, str] | None = None
    """Deployment to the tenant it belongs to; None accepts every pair."""


class JoinConfig(Section):
    """How exchanges and feedback meet. Times are event time in seconds."""

    window_s: Annotated[float, Field(gt=0)] = 3600.0
    """Feedback within this long of its exchange counts; topic retention must be longer."""
    lateness_s: Annotated[float, Field(ge=0)] = 5.0
    """How far events of one partition may be out of order without changing any result."""
    idle_s: Annotated[float, Field(gt=0)] = 10.0
    """A partition silent for this long (wall time) with nothing left to read stops holding back the watermark."""
    max_open: Annotated[int, Field(ge=1)] = 50_000
    """Exchanges whose window is open, kept in memory; beyond it the oldest are closed early, and counted."""
    max_pending: Annotated[int, Field(ge=1)] = 100_000
    """Feedback waiting for its exchange; beyond it, bare feedback goes to the dead letters first."""
    max_remembered: Annotated[int, Field(ge=1)] = 500_000
    """Ids of closed exchanges and of seen feedback, to tell late from orphan and first from again."""
