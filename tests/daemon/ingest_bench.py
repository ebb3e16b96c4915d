"""A log file, a store, and ingests on them with a watch that counts what it is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.ingest import Ingest, IngestPorts
from daemon.store import Store, rollouts
from deploy.rollout import Phase, RolloutConfig
from monitors.alarms import Alarm, AlarmKind
from monitors.coverage import Coverage
from monitors.metrics import Metrics
from streams.codec import encode_exchange, encode_feedback
from streams.config import JoinConfig
from streams.events import Exchange, Feedback
from streams.sqlite_log import SqliteSource
from streams.sqlite_sink import SqliteSink
from tests.daemon.events import exchange

TRAFFIC, FEEDBACK = "homeostat.traffic", "homeostat.feedback"


@dataclass
class CountingWatch:
    """Counts what it is shown; alarms at the third exchange. Its state is the counts."""

    seen: list[str] = field(default_factory=list[str])
    rewards: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    rebased: int = 0
    relearned: int = 0

    def observe_exchange(self, exchange: Exchange) -> list[Alarm]:
        self.seen.append(exchange.exchange_id)
        if len(self.seen) != 3:
            return []
        return [
            Alarm(
                alarm_id="a1",
                deployment="support",
                kind=AlarmKind.INPUT,
                detector="counting",
                primary=True,
                confirmed=True,
                at=exchange.received_at,
                event_index=3,
            )
        ]

    def observe_reward(
        self, exchange: Exchange, reward: float, sent_at: float | None = None, corrected: bool = False
    ) -> list[Alarm]:
        self.rewards.append((exchange.exchange_id, reward))
        return []

    @property
    def coverage(self) -> Coverage:
        return Coverage("watching", len(self.seen), 3, 86_400.0, 86_400.0, len(self.rewards), 1, True)

    def slice_now(self) -> None:
        return None

    def rebase(self, now: float, reason: str) -> None:
        self.rebased += 1

    def relearn_rewards(self) -> None:
        self.relearned += 1

    def dump_parts(self) -> dict[str, bytes]:
        rewards = " ".join(f"{name}={value}" for name, value in self.rewards)
        return {"seen": " ".join(self.seen).encode(), "rewards": rewards.encode()}

    @classmethod
    def load(cls, parts: dict[str, bytes]) -> CountingWatch:
        rewards = [entry.split("=") for entry in parts.get("rewards", b"").decode().split()]
        return cls(parts.get("seen", b"").decode().split(), [(name, float(value)) for name, value in rewards])


@dataclass
class Bench:
    """Ingests on one log file and one store."""

    folder: Path
    store: Store
    now: float = 2000.0
    join: JoinConfig = field(default_factory=lambda: JoinConfig(window_s=600.0, lateness_s=1.0))
    made: list[Ingest] = field(default_factory=list[Ingest])

    def ingest(self, valid: Callable[[str], bool] = lambda _token: True) -> Ingest:
        """A fresh ingest, as after a restart."""
        made = Ingest(
            IngestPorts(
                deployment="support",
                store=self.store,
                source=SqliteSource(self.folder / "log.db"),
                join=self.join,
                make_watch=CountingWatch.load,
                token_is_valid=lambda token, _x, _f, _now: valid(token),
                clock=lambda: self.now,
                metrics=Metrics(),
            )
        )
        self.made.append(made)
        made.start()
        return made

    def send(self, *events: Exchange | Feedback, token: str | None = "t") -> None:
        """Append events to the log."""
        sink = SqliteSink(self.folder / "log.db")
        for event in events:
            if isinstance(event, Exchange):
                sink.append(TRAFFIC, event.session, encode_exchange(event, "test"))
            else:
                sink.append(FEEDBACK, event.session, encode_feedback(event, "test", token))
        assert sink.flush(5.0)
        sink.close()

    def send_raw(self, topic: str, value: bytes) -> None:
        """Append bytes to the log."""
        sink = SqliteSink(self.folder / "log.db")
        sink.append(topic, "k", value)
        assert sink.flush(5.0)
        sink.close()


def drain(ingest: Ingest) -> int:
    """Read until nothing is left."""
    total = 0
    while n := ingest.step(0.0):
        total += n
    return total


def watch_of(ingest: Ingest) -> CountingWatch:
    assert isinstance(ingest.watch, CountingWatch)
    return ingest.watch


def running(store: Store, maturity_s: float = 15.0) -> rollouts.Rollout:
    """An active rollout whose units mature after so many seconds and one of lateness."""
    config = RolloutConfig(maturity_s=maturity_s, lateness_s=1.0)
    row = rollouts.Rollout(
        id="r1",
        deployment="support",
        candidate="support-bbbbbbbbbbbb",
        control="support-aaaaaaaaaaaa",
        cause="a1",
        phase=Phase.CANARY_HALF.value,
        active=True,
        reason="test",
        data={"config": config.model_dump(mode="json"), "slice": None},
        started_at=1000.0,
        changed_at=1000.0,
        deadline=9000.0,
    )
    with store.begin() as tx:
        rollouts.create(tx, row)
    return row


def in_rollout(number: int, canary: bool, **changes: Any) -> Exchange:
    return exchange(number, rollout="r1", arm="canary" if canary else "control", propensity=0.5, **changes)
