"""From the ``log`` section to a source or a sink. Kafka's client is imported only where Kafka is configured."""

from __future__ import annotations

from pathlib import Path

from streams.config import LogConfig
from streams.log import Sink, Source
from streams.sqlite_log import SqliteSink, SqliteSource


def open_source(config: LogConfig, home: Path = Path(), *, acknowledges: bool = True) -> Source:
    """A source of the traffic and feedback topics; call its ``start`` next. ``home``: what a relative path is below.
    ``acknowledges=False``: a source whose ``acknowledge`` does nothing and that writes nothing to Kafka.

    Raises LogUnavailable, LogMisconfigured.
    """
    if config.kind == "sqlite":
        return SqliteSource(home / config.path, config.topics.read, config.partitions)
    from streams.kafka_log import KafkaSource

    return KafkaSource(config, acknowledges=acknowledges)


def open_sink(config: LogConfig, home: Path = Path(), *, required: bool = True) -> Sink:
    """A sink. ``required=False`` does not ask whether a Kafka broker answers: the sink keeps what its queue holds,
    drops and counts the rest, and delivers when one does. The gateway opens it so, because serving never waits for a
    log.

    Raises LogUnavailable, LogMisconfigured.
    """
    if config.kind == "sqlite":
        return SqliteSink(
            home / config.path, config.flush_ms, config.queue_max, config.partitions, config.max_event_bytes
        )
    from streams.kafka_log import KafkaSink

    return KafkaSink(config, required=required)


def ensure_topics(config: LogConfig, partitions: int = 4, replication: int = 1) -> list[str]:
    """Create the topics that are missing; returns their names. The only function that creates any: reading, observing
    and appending never do. The SQLite log has nothing to create.

    Raises LogUnavailable, LogMisconfigured.
    """
    if config.kind == "sqlite":
        return []
    from streams.kafka_topics import create_missing

    return create_missing(config, partitions, replication)
