"""What only the SQLite log does: retention by trimming, many processes, locked and foreign files."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streams.errors import LogUnavailable
from streams.log import Gap, Record
from streams.sqlite_log import SqliteSink, SqliteSource
from tests.waiting import wait_until

TOPIC = "homeostat.traffic"


class Clock:
    """Wall seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def drain(source: SqliteSource) -> list[Record]:
    got: list[Record] = []
    while batch := source.poll(100, 0.0):
        got.extend(batch)
    return got


def write(sink: SqliteSink, count: int, prefix: str = "e") -> None:
    assert all(sink.append(TOPIC, f"k{n}", f"{prefix}{n}".encode()) for n in range(count))
    assert sink.flush(10)


def test_trim_takes_what_is_older_and_no_more(tmp_path: Path) -> None:
    clock = Clock()
    sink = SqliteSink(tmp_path / "log.db", flush_ms=1, partitions=2, clock=clock)
    write(sink, 10, "old")
    clock.now = 2_000.0
    write(sink, 10, "new")
    sink.close()
    source = SqliteSource(tmp_path / "log.db", [TOPIC])
    assert source.trim(1_000.0) == 0
    assert source.trim(1_500.0) == 10
    assert source.trim(1_500.0) == 0
    assert source.start({}) == []
    assert {r.value[:3] for r in drain(source)} == {b"new"}
    assert source.trim(9_999.0) == 10
    source.close()


def test_offsets_go_on_after_everything_was_trimmed(tmp_path: Path) -> None:
    clock = Clock()
    sink = SqliteSink(tmp_path / "log.db", flush_ms=1, clock=clock)
    write(sink, 5)
    source = SqliteSource(tmp_path / "log.db", [TOPIC])
    source.start({})
    assert [r.offset for r in drain(source)] == [0, 1, 2, 3, 4]
    assert source.trim(9_999.0) == 5
    write(sink, 2)
    assert [r.offset for r in drain(source)] == [5, 6]
    assert source.take_gaps() == []
    sink.close()
    source.close()


def test_trimming_ahead_of_a_running_reader_is_a_gap(tmp_path: Path) -> None:
    clock = Clock()
    sink = SqliteSink(tmp_path / "log.db", flush_ms=1, clock=clock)
    write(sink, 5)
    reader, janitor = SqliteSource(tmp_path / "log.db", [TOPIC]), SqliteSource(tmp_path / "log.db", [TOPIC])
    reader.start({})
    assert len(reader.poll(2, 0.0)) == 2
    janitor.trim(9_999.0)
    clock.now = 10_000.0
    write(sink, 1)
    assert [r.offset for r in drain(reader)] == [5]
    assert reader.take_gaps() == [Gap(TOPIC, 0, expected=2, found=5)]
    assert reader.take_gaps() == []
    for thing in (sink, reader, janitor):
        thing.close()


def test_trim_gives_space_back(tmp_path: Path) -> None:
    clock = Clock()
    sink = SqliteSink(tmp_path / "log.db", flush_ms=1, clock=clock)
    assert all(sink.append(TOPIC, "k", bytes(10_000)) for _ in range(300))
    assert sink.flush(10)
    sink.close()
    full = (tmp_path / "log.db").stat().st_size
    source = SqliteSource(tmp_path / "log.db", [TOPIC])
    assert source.trim(9_999.0) == 300
    source.close()
    assert full > 3_000_000 > 300_000 > (tmp_path / "log.db").stat().st_size


WRITER = """
import sys
from pathlib import Path
from streams.sqlite_log import SqliteSink
sink = SqliteSink(Path(sys.argv[1]), flush_ms=1, queue_max=100_000)
for n in range(2000):
    sink.append("homeostat.traffic", f"k{n % 10}", f"{sys.argv[2]}-{n}".encode())
assert sink.flush(30) and sink.dropped == 0
sink.close()
"""


@pytest.mark.slow
def test_several_processes_append_while_one_reads(tmp_path: Path, repo_root: Path) -> None:
    path = tmp_path / "log.db"
    source = SqliteSource(path, [TOPIC])
    source.start({})
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], cwd=repo_root) for name in ("a", "b", "c")
    ]
    got: list[Record] = []
    wait_until(lambda: got.extend(source.poll(500, 0.05)) or len(got) >= 6_000, 60, "6,000 records of three processes")
    assert [w.wait(30) for w in writers] == [0, 0, 0]
    assert [r.offset for r in got] == list(range(6_000))
    for name in ("a", "b", "c"):
        numbers = [int(r.value.split(b"-")[1]) for r in got if r.value.startswith(name.encode())]
        assert numbers == list(range(2_000))
    source.close()


def test_a_locked_file_fills_the_queue_and_nothing_queued_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.sqlite_file.BUSY_TIMEOUT_MS", 20)
    sink = SqliteSink(tmp_path / "log.db", flush_ms=1, queue_max=10)
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    kept = [sink.append(TOPIC, "k", f"e{n}".encode()) for n in range(15)]
    assert kept == [True] * 10 + [False] * 5
    assert sink.dropped == 5 and sink.queued == 10
    assert not sink.flush(0.05)
    wait_until(lambda: sink.failures, 10, "a failed try")
    other.execute("COMMIT")
    other.close()
    assert sink.flush(10)
    source = SqliteSource(tmp_path / "log.db", [TOPIC])
    source.start({})
    assert [r.value for r in drain(source)] == [f"e{n}".encode() for n in range(10)]
    sink.close()
    source.close()


def test_partitions_are_kept_for_life(tmp_path: Path) -> None:
    SqliteSink(tmp_path / "log.db", partitions=3).close()
    sink = SqliteSink(tmp_path / "log.db", flush_ms=1, partitions=8)
    write(sink, 50)
    sink.close()
    source = SqliteSource(tmp_path / "log.db", [TOPIC], partitions=8)
    source.start({})
    assert {r.partition for r in drain(source)} == {0, 1, 2}
    source.close()


def test_topics_are_read_side_by_side(tmp_path: Path) -> None:
    sink = SqliteSink(tmp_path / "log.db", flush_ms=1)
    for n in range(10):
        sink.append("a", "k", str(n).encode())
        sink.append("b", "k", str(n).encode())
    assert sink.flush(10)
    source = SqliteSource(tmp_path / "log.db", ["a", "b", "not-yet-there"])
    source.start({})
    assert [r.topic for r in source.poll(6, 0.0)] == ["a", "b"] * 3
    sink.close()
    source.close()


def test_a_waiting_reader_is_woken_by_close(tmp_path: Path) -> None:
    source = SqliteSource(tmp_path / "log.db", [TOPIC])
    source.start({})
    result: list[object] = []

    def wait_long() -> None:
        try:
            result.append(source.poll(10, 60.0))
        except LogUnavailable as error:
            result.append(error)

    thread = threading.Thread(target=wait_long)
    thread.start()
    source._closed.set()  # pyright: ignore[reportPrivateUsage]
    thread.join(10)
    assert result == [[]]
    source.close()
    source.close()


@pytest.mark.parametrize("damage", ["text", "foreign", "newer"])
def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "log.db"
    if damage == "text":
        path.write_text("this is no database, just a note of some length " * 20)
    elif damage == "foreign":
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE recipes (name TEXT)")
        other.close()
    else:
        SqliteSink(path).close()
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version = 99")
        other.close()
    before = path.read_bytes()
    with pytest.raises(LogUnavailable, match=r"log\.path|new file"):
        SqliteSink(path)
    if damage == "text":
        assert path.read_bytes() == before
