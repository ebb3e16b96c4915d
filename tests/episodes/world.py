"""One episode's world: host, log, store, clocks, and the daemons that come and go in it. All of it from one seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any, Final, cast

from daemon.controller import Controller, Parts
from daemon.faults import Refused
from daemon.ingest import Ingest, IngestPorts
from daemon.invariants import Asked
from daemon.learning import Learning
from daemon.residency import Residency
from daemon.rolling import Rolling
from daemon.rollout_start import RolloutStart
from daemon.routing import Routing
from daemon.sections import HoldbackConfig
from daemon.soak_task import Soaked
from daemon.store import StoreError, StoreUnavailable, versions
from deploy.power import Outlook
from deploy.routes import Route, RouteFile
from streams.errors import LogUnavailable
from streams.events import Exchange, Feedback
from streams.log import Position
from tests.episodes.host import ALIAS, Host, Replica
from tests.episodes.played import (
    DEPLOYMENT,
    IDENTITY,
    Builder,
    CountingWatch,
    Gate,
    Log,
    LogSource,
    Quality,
    Registry,
    Silent,
    quality_of,
)
from tests.episodes.settings import JOIN, ME, config_of
from tests.episodes.traffic import request


class Crash(BaseException):
    """The daemon's process is gone."""


RETAINS: Final = 0.25
"""Chance at traffic that records go, where they ever do."""
HOLDBACK = HoldbackConfig()
"""Nobody is held back, but where a planted bug asks for it."""


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
    retention: Random | None = None
    """Draws when the log loses records that nobody has read; None: it never does."""

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        if self.seed % 7 == 4:  # draws of its own: the other seeds stay what they were
            self.retention = Random(self.seed)
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
                request(self)

    # ------------------------------------------------------------------------------------------------------ daemons

    def start_daemon(self) -> None:
        """A fresh daemon on what the last one left."""
        config, clock = config_of(self.mode).model_copy(update={"holdback": HOLDBACK}), lambda: self.now
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
        starter = RolloutStart(config, identity, lambda: routing.route, clock)
        learning = Learning(
            config,
            self.store,
            cast("Any", self.registry),
            cast("Any", Builder(self.store)),
            cast("Any", Gate(self.host, residency, self.qualities)),
            starter.start,
            lambda _cycle, _result: Outlook(0.3, 0.6, 1.0, 0.25, 10.0),
            ingest.newest_slice,
            clock,
            silent,
            starter.second,
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

    def _soak(self, version: str, _requests: int) -> Soaked:
        return Soaked("soak_empty_replies" if self.rng.random() < 0.02 else "")

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
        blind = not any(state.proved for state in self.host.seen)
        self.in_command = True
        try:
            answer = controller.rollback(ME, to, suspend_data)
        except Refused as refused:
            self.asked.append(Asked(refused.reason, True, None, self.host.file, up))
        except Exception as error:  # noqa: BLE001 - whatever it is, a person's rollback came to nothing
            self.asked.append(Asked(repr(error), False, None, self.host.file, up))
        else:
            overtaken = not answer["gateways"]  # nothing was written
            self.asked.append(Asked("done", False, answer["to"], self.host.file, up, overtaken, blind))
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

    def retain(self, committed: Mapping[Position, int]) -> None:
        """Retention, which now and then takes what was not read yet, of one topic or of both."""
        drawn = self.retention
        if drawn is None or drawn.random() >= RETAINS:
            return
        for position, read_to in committed.items():
            if drawn.random() < 0.6:
                self.log.drop(position, read_to, drawn.randint(read_to, self.log.ends[position]))

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
