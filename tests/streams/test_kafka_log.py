"""What only Kafka can do to us: restarts under load, growth, retention while running, topics that are not there."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.demo.ports import free_port
from streams.config import LogConfig, Topics
from streams.errors import LogMisconfigured, LogUnavailable, TopicMissing
from streams.log import Gap, Record
from streams.open_log import ensure_topics, open_sink, open_source
from tests.kafka_broker import Broker
from tests.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def settings(bootstrap: str, **changes: Any) -> LogConfig:
    run = uuid.uuid4().hex[:8]
    topics = Topics(traffic=f"t-{run}", feedback=f"f-{run}", dead_letters=f"d-{run}")
    config = LogConfig(
        kind="kafka",
        bootstrap=(bootstrap,),
        topics=topics,
        group=f"g-{run}",
        metadata_max_age_s=1.0,
        start_timeout_s=15.0,
    )
    return config.model_copy(update=changes)


@pytest.fixture
def config(broker: Broker) -> LogConfig:
    made = settings(broker.bootstrap)
    ensure_topics(made)
    return made


@pytest.fixture
def admin(broker: Broker) -> Iterator[Any]:
    from kafka import KafkaAdminClient

    client = KafkaAdminClient(bootstrap_servers=[broker.bootstrap])
    yield client
    client.close()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_broker_that_restarts_under_load_loses_nothing(tmp_path: Path, how: str) -> None:
    own = Broker(tmp_path / "kafka")
    own.start()
    config = settings(own.bootstrap, queue_max=100_000)
    ensure_topics(config)
    sink, source = open_sink(config), open_source(config)
    got: list[Record] = []
    sent: list[bytes] = []
    done = threading.Event()
    try:
        source.start({})

        def load() -> None:
            while not done.wait(0.001):
                value = f"e{len(sent)}".encode()
                if sink.append(config.topics.traffic, f"s{len(sent) % 50}", value):
                    sent.append(value)

        def more_than(count: int) -> bool:
            got.extend(source.poll(500, 0.0))
            return len(got) > count

        writer = threading.Thread(target=load)
        writer.start()
        try:
            wait_until(lambda: more_than(500), 30, "records before the restart")
            own.kill() if how == "kill" else own.stop()
            at_outage = len(sent)
            wait_until(lambda: len(sent) > at_outage + 300, 30, "appends while the broker is away")
            assert list(source.poll(100, 0.0)) is not None, "a poll during the outage is quiet"
            own.start()
            wait_until(lambda: more_than(at_outage + 1_000), 60, "records after the restart")
        finally:
            done.set()
            writer.join()
        assert sink.flush(60)
        wait_until(lambda: more_than(len(sent) - 1), 60, "everything that was sent")
    finally:
        source.close()
        sink.close()
        own.stop()
    assert sink.dropped == 0
    assert sorted(r.value for r in got) == sorted(sent), "nothing lost, nothing doubled"
    for key in {r.key for r in got}:
        numbers = [int(r.value[1:]) for r in got if r.key == key]
        assert numbers == sorted(numbers), "order per key survives"


def test_new_partitions_are_read_from_their_beginning(config: LogConfig, admin: Any) -> None:
    sink, source = open_sink(config), open_source(config)
    source.start({})
    try:
        admin.create_partitions({config.topics.traffic: 6})
        wait_until(lambda: source.poll(10, 0.0) or len(source.lag()) == 10, 30, "the source to see 6 + 4 partitions")
        seen: set[int] = set()

        def wide() -> bool:
            for n in range(50):
                sink.append(config.topics.traffic, f"s{n}", b"x")
            seen.update(r.partition for r in source.poll(500, 0.0))
            return seen == set(range(6))

        wait_until(wide, 30, "records of all six partitions")
    finally:
        sink.close()
        source.close()


def test_retention_that_overtakes_a_running_reader_is_a_gap(config: LogConfig, admin: Any) -> None:
    from kafka.structs import TopicPartition

    sink, source = open_sink(config), open_source(config)
    try:
        for _ in range(20):
            sink.append(config.topics.traffic, "one", b"x" * 1000)
        assert sink.flush(30)
        source.start({})
        got: list[Record] = []
        wait_until(lambda: got.extend(source.poll(100, 0.0)) or len(got) >= 20, 30, "20 records")
        place = (config.topics.traffic, got[0].partition)
        source.start({place: 2})
        admin.delete_records({TopicPartition(*place): 20})
        sink.append(config.topics.traffic, "one", b"after")
        assert sink.flush(30)
        rest: list[Record] = []
        wait_until(lambda: rest.extend(source.poll(100, 0.0)) or rest, 30, "the record after the gap")
        gaps = [gap for gap in source.take_gaps() if (gap.topic, gap.partition) == place]
        # What was fetched before the deletion still counts as read; then there is no gap.
        assert (rest[0].value == b"after" and gaps == [Gap(*place, expected=2, found=20)]) or rest[0].offset == 2
        assert rest[-1].value == b"after"
    finally:
        sink.close()
        source.close()


def test_missing_topics_are_named_and_not_made(broker: Broker, admin: Any) -> None:
    config = settings(broker.bootstrap)
    source = open_source(config)
    with pytest.raises(TopicMissing, match=config.topics.feedback):
        source.start({})
    source.close()
    sink = open_sink(config)
    assert sink.append(config.topics.traffic, "k", b"x")
    assert not sink.flush(1.0)
    assert not set(config.topics.read) & set(admin.list_topics()), "neither reading nor appending makes a topic"
    assert ensure_topics(config) == [config.topics.traffic, config.topics.feedback, config.topics.dead_letters]
    assert ensure_topics(config) == []
    assert sink.flush(30), "what waited for the topic is delivered"
    sink.close()


def test_a_topic_that_is_missing_holds_up_no_other(config: LogConfig) -> None:
    sink = open_sink(config)
    sink.append("nowhere", "k", b"x")
    assert sink.append(config.topics.traffic, "k", b"x")
    source = open_source(config)
    source.start({})
    wait_until(lambda: source.poll(10, 0.0), 30, "the other topic's record")
    source.close()
    sink.close()
    assert sink.dropped == 1, "the one for nowhere"


def test_unequal_partition_counts_are_refused(broker: Broker, admin: Any) -> None:
    config = settings(broker.bootstrap)
    admin.create_topics({config.topics.traffic: {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True)
    with pytest.raises(LogMisconfigured, match="equal partition counts"):
        ensure_topics(config, partitions=4)


def test_no_broker_at_start_says_what_to_do() -> None:
    config = settings(f"127.0.0.1:{free_port()}", start_timeout_s=0.1)
    for action in (lambda: open_source(config).start({}), lambda: open_sink(config), lambda: ensure_topics(config)):
        with pytest.raises(LogUnavailable, match=r"Start the broker or correct log\.bootstrap"):
            action()


def test_a_sink_that_need_not_have_a_broker_drops_and_counts_until_one_comes(tmp_path: Path) -> None:
    own = Broker(tmp_path / "kafka")
    config = settings(own.bootstrap, queue_max=10)
    sink = open_sink(config, required=False)
    kept = [sink.append(config.topics.traffic, "k", f"e{n}".encode()) for n in range(15)]
    assert kept == [True] * 10 + [False] * 5
    assert sink.dropped == 5
    own.start()
    try:
        ensure_topics(config)
        assert sink.flush(30)
        source = open_source(config)
        source.start({})
        got: list[Record] = []
        wait_until(lambda: got.extend(source.poll(100, 0.0)) or len(got) >= 10, 30, "what the queue held")
        assert [r.value for r in got] == [f"e{n}".encode() for n in range(10)]
        source.close()
        sink.close()
    finally:
        own.stop()
