"""One episode's world: host, log, store, clocks, and the daemons that come and go in it. All of it from one seed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Final, TypeVar, cast

import daemon.adoption
import daemon.controller
import daemon.ingest
import daemon.learning
import daemon.residency
import daemon.rolling
import daemon.rollout_start
import daemon.troubles
from daemon import cycle as cycle_table
from daemon import ledger
from daemon.api.ports import By
from daemon.config import Config, parse_config
from daemon.controller import Controller, Parts
from daemon.faults import Refused
from daemon.ingest import Ingest, IngestPorts
from daemon.invariants import Asked, Served
from daemon.learning import Learning
from daemon.residency import Residency
from daemon.rolling import Rolling
from daemon.rollout_start import RolloutStart
from daemon.routing import Routing
from daemon.store import Store, StoreError, StoreUnavailable, buffers, cycles, rollouts, versions
from deploy.power import Outlook
from deploy.routes import Route, RouteFile
from streams.codec import Decoded
from streams.config import JoinConfig
from streams.errors import LogUnavailable
from streams.events import DeadLetter, Exchange, Feedback, FeedbackKind, Message, Trust
from streams.log import Record
from tests.episodes.host import ALIAS, Host, Replica
from tests.episodes.played import (
    BASE,
    BASE_DIGEST,
    DEPLOYMENT,
    IDENTITY,
    PLAIN,
    Builder,
    CountingWatch,
    Gate,
    Log,
    LogSource,
    Quality,
    Registry,
    Silent,
    manifest_of,
    quality_of,
)
from tests.episodes.store_twin import twin_rows

ME: Final = By("tester", "because")
JOIN: Final = JoinConfig(window_s=40.0, lateness_s=2.0, idle_s=5.0)
SETTINGS: Final = """
mode: {mode}
home: /episode
deployment: {{base_dir: base}}
agent: {{replicas: [{{name: replica-0, url: "http://127.0.0.1:1"}}]}}
rollout:
  share_small: 0.3
  share_probation: 0.8
  alpha: 0.45
  margin_small: 0.5
  margin_half: 0.4
  min_units_per_arm: 2
  maturity_s: 4.0
  lateness_s: 1.0
  lease_s: 12.0
  deadline_s: 120.0
  probation_units: 8
  probation_s: 40.0
  kill_errors: 4
  kill_sessions: 2
cycle:
  min_labels: 4
  min_selected: 2
  label_deadline_s: 30.0
  slice_refit_s: 10.0
  history_s: 1000.0
  cooldown_s: 5.0
  reward_grace_s: 5.0
  job_lease_s: 8.0
"""


AN_EXCHANGE: Final = Exchange(
    exchange_id="x",
    deployment=DEPLOYMENT,
    tenant="default",
    session="s",
    identity="u",
    messages=(Message(role="user", content="question"),),
    completion="answer",
    version=BASE,
    received_at=0.0,
    dispatched_at=0.0,
    completed_at=0.0,
    status=200,
)
A_THUMB: Final = Feedback(
    feedback_id="f",
    exchange_id="x",
    deployment=DEPLOYMENT,
    tenant="default",
    kind=FeedbackKind.THUMB,
    trust=Trust.TOKEN,
    sent_at=0.0,
)


Event = TypeVar("Event", Exchange, Feedback)


def like(event: Event, facts: dict[str, Any]) -> Event:
    """The event with some fields changed: ``model_copy`` without what a frozen event of plain fields does not need."""
    made = object.__new__(type(event))
    put = object.__setattr__
    put(made, "__dict__", event.__dict__ | facts)
    put(made, "__pydantic_fields_set__", event.model_fields_set | facts.keys())
    put(made, "__pydantic_extra__", None)
    put(made, "__pydantic_private__", None)
    return made


@cache
def config_of(mode: str) -> Config:
    """Short durations and few units, so that a rollout fits into an episode."""
    return parse_config(SETTINGS.format(mode=mode), Path("/episode/homeostat.yaml"))


@cache
def rollout_settings(mode: str) -> dict[str, Any]:
    """As a rollout's row holds them."""
    return config_of(mode).rollout.model_dump(mode="json")


class Crash(BaseException):
    """The daemon's process is gone."""


@dataclass
class Faults:
    """What is wrong now."""

    crash_in: int | None = None
    """Effects until the daemon dies."""
    intrude: float = 0.0
    """Chance at an effect that something comes in between."""
    store_fails: int = 0
    """Store calls that fail from now on..."""
    store_in: int = 0
    """...after so many that work."""
    loses: float = 0.0
    """Chance that a push is lost."""
    log_away: bool = False


@dataclass
class World:
    """Host, log and store outlive the daemons."""

    seed: int
    store: Any
    rng: Random = field(init=False)
    now: float = 1_000_000.0
    """Wall clock of the host, seconds."""
    mono: float = 0.0
    faults: Faults = field(default_factory=Faults)
    mode: str = "auto"
    remote_agent: bool = False
    """The agent is a process of its own and remembers its proofs when the daemon dies."""
    qualities: dict[str, Quality] = field(default_factory=dict[str, Quality])
    controller: Controller | None = None
    ingest: Ingest | None = None
    asked: list[Asked] = field(default_factory=list[Asked])
    unexpected: list[str] = field(default_factory=list[str])
    crashes: int = 0
    troubled: bool = False
    """A call failed by an injected fault since the newest complete tick."""
    ticked: bool = False
    intrusions: int = 0
    number: int = 0
    asides: list[tuple[float, Exchange | Feedback, str]] = field(
        default_factory=list[tuple[float, Exchange | Feedback, str]]
    )
    """Events under way: (monotonic second of arrival, event, token)."""
    job: dict[str, Any] | None = None
    in_command: bool = False

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.log = Log()
        count = self.rng.choice((1, 2, 2, 3))
        self.host = Host(
            [Replica(f"replica-{n}") for n in range(count)],
            mono=lambda: self.mono,
            wall=lambda: self.now,
            point=self.point,
            loses=lambda: self.faults.loses > 0 and self.rng.random() < self.faults.loses,
        )
        self.registry = Registry(self.qualities)
        self.store.before_begin = lambda: self._store_point("begin")
        self.store.before_commit = lambda: self._store_point("commit")
        self.store.after_commit = lambda: self.point("committed", False)

    # ------------------------------------------------------------------------------------------------------ effects

    def point(self, name: str, free: bool) -> None:
        """An effect is about to happen, or has. ``free``: no lock is held, so others may act here too."""
        faults = self.faults
        if faults.crash_in is not None:
            faults.crash_in -= 1
            if faults.crash_in < 0:
                faults.crash_in = None
                raise Crash(name)
        if free and faults.intrude and not self.in_command and self.rng.random() < faults.intrude:
            self._intrude()

    def failpoint(self, name: str) -> None:
        """Stands for ``streams.failpoints.failpoint``."""
        self.point(name, not self.store.writing)  # in a transaction other threads wait

    def _store_point(self, name: str) -> None:
        self.point(name, False)
        faults = self.faults
        if faults.store_fails:
            if faults.store_in:
                faults.store_in -= 1
            else:
                faults.store_fails -= 1
                self.troubled = True
                raise StoreUnavailable(f"{name}: disk I/O error")

    def _intrude(self) -> None:
        """What other threads and hosts may do at any instant."""
        self.intrusions += 1
        match self.rng.randrange(4):
            case 0:
                self.rollback(None)
            case 1:
                self.direct_rollback()
            case 2:
                self.restart_replica()
            case _:
                self.request()

    # ------------------------------------------------------------------------------------------------------ daemons

    def start_daemon(self) -> None:
        """A fresh daemon on what the last one left."""
        config, clock = config_of(self.mode), lambda: self.now
        acts = self.mode != "observe"
        identity = IDENTITY if acts else None
        silent: Any = Silent()
        ports = IngestPorts(
            deployment=DEPLOYMENT,
            store=self.store,
            source=LogSource(self.log, self._log_point),
            join=JOIN,
            make_watch=CountingWatch,
            token_is_valid=lambda token, _exchange, _feedback, _now: token == "t",
            clock=clock,
            metrics=silent,
        )
        if not self.remote_agent:
            self.host.forget()
        ingest = Ingest(ports)
        routing = Routing(self.host, DEPLOYMENT, ALIAS, clock)
        residency = Residency(self.store, self.host, DEPLOYMENT, clock)
        rolling = Rolling(self.store, routing, residency, self._soak, DEPLOYMENT, clock, silent)
        learning = Learning(
            config,
            self.store,
            cast("Any", self.registry),
            cast("Any", Builder(self.store)),
            cast("Any", Gate(self.host, residency, self.qualities)),
            RolloutStart(config, identity, lambda: routing.route, clock).start,
            lambda _cycle, _result: Outlook(0.3, 0.6, 1.0, 0.25, 10.0),
            ingest.newest_slice,
            clock,
            silent,
        )
        controller = Controller(
            Parts(
                config=config,
                store=self.store,
                registry=cast("Any", self.registry),
                agent=self.host,
                ingest=ingest,
                routing=routing,
                residency=residency,
                rolling=rolling,
                learning=learning,
                base=cast("Any", "base") if acts else None,
                identity=identity,
                clock=clock,
                close=lambda: None,
                metrics=silent,
            )
        )

        def start() -> None:
            ingest.start()
            controller.start()
            self.controller, self.ingest = controller, ingest

        self.guard("start", start)

    def _log_point(self) -> None:
        if self.faults.log_away:
            self.troubled = True
            raise LogUnavailable("log", "no broker answers", "start it")

    def _soak(self, version: str, _requests: int) -> str | None:
        return "soak_empty_replies" if self.rng.random() < 0.02 else None

    def guard(self, what: str, act: Callable[[], object]) -> bool:
        """Run a part of the daemon; whether it came to its end. What no fault explains is kept as unexpected."""
        try:
            act()
        except Crash:
            self.die()
        except (StoreError, LogUnavailable) as error:
            if not self.troubled:
                self.unexpected.append(f"{what}: {error!r}")
        else:
            return True
        return False

    def die(self) -> None:
        """The process is gone; what it had not committed never happened."""
        self.crashes += 1
        self.controller = self.ingest = None
        self.faults.crash_in = None
        self.in_command = False

    def tick(self) -> None:
        """One tick of the controller, the daemon started first where none runs."""
        if self.controller is None:
            self.start_daemon()
        controller = self.controller
        if controller is None:
            return
        self.troubled = False
        whole = [r for r in self.host.replicas if r.alive and not r.mute]
        stamps, intrusions = [(r, r.incarnation) for r in whole], self.intrusions
        if self.guard("tick", controller.tick) and not self.troubled:
            self.ticked = self.intrusions == intrusions
            for replica, incarnation in stamps:
                same = replica.alive and not replica.mute and replica.incarnation == incarnation
                replica.settled = same and self.mode != "observe"

    def read(self) -> None:
        """One batch of the ingest."""
        if self.ingest is not None:
            ingest = self.ingest
            self.troubled = False
            self.guard("ingest", lambda: ingest.step(0.0))

    # ------------------------------------------------------------------------------------------------------ people

    def rollback(self, to: str | None, suspend_data: bool = False) -> None:
        """Ask the daemon, as the API does."""
        controller = self.controller
        if controller is None:
            return
        up = [r.serving(self.mono) for r in self.host.replicas if r.alive and not r.mute]
        self.in_command = True
        try:
            answer = controller.rollback(ME, to, suspend_data)
        except Refused as refused:
            self.asked.append(Asked(refused.reason, True, None, self.host.file, up))
        except Exception as error:  # noqa: BLE001 - whatever it is, a person's rollback came to nothing
            self.asked.append(Asked(repr(error), False, None, self.host.file, up))
        else:
            self.asked.append(Asked("done", False, answer["to"], self.host.file, up))
        finally:
            self.in_command = False

    def direct_rollback(self) -> None:
        """A person at the host's agent, past the daemon."""
        file = self.host.file
        route = None if file is None else file.route(ALIAS)
        if file is None or route is None or (route.control in (None, IDENTITY) and route.split is None):
            return
        left = route.control if route.split is None else route.split.candidate
        target = self._below(str(route.control)) if route.split is None else route.control
        fresh = Route(deployment=DEPLOYMENT, alias=ALIAS, control=target)
        self.host.write(
            RouteFile(
                epoch=file.epoch + self.rng.choice((1, 1, 3)),
                actor="operator",
                reason=f"rollback:{left}",
                written_at=self.now,
                routes=(fresh,),
            )
        )

    def _below(self, control: str) -> str:
        with self.store.read() as read:
            stack = [v.version for v in versions.promoted_stack(read, DEPLOYMENT)]
        rest = stack[stack.index(control) + 1 :] if control in stack else stack
        return next(iter(rest), IDENTITY)

    # ------------------------------------------------------------------------------------------------------ the host

    def restart_replica(self) -> None:
        """One replica's process is replaced."""
        self.rng.choice(self.host.replicas).restart(self.host.file, self.mono)

    def request(self) -> None:
        """One request of one user, and perhaps what he thinks of the answer."""
        rng, host = self.rng, self.host
        ready = [r for r in host.replicas if r.ready]
        if not ready:
            return
        replica = rng.choice(ready)
        self.number += 1
        number = self.number
        old = rng.random() < 0.2 and number > 1
        session = f"s{rng.randrange(1, number) if old else number}"
        choice = host.choose(replica, session)
        version = choice.version or BASE
        if choice.version is not None and choice.version not in replica.models:
            version = BASE
        quality = self.qualities.get(version, PLAIN)
        status = 500 if rng.random() < quality.fails else 200
        epoch = 0 if replica.held is None else replica.held.file.epoch
        proved = version in replica.truth
        host.served.append(Served(replica.name, str(replica.incarnation), version, epoch, proved))
        drift = rng.random()
        facts: dict[str, Any] = {
            "exchange_id": f"x{number}",
            "session": session,
            "identity": f"u{session}",
            "finish_reason": "input" if drift < 0.02 else "reward" if drift < 0.03 else None,
            "version": version,
            "rollout": choice.rollout,
            "arm": choice.arm,
            "propensity": choice.propensity,
            "route_epoch": epoch,
            "received_at": self.now,
            "dispatched_at": self.now,
            "completed_at": self.now + 0.1,
            "status": status,
        }
        exchange = like(AN_EXCHANGE, facts)
        self.send(exchange, rng.choice((0.0, 0.0, 0.0, 1.0, 3.0)))
        if rng.random() < 0.75:
            delay = rng.choice((0.5, 1.0, 1.0, 2.0, 6.0, 60.0))
            facts = {
                "feedback_id": f"f{number}",
                "exchange_id": f"x{number}",
                "session": session,
                "identity": f"u{session}",
                "value": rng.random() < quality.up,
                "sent_at": self.now + delay,
            }
            said = like(A_THUMB, facts)
            self.send(said, delay, "forged" if rng.random() < 0.05 else "t")

    def send(self, event: Exchange | Feedback, delay: float, token: str = "t") -> None:
        """Put an event under way: sometimes twice, sometimes late."""
        self.asides.append((self.mono + delay, event, token))
        if self.rng.random() < 0.08:
            self.asides.append((self.mono + delay + self.rng.choice((0.0, 2.0, 20.0)), event, token))

    def arrive(self, everything: bool = False) -> None:
        """Append what is due to the log."""
        due = [one for one in self.asides if everything or one[0] <= self.mono]
        if not due:
            return
        self.asides = [one for one in self.asides if not (everything or one[0] <= self.mono)]
        if self.rng.random() < 0.2:
            self.rng.shuffle(due)
        for _, event, token in due:
            self.log.append(event, self.now, token)

    # ------------------------------------------------------------------------------------------------------ training

    def train(self, calm: bool = False) -> None:
        """The trainer takes a step: claims a job, or reports on the one it has."""
        controller = self.controller
        if controller is None:
            return
        self.troubled = False
        if self.job is None:
            found: list[Any] = []
            self.guard("claim", lambda: found.append(controller.trainer_claim("trainer")))
            self.job = found[0] if found else None
            return
        job, end = self.job, self.rng.random()
        body: dict[str, Any] = {"worker": "trainer", "attempt": job["attempt"]}
        if not calm and end < 0.3:
            self.guard("report", lambda: controller.trainer_report(job["job_id"], {**body, "kind": "progress"}))
            return
        if not calm and end < 0.4:
            self.job = None  # it died
            return
        if not calm and end < 0.5:
            body |= {"kind": "failed", "reason": "out_of_memory"}
        else:
            body |= {"kind": "done", "version": self._trained(job)}
        if self.guard("report", lambda: controller.trainer_report(job["job_id"], body)) and self.rng.random() < 0.9:
            self.job = None

    def _trained(self, job: dict[str, Any]) -> str:
        """The same buffer gives the same bytes."""
        digest = str(job["buffer_digest"])
        version = f"support-{sha256(digest.encode()).hexdigest()[:12]}"
        if version not in self.qualities:
            self.qualities[version] = quality = quality_of(self.rng)
            if not quality.effect:
                self.host.without_effect.add(version)
        self.registry.staged[job["job_id"]] = (version, digest)
        return version

    # ------------------------------------------------------------------------------------------------------ the past

    def furnish(self) -> None:
        """What was there before: the identity, perhaps champions, perhaps a route."""
        rng = self.rng
        self.mode = rng.choices(("auto", "canary", "propose", "observe"), (80, 8, 8, 4))[0]
        self.remote_agent = rng.random() < 0.3
        stack = [f"support-{n:012d}" for n in range(1, rng.choice((0, 0, 1, 2, 3)) + 1)]
        names = [IDENTITY, *stack]
        with self.store.begin() as tx:
            for at, name in enumerate(names):
                kind, gate = ("identity", None) if name == IDENTITY else ("lora", {"verdict": "pass"})
                manifest = manifest_of(name, None)
                versions.register(
                    tx,
                    versions.Version(
                        name, DEPLOYMENT, "default", kind, manifest.digest, BASE_DIGEST, None, "registered", gate,
                        "manifest", None, float(at),
                    ),
                )  # fmt: skip
                self.registry.admitted[name] = manifest
                if name != IDENTITY:
                    versions.promote(tx, name, float(at))
                    self.qualities[name] = Quality(0.5)
        if self.mode != "observe" and rng.random() < 0.7:
            self._furnish_rollout(stack)
        if stack and self.mode != "observe":
            route = Route(deployment=DEPLOYMENT, alias=ALIAS, control=stack[-1])
            self.host.write(
                RouteFile(epoch=rng.choice((1, 7)), actor="daemon", reason="promoted", written_at=0.0, routes=(route,))
            )

    def _furnish_rollout(self, stack: list[str]) -> None:
        """A version that has just passed its gate, its rollout about to begin."""
        buffer, version, rollout = sha256(b"before").hexdigest(), "support-0000000000ff", "rollout-before"
        self.qualities[version] = quality = replace(quality_of(self.rng), gate="pass", finite=True)
        if not quality.effect:
            self.host.without_effect.add(version)
        manifest = self.registry.admitted[version] = manifest_of(version, buffer)
        control = stack[-1] if stack else IDENTITY
        config, now = config_of(self.mode), self.now
        data = {
            "config": rollout_settings(self.mode),
            "latency_tau_s": 5.0,
            "slice": None,
            "cycle": "cycle-before",
            "units_at_phase": 0,
        }
        entry = {"to_phase": "starting", "candidate": version, "control": control, "cycle": "cycle-before"}
        with self.store.begin() as tx:
            row = buffers.Buffer(buffer, DEPLOYMENT, "default", "manual", {}, now)
            buffers.add(tx, row, [buffers.Item(f"x{n}", "new", "played", "selected") for n in range(1, 9)])
            versions.register(
                tx,
                versions.Version(
                    version, DEPLOYMENT, "default", "lora", manifest.digest, BASE_DIGEST, None, "gated",
                    {"verdict": "pass"}, "manifest", buffer, now,
                ),
            )  # fmt: skip
            cycles.create(
                tx,
                cycle="cycle-before",
                deployment=DEPLOYMENT,
                cause="manual",
                phase="rolling",
                reason="gate_passed",
                data={"version": version, "rollout": rollout, "buffer": buffer, "overrides": {}},
                at=now,
            )
            rollouts.create(
                tx,
                rollouts.Rollout(
                    rollout, DEPLOYMENT, version, control, "manual", "starting", True, "gate_passed", data, now, now,
                    now + config.rollout.deadline_s,
                ),
            )  # fmt: skip
            ledger.append(tx, DEPLOYMENT, "cycle", "cycle-before", "asked_by_person", actor="tester", at=now)
            for signal in ("enough_labels", "trained", "gate_passed"):
                moved = _cycle_move(signal)
                ledger.append(tx, DEPLOYMENT, "cycle", "cycle-before", signal, actor="daemon", at=now, data=moved)
            ledger.append(tx, DEPLOYMENT, "rollout", rollout, "gate_passed", actor="daemon", at=now, data=entry)


def _cycle_move(signal: str) -> dict[str, str]:
    before, after = next((p, to) for (p, s), to in cycle_table.TABLE.items() if s == signal)
    return {"from_phase": before.value, "to_phase": after.value, "signal": signal}


# ---------------------------------------------------------------------------------------------------------- patching


class _Stage:
    """The world that plays now; the patched names of the product look here."""

    world: World | None = None


_stage: Final = _Stage()


def _on_stage() -> World:
    assert _stage.world is not None
    return _stage.world


@contextmanager
def stage(twin: bool = True) -> Generator[None]:
    """Within, the product's failpoints, ids, codec and (with the twin) its rows are the world's."""

    def failpoint(name: str) -> None:
        _on_stage().failpoint(name)

    def decode(record: Record) -> Decoded | DeadLetter:
        return _on_stage().log.decode(record)

    def numbered() -> uuid.UUID:
        return uuid.UUID(int=_on_stage().rng.getrandbits(128))

    ids, silent = SimpleNamespace(uuid4=numbered), Silent()
    patches: list[tuple[Any, str, Any]] = [
        (daemon.adoption, "failpoint", failpoint),
        (daemon.ingest, "failpoint", failpoint),
        (daemon.ingest, "decode", decode),
        (daemon.ingest, "settle", silent),
        (daemon.residency, "failpoint", failpoint),
        (daemon.rolling, "failpoint", failpoint),
        (daemon.learning, "uuid", ids),
        (daemon.rollout_start, "uuid", ids),
        (daemon.troubles, "log", silent),
        (daemon.controller, "set_gauges", silent),
    ]
    kept = [(module, name, getattr(module, name)) for module, name, _ in patches]
    for module, name, value in patches:
        setattr(module, name, value)
    try:
        if twin:
            with twin_rows():
                yield
        else:
            yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


def play_in(world: World) -> None:
    """Let this world be the one that the patched names look at."""
    _stage.world = world


__all__ = ["Crash", "Store", "World", "config_of", "play_in", "stage"]
