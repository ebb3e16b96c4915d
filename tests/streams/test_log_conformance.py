"""What every log must do: the same tests against the SQLite log and a real Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from streams.config import LogConfig, Topics
from streams.errors import LogUnavailable
from streams.log import Gap, Position, Record, Sink, Source
from streams.open_log import ensure_topics, open_sink, open_source
from streams.sqlite_log import SqliteSource
from tests.waiting import wait_until

KEYS = [f"session-{n}" for n in range(20)]


class Rig(Protocol):
    """One kind of log under test."""

    config: LogConfig

    def retain_from(self, config: LogConfig, position: Position, offset: int) -> None:
        """Let retention take everything below ``offset``."""
        ...


class SqliteRig:
    def __init__(self, folder: Path) -> None:
        self.config = LogConfig(kind="sqlite", path=folder / "log.db", partitions=4, flush_ms=5)

    def retain_from(self, config: LogConfig, position: Position, offset: int) -> None:
        source = SqliteSource(config.path, config.topics.read)
        rows = source._connection.execute(  # pyright: ignore[reportPrivateUsage]
            "SELECT ts FROM events WHERE topic = ? AND part = ? AND off = ?", (*position, offset)
        ).fetchone()
        source.trim(rows[0])
        source.close()


class KafkaRig:
    def __init__(self, bootstrap: str) -> None:
        run = uuid.uuid4().hex[:8]
        self.config = LogConfig(
            kind="kafka",
            bootstrap=(bootstrap,),
            topics=Topics(traffic=f"t-{run}", feedback=f"f-{run}", dead_letters=f"d-{run}"),
            group=f"g-{run}",
            metadata_max_age_s=1.0,
        )
        ensure_topics(self.config)

    def retain_from(self, config: LogConfig, position: Position, offset: int) -> None:
        from kafka import KafkaAdminClient
        from kafka.structs import TopicPartition

        admin: Any = KafkaAdminClient(bootstrap_servers=list(config.bootstrap))
        admin.delete_records({TopicPartition(*position): offset})
        admin.close()


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.slow])])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    if request.param == "sqlite":
        return SqliteRig(tmp_path)
    return KafkaRig(request.getfixturevalue("broker").bootstrap)


@pytest.fixture
def opened() -> Iterator[Callable[[Any], Any]]:
    """Closes at the end what a test opened."""
    things: list[Any] = []

    def remember(thing: Any) -> Any:
        things.append(thing)
        return thing

    yield remember
    for thing in reversed(things):
        thing.close()


def fill(sink: Sink, topic: str, count: int, prefix: str = "e") -> list[bytes]:
    values = [f"{prefix}{n}".encode() for n in range(count)]
    assert all(sink.append(topic, KEYS[n % len(KEYS)], value) for n, value in enumerate(values))
    assert sink.flush(30)
    return values


def read(source: Source, count: int, deadline_s: float = 30.0) -> list[Record]:
    got: list[Record] = []

    def enough() -> bool:
        got.extend(source.poll(100, 0.0))
        return len(got) >= count

    wait_until(enough, deadline_s, f"{count} records")
    return got


def after(records: list[Record]) -> Mapping[Position, int]:
    positions: dict[Position, int] = {}
    for record in records:
        place = (record.topic, record.partition)
        positions[place] = max(positions.get(place, 0), record.offset + 1)
    return positions


def test_what_is_appended_is_read_once_and_in_order_per_key(rig: Rig, opened: Callable[[Any], Any]) -> None:
    sink, source = opened(open_sink(rig.config)), opened(open_source(rig.config))
    topic = rig.config.topics.traffic
    values = fill(sink, topic, 200)
    assert source.start({}) == []
    got = read(source, 200)
    assert sorted(r.value for r in got) == sorted(values)
    for key in KEYS:
        of_key = [int(r.value[1:]) for r in got if r.key == key]
        assert of_key == sorted(of_key) and len(of_key) == 10
        assert len({r.partition for r in got if r.key == key}) == 1
    assert source.poll(10, 0.0) == []
    assert sink.dropped == 0


def test_traffic_and_feedback_of_a_session_share_a_partition_number(rig: Rig, opened: Callable[[Any], Any]) -> None:
    sink, source = opened(open_sink(rig.config)), opened(open_source(rig.config))
    fill(sink, rig.config.topics.traffic, 20)
    fill(sink, rig.config.topics.feedback, 20)
    source.start({})
    got = read(source, 40)
    for key in KEYS:
        assert len({r.partition for r in got if r.key == key}) == 1
    assert len({r.partition for r in got}) > 1


def test_a_reader_resumes_where_its_caller_says(rig: Rig, opened: Callable[[Any], Any]) -> None:
    sink = opened(open_sink(rig.config))
    values = fill(sink, rig.config.topics.traffic, 60)
    first = opened(open_source(rig.config))
    first.start({})
    before = list(first.poll(25, 10.0))
    first.acknowledge(after(before))
    first.close()
    second = opened(open_source(rig.config))
    assert second.start(after(before)) == []
    rest = read(second, 60 - len(before))
    assert sorted(r.value for r in before + rest) == sorted(values)
    assert 0 < len(before) <= 25


def test_an_old_position_delivers_again_byte_for_byte(rig: Rig, opened: Callable[[Any], Any]) -> None:
    sink, source = opened(open_sink(rig.config)), opened(open_source(rig.config))
    fill(sink, rig.config.topics.traffic, 40)
    source.start({})
    first = read(source, 40)
    source.start({})
    again = read(source, 40)

    def order(record: Record) -> tuple[int, int]:
        return (record.partition, record.offset)

    assert sorted(first, key=order) == sorted(again, key=order)


def test_bytes_that_are_no_text_and_missing_keys_pass_unchanged(rig: Rig, opened: Callable[[Any], Any]) -> None:
    sink, source = opened(open_sink(rig.config)), opened(open_source(rig.config))
    odd = [b"", b"\x00\xff\xfe", bytes(range(256)), b"x" * 300_000]
    assert all(sink.append(rig.config.topics.traffic, None, value) for value in odd)
    assert sink.append(rig.config.topics.traffic, "s\ud800", b"half a pair")
    assert sink.flush(30)
    source.start({})
    got = read(source, 5)
    assert sorted(r.value for r in got) == sorted([*odd, b"half a pair"])
    assert {r.key for r in got if r.value in odd} == {None}


def test_records_carry_wall_time(rig: Rig, opened: Callable[[Any], Any]) -> None:
    import time

    sink, source = opened(open_sink(rig.config)), opened(open_source(rig.config))
    fill(sink, rig.config.topics.traffic, 3)
    source.start({})
    assert all(abs(r.timestamp - time.time()) < 120 for r in read(source, 3))


def test_lag_counts_what_is_left(rig: Rig, opened: Callable[[Any], Any]) -> None:
    sink, source = opened(open_sink(rig.config)), opened(open_source(rig.config))
    fill(sink, rig.config.topics.traffic, 80)
    source.start({})
    assert sum(source.lag().values()) == 80
    got = read(source, 80)
    assert len(got) == 80
    assert sum(source.lag().values()) == 0
    assert set(source.lag()) == {(t, p) for t in rig.config.topics.read for p in range(4)}


def test_retention_below_the_position_is_a_gap(rig: Rig, opened: Callable[[Any], Any]) -> None:
    sink = opened(open_sink(rig.config))
    topic = rig.config.topics.traffic
    for n in range(10):
        assert sink.append(topic, KEYS[0], f"a{n}".encode())
    assert sink.flush(30)
    source = opened(open_source(rig.config))
    source.start({})
    place = (topic, read(source, 10)[0].partition)
    source.close()
    assert sink.append(topic, KEYS[0], b"later")
    assert sink.flush(30)
    rig.retain_from(rig.config, place, 10)
    source = opened(open_source(rig.config))
    assert list(source.start({place: 4})) == [Gap(topic, place[1], expected=4, found=10)]
    assert [r.value for r in read(source, 1)] == [b"later"]
    source.close()
    source = opened(open_source(rig.config))
    assert source.start({}) == [], "a first start has nothing to lose"


def test_a_position_beyond_the_end_is_a_gap_too(rig: Rig, opened: Callable[[Any], Any]) -> None:
    sink, source = opened(open_sink(rig.config)), opened(open_source(rig.config))
    fill(sink, rig.config.topics.traffic, 20)
    place = (rig.config.topics.traffic, 0)
    assert [(g.expected, g.found) for g in source.start({place: 1_000})] == [(1_000, 0)]
    assert len(read(source, 20)) == 20


def test_a_late_appender_is_seen_by_a_waiting_reader(rig: Rig, opened: Callable[[Any], Any]) -> None:
    sink, source = opened(open_sink(rig.config)), opened(open_source(rig.config))
    source.start({})
    assert source.poll(10, 0.0) == []
    fill(sink, rig.config.topics.feedback, 1)
    assert len(source.poll(10, 20.0)) == 1, "one poll that waits returns as soon as there is something"


def test_too_large_events_are_dropped_and_counted(rig: Rig, opened: Callable[[Any], Any]) -> None:
    sink = opened(open_sink(rig.config.model_copy(update={"max_event_bytes": 2_000})))
    assert not sink.append(rig.config.topics.traffic, "k", b"x" * 2_001)
    assert sink.append(rig.config.topics.traffic, "k", b"x" * 2_000)
    assert sink.flush(30)
    assert sink.dropped == 1


def test_a_closed_sink_has_written_everything_and_drops_what_comes_later(
    rig: Rig, opened: Callable[[Any], Any]
) -> None:
    sink, source = opened(open_sink(rig.config)), opened(open_source(rig.config))
    assert all(sink.append(rig.config.topics.traffic, "k", b"x") for _ in range(50))
    sink.close()
    assert not sink.append(rig.config.topics.traffic, "k", b"x")
    assert sink.dropped == 1
    sink.close()
    source.start({})
    assert len(read(source, 50)) == 50


def test_two_sinks_append_to_one_log(rig: Rig, opened: Callable[[Any], Any]) -> None:
    one, two, source = opened(open_sink(rig.config)), opened(open_sink(rig.config)), opened(open_source(rig.config))
    topic = rig.config.topics.traffic
    for n in range(100):
        assert one.append(topic, KEYS[n % 20], f"one{n}".encode()) and two.append(
            topic, KEYS[n % 20], f"two{n}".encode()
        )
    assert one.flush(30) and two.flush(30)
    source.start({})
    got = read(source, 200)
    assert len({(r.partition, r.offset) for r in got}) == len({r.value for r in got}) == 200


@pytest.mark.slow
def test_a_log_that_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for config, words in (
        (LogConfig(path=tmp_path / "file" / "log.db"), "log.path"),
        (LogConfig(kind="kafka", bootstrap=("127.0.0.1:1",), start_timeout_s=0.05), "log.bootstrap"),
    ):
        with pytest.raises(LogUnavailable, match=words):
            open_sink(config)
        with pytest.raises(LogUnavailable, match=words):
            open_source(config).start({})
