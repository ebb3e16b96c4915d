"""The real broker, once per session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kafka_broker import Broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running Kafka of our own: tests stop and start it."""
    one = Broker(tmp_path_factory.mktemp("kafka"))
    one.start()
    yield one
    one.stop()
