"""A controller with a real store and a real log on a fake host, whose daemon can be thrown away and made anew."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.base_shape import BaseShape
from adapters.registry import Registry
from daemon.api.ports import By
from daemon.buffer_build import BufferBuilder
from daemon.config import Config, parse_config
from daemon.controller import Controller, Parts
from daemon.demonstrating import Demonstrating
from daemon.gate_task import GateTask
from daemon.ingest import Ingest, IngestPorts
from daemon.learning import Learning
from daemon.query_watch import Ask, QueryWatch
from daemon.residency import Residency
from daemon.rolling import Rolling
from daemon.rollout_start import RolloutStart
from daemon.routing import Routing
from daemon.shadow_task import ShadowTask
from daemon.soak_task import Soaked
from daemon.store import Store, rollouts, versions
from daemon.troubles import Troubles
from deploy.power import Outlook
from deploy.rollout import Phase, RolloutConfig
from monitors.metrics import Metrics
from streams.codec import encode_exchange, encode_feedback
from streams.config import JoinConfig
from streams.sqlite_log import SqliteSource
from streams.sqlite_sink import SqliteSink
from tests.daemon.events import exchange, feedback
from tests.daemon.fake_host import FakeHost, FakeReplica
from tests.daemon.fake_replier import FakeReplier
from tests.daemon.ingest_bench import CountingWatch

IDENTITY, NEW, OLD = "support-000000000000", "support-bbbbbbbbbbbb", "support-aaaaaaaaaaaa"
ME = By("tester", "because")


@dataclass
class LoopBench:
    """The world of one test: folder, store, host, clock; daemons come and go."""

    folder: Path
    store: Store
    mode: str = "auto"
    now: float = 2000.0
    host: FakeHost = field(default_factory=lambda: FakeHost([FakeReplica("replica-0"), FakeReplica("replica-1")]))
    rollout_config: RolloutConfig = field(
        default_factory=lambda: RolloutConfig(
            maturity_s=10.0, lateness_s=1.0, lease_s=5.0, deadline_s=5000.0, probation_units=40, probation_s=4000.0
        )
    )
    sent: int = 0
    more: str = ""
    """Sections of the config beside those that every test needs."""
    ask: Ask | None = None
    """Answers the kill queries, in the tick's own thread; None: nobody does."""
    troubles: Troubles = field(default_factory=Troubles)
    soak: Callable[[str, int], Soaked | None] = lambda _version, _requests: Soaked()
    shadow: ShadowTask | None = None
    metrics: Metrics = field(default_factory=Metrics)
    """Of all daemons of this world."""
    replier: Any = field(default_factory=FakeReplier)
    """Answers the gate's questions."""
    base: BaseShape | None = None
    """Of the base on this host; with it, a version that passes the gate gets its rollout."""
    identity: str = IDENTITY

    def config(self) -> Config:
        """A config of this mode."""
        text = f"""
mode: {self.mode}
home: {self.folder}
deployment: {{base_dir: base}}
agent: {{replicas: [{{name: replica-0, url: "http://127.0.0.1:1"}}, {{name: replica-1, url: "http://127.0.0.1:2"}}]}}
{self.more}
"""
        return parse_config(text, self.folder / "homeostat.yaml")

    def daemon(self) -> tuple[Controller, Ingest]:
        """A fresh daemon on what the last one left."""
        config, clock = self.config(), lambda: self.now
        metrics = self.metrics
        ports = IngestPorts(
            deployment="support",
            store=self.store,
            source=SqliteSource(self.folder / "log.db"),
            join=JoinConfig(window_s=600.0, lateness_s=1.0),
            make_watch=CountingWatch.load,
            token_is_valid=lambda _token, _exchange, _feedback, _now: True,
            clock=clock,
            metrics=metrics,
        )
        ingest = Ingest(ports)
        registry = Registry(config.artifacts)
        routing = Routing(self.host, "support", "support", clock)
        residency = Residency(self.store, self.host, "support", clock)
        rolling = Rolling(self.store, routing, residency, self.soak, "support", clock, metrics, self.shadow)
        builder = BufferBuilder(config, self.store, config.artifacts, metrics, ("support-base", self.identity))
        start = RolloutStart(config, self.identity, lambda: routing.route, clock).start
        gate = GateTask(
            config.gate,
            self.host,
            residency,
            self.replier,
            ("support-base",),
            builder.holdout_file,
            lambda _v: None,
            lambda version: registry.manifest(version).kind != "demonstrations",
        )
        learning = Learning(
            config,
            self.store,
            registry,
            builder,
            gate,
            start if self.base is not None else lambda _tx, _cycle, _version: "never",
            lambda _cycle, _result: Outlook(0.1, 0.5, 0.3, 0.25, 10.0),
            ingest.newest_slice,
            clock,
            metrics,
            RolloutStart(config, IDENTITY, lambda: routing.route, clock).second,
            Demonstrating(config, self.store, registry, self.base, self.identity),
        )
        ask = self.ask
        controller = Controller(
            Parts(
                config=config,
                store=self.store,
                registry=registry,
                agent=self.host,
                ingest=ingest,
                routing=routing,
                residency=residency,
                rolling=rolling,
                learning=learning,
                base=self.base,
                identity=self.identity,
                clock=clock,
                close=lambda: None,
                metrics=metrics,
                troubles=self.troubles,
                queries=None
                if ask is None
                else QueryWatch(
                    self.store, lambda _url, query: ask(query), clock, metrics, self.troubles, lambda work: work()
                ),
            )
        )
        ingest.start()
        controller.start()
        return controller, ingest

    def register(self, *names: str, promoted: bool = False) -> None:
        """Known versions, promoted in this order when asked."""
        with self.store.begin() as tx:
            for at, name in enumerate(names):
                row = versions.Version(
                    name, "support", "default", "lora", "d", "b", None, "registered", None, "m", None, float(at)
                )
                versions.register(tx, row)
                if promoted:
                    versions.promote(tx, name, float(at))

    def open_rollout(self, control: str = IDENTITY, name: str = "r1") -> None:
        """An active rollout of ``NEW`` in its first phase."""
        self.register(NEW)
        data: dict[str, Any] = {
            "config": self.rollout_config.model_dump(mode="json"),
            "slice": None,
            "units_at_phase": 0,
        }
        row = rollouts.Rollout(
            id=name,
            deployment="support",
            candidate=NEW,
            control=control,
            cause="manual",
            phase=Phase.STARTING.value,
            active=True,
            reason="test",
            data=data,
            started_at=self.now,
            changed_at=self.now,
            deadline=self.now + self.rollout_config.deadline_s,
        )
        with self.store.begin() as tx:
            rollouts.create(tx, row)

    def phase(self, name: str = "r1") -> Phase:
        """The phase of a rollout."""
        with self.store.read() as read:
            row = rollouts.get(read, name)
        assert row is not None
        return Phase(row.phase)

    def reason(self, name: str = "r1") -> str:
        """Why a rollout is in its phase."""
        with self.store.read() as read:
            row = rollouts.get(read, name)
        assert row is not None
        return row.reason

    def traffic(self, sessions: int, good: float, bad: float, rng: random.Random, rollout: str = "r1") -> None:
        """Sessions assigned by the route in force, each rated: canary up with chance ``good``, control with ``bad``."""
        route = self.host.route.route("support") if self.host.route else None
        split = route.split if route else None
        sink = SqliteSink(self.folder / "log.db")
        for _ in range(sessions):
            self.sent += 1
            self.now += 0.2
            canary = split is not None and rng.random() < split.share
            x = exchange(
                self.sent,
                session=f"s{self.sent}",
                identity=f"u{self.sent}",
                rollout=rollout if split else None,
                arm=("canary" if canary else "control") if split else None,
                propensity=split.share if split else None,
                version=(split.candidate if split and canary else route.control or "support-base")
                if route
                else "support-base",
                received_at=self.now,
                dispatched_at=self.now,
                completed_at=self.now + 0.1,
            )
            up = rng.random() < (good if canary else bad)
            f = feedback(self.sent, x.exchange_id, value=up, sent_at=self.now + 1.0)
            sink.append("homeostat.traffic", x.session, encode_exchange(x, "test"))
            sink.append("homeostat.feedback", x.session, encode_feedback(f, "test", "t"))
        assert sink.flush(5.0)
        sink.close()
        self.host.now = self.now


def drain(ingest: Ingest) -> None:
    """Read until nothing is left."""
    while ingest.step(0.0):
        pass
