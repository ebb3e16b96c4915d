# pyright: standard
"""Making topics: an act of its own, because a daemon that only observes must write nothing to Kafka."""

from __future__ import annotations

import contextlib
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError

from streams.config import LogConfig
from streams.errors import LogMisconfigured
from streams.kafka_client import client_options, require_broker, translate


def create_missing(config: LogConfig, partitions: int, replication: int) -> list[str]:
    """Create those of the three topics that are missing; returns their names. Existing topics stay as they are.

    Raises LogUnavailable; LogMisconfigured when traffic and feedback exist with different partition counts, because
    then a session's feedback would lie where its traffic does not.
    """
    require_broker(config)
    try:
        admin: Any = KafkaAdminClient(**client_options(config))
    except KafkaError as error:
        raise translate(config, error) from error
    try:
        topics = config.topics
        there = set(admin.list_topics())
        wanted = [name for name in (topics.traffic, topics.feedback, topics.dead_letters) if name not in there]
        if wanted:
            counts = {name: {"num_partitions": partitions, "replication_factor": replication} for name in wanted}
            with contextlib.suppress(TopicAlreadyExistsError):  # another process was quicker
                admin.create_topics(counts, wait_for_metadata=True)
        described = {t["name"]: len(t["partitions"]) for t in admin.describe_topics(list(topics.read))}
        if len(set(described.values())) > 1:
            raise LogMisconfigured(
                f"log.topics: equal partition counts of traffic and feedback expected, got {described}"
            )
        return wanted
    except KafkaError as error:
        raise translate(config, error) from error
    finally:
        admin.close()
