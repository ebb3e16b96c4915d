"""How many events per CPU second the codec and the joiner take: ``python -m tests.bench.streams [EVENTS]``.

CPU time of this process, so that a busy machine disturbs little; half traffic, half feedback, all of it joined, decoded
in batches of 500 as the daemon polls them. One line per figure, the median of three runs.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from streams.codec import Decoded, decode, encode_exchange, encode_feedback
from streams.collector import settle
from streams.config import JoinConfig
from streams.events import Exchange, Feedback, FeedbackKind, Message, Trust
from streams.join import Joiner
from streams.log import Record
from streams.sqlite_log import SqliteSink, SqliteSource

T0 = 1_800_000_000.0
BATCH = 500
TOPICS = ("traffic", "feedback")
EXCHANGE = Exchange(
    exchange_id="0190a1b2-0000-7000-8000-000000000000",
    deployment="support",
    tenant="acme",
    session="s",
    identity="0123456789abcdef",
    messages=(
        Message(role="system", content="You help. " * 20),
        Message(role="user", content="My card is lost. " * 15),
    ),
    completion="Open settings, then cards, then replace. " * 3,
    version="support-0123456789ab",
    received_at=T0,
    dispatched_at=T0,
    completed_at=T0,
    status=200,
    prompt_tokens=60,
    completion_tokens=20,
)
THUMB = Feedback(
    feedback_id="f",
    exchange_id="x",
    deployment="support",
    tenant="acme",
    session="s",
    identity="0123456789abcdef",
    kind=FeedbackKind.THUMB,
    value=True,
    trust=Trust.TOKEN,
    sent_at=T0,
)


def records(count: int) -> list[Record]:
    """``count`` exchanges and as many thumbs, each thumb 20 exchanges behind its exchange; exchanges of about 1 KiB."""
    made: list[Record] = []
    for n in range(count):
        at = T0 + n / 100
        session = f"s{n % 997}"
        exchange = EXCHANGE.model_copy(
            update={
                "exchange_id": f"x{n}",
                "session": session,
                "received_at": at,
                "dispatched_at": at,
                "completed_at": at,
            }
        )
        thumb = THUMB.model_copy(
            update={"feedback_id": f"f{n}", "exchange_id": f"x{n}", "session": session, "sent_at": at + 0.2}
        )
        made.append(Record("traffic", 0, n, session, encode_exchange(exchange, "/gateway/a"), at))
        made.append(Record("feedback", 0, n, session, encode_feedback(thumb, "/gateway/a"), at + 0.2))
    return sorted(made, key=lambda r: r.timestamp)


def decode_and_join(stream: list[Record]) -> None:
    """What ingestion does with each batch, less the store."""
    joiner = Joiner(JoinConfig(window_s=60))
    joined = 0
    for start in range(0, len(stream), BATCH):
        for record in stream[start : start + BATCH]:
            decoded = decode(record)
            if isinstance(decoded, Decoded):
                joined += len(joiner.observe(decoded.event, decoded.appended_at, decoded.origin))
        joiner.advance(stream[start].timestamp)
    if joined != len(stream) // 2:
        raise RuntimeError(f"{len(stream) // 2} joined expected, got {joined}")


def decode_all(stream: list[Record]) -> None:
    """The codec alone."""
    for record in stream:
        decode(record)


def append(stream: list[Record], path: Path) -> None:
    """The SQLite log's appending half, until durable."""
    sink = SqliteSink(path, queue_max=len(stream))
    for record in stream:
        sink.append(record.topic, record.key, record.value)
    if not sink.flush(120):
        raise RuntimeError("not written in 120 s")
    sink.close()


def poll(path: Path) -> None:
    """The SQLite log's reading half."""
    source = SqliteSource(path, TOPICS)
    source.start({})
    while source.poll(BATCH, 0.0):
        pass
    source.close()


def rate(events: int, action: Callable[[], None]) -> float:
    """Events per CPU second, median of three."""
    seconds: list[float] = []
    for _ in range(3):
        began = time.process_time()
        action()
        seconds.append(time.process_time() - began)
    return events / statistics.median(seconds)


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    stream = records(count // 2)
    settle()  # as the daemon does; it also keeps the collector from looking through the prepared input
    size = sum(len(r.value) for r in stream) / len(stream)
    print(f"{len(stream)} events, {size:.0f} bytes on average; events per CPU second, median of 3")
    print(f"decode            {rate(len(stream), lambda: decode_all(stream)):>10,.0f}")
    print(f"decode + join     {rate(len(stream), lambda: decode_and_join(stream)):>10,.0f}")
    with TemporaryDirectory() as folder:
        paths = iter([Path(folder) / f"{n}.db" for n in range(3)])
        print(f"SQLite log append {rate(len(stream), lambda: append(stream, next(paths))):>10,.0f}")
        print(f"SQLite log poll   {rate(len(stream), lambda: poll(Path(folder) / '0.db')):>10,.0f}")


if __name__ == "__main__":
    main()
