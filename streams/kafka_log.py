"""Kafka as log: the names by which it is known. The only rooms' door to ``kafka``."""

from __future__ import annotations

from streams.kafka_sink import KafkaSink
from streams.kafka_source import KafkaSource
from streams.kafka_topics import create_missing

__all__ = ["KafkaSink", "KafkaSource", "create_missing"]
