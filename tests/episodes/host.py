"""The serving host of an episode: replicas with their gateways, the route file, and the agent that looks after them.

Gateways decide with the product's own functions (``route_table.adopt``, ``arms.choose``, ``missing_champions``); the
agent refuses stale routes with the product's own rule. Only processes, sockets and disks are played.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.invariants import Served, Serving, Written
from deploy import agent as real_agent
from deploy.agent import Observation, ReplicaState, RouteAck
from deploy.driver_errors import LoadRejected, StaleRoute, Unreachable
from deploy.gateway.arms import Choice, choose
from deploy.gateway.control import missing_champions
from deploy.gateway.route_table import Held, adopt
from deploy.proof import ProofResult
from deploy.routes import RouteFile

ALIAS = "support"
is_newer: Callable[[RouteFile, RouteFile], bool] = getattr(real_agent, "_newer")  # noqa: B009
"""The agent's rule for which route file may follow which."""


@dataclass
class Replica:
    """One server and the gateway in front of it."""

    name: str
    alive: bool = True
    incarnation: int = 1
    models: set[str] = field(default_factory=set[str])
    proved: dict[str, bool] = field(default_factory=dict[str, bool])
    """What the agent knows; it holds for ``met``."""
    met: int = 0
    told: frozenset[str] = frozenset()
    """What the gateway was told that is proved."""
    truth: set[str] = field(default_factory=set[str])
    """Versions whose proof was good in this incarnation."""
    holds: frozenset[str] = frozenset()
    """Those of them that are loaded."""
    held: Held | None = None
    mute: bool = False
    """Its network drops what the agent says, in both directions."""
    settled: bool = False
    _state: ReplicaState | None = None
    _serving: Serving | None = None
    _looked_at: tuple[object, ...] = ()
    _missing: tuple[Held | None, frozenset[str], bool] = (None, frozenset(), False)

    def restart(self, file: RouteFile | None, mono: float) -> None:
        """A new process: no adapters; a share found in the file is dead until it is renewed."""
        self.incarnation += 1
        self.alive, self.mute, self.settled = True, False, False
        self.models, self.truth, self.told, self.held = set(), set(), frozenset(), None
        self.holds = frozenset()
        if file is not None:
            self.held, _ = adopt(None, file, mono, witnessed=False)

    @property
    def ready(self) -> bool:
        """Whether a load balancer may send it traffic."""
        if not self.alive:
            return False
        held, told, missing = self._missing
        if held is not self.held or told is not self.told:
            missing = bool(missing_champions(self.held, self.told))
            self._missing = (self.held, self.told, missing)
        return not missing

    def load(self, version: str) -> None:
        """It is in the server's memory."""
        self.models.add(version)
        self.holds = frozenset(self.models & self.truth)

    def unload(self, version: str) -> None:
        """It is gone from there."""
        self.models.discard(version)
        self.holds = frozenset(self.models & self.truth)

    def is_true(self, version: str) -> None:
        """Its proof was good."""
        self.truth.add(version)
        self.holds = frozenset(self.models & self.truth)

    def state(self) -> ReplicaState:
        """What the agent sees of it when it answers; the same object for as long as it is the same."""
        state, models, incarnation = self._state, self.models, str(self.incarnation)
        if state is None or (state.models, state.proved, state.incarnation) != (models, self.proved, incarnation):
            self.proved = {v: ok for v, ok in self.proved.items() if v in models}
            state = self._state = ReplicaState(self.name, True, frozenset(models), self.proved, incarnation)
        return state

    def serving(self, mono: float) -> Serving:
        """What the invariants look at; the same object for as long as it is the same."""
        held = self.held
        live = held is not None and held.live(ALIAS, mono)
        settled = self.settled and self.alive and not self.mute
        now = (held, self.told, self.holds, self.incarnation, self.alive, settled, live)
        was = self._serving
        if was is None or now != self._looked_at:
            route = None if held is None else held.routes.get(ALIAS)
            control = None if route is None else route.control
            epoch = 0 if held is None else held.file.epoch
            self._looked_at, names = now, (self.name, str(self.incarnation))
            was = self._serving = Serving(*names, self.ready, control, epoch, self.holds, settled, live)
        return was


@dataclass
class Host:
    """Implements ``deploy.agent.Agent``. ``point`` is called at every effect: there an episode crashes or intrudes."""

    replicas: list[Replica]
    mono: Callable[[], float]
    wall: Callable[[], float]
    point: Callable[[str, bool], None]
    loses: Callable[[], bool]
    """Whether the next push is lost."""
    without_effect: set[str] = field(default_factory=set[str])
    rejected: set[str] = field(default_factory=set[str])
    written: list[Written] = field(default_factory=list[Written])
    mail: list[tuple[str, RouteFile]] = field(default_factory=list[tuple[str, RouteFile]])
    """Copies of pushes, to be delivered late or twice."""
    seen: tuple[ReplicaState, ...] = ()
    served: list[Served] = field(default_factory=list[Served])

    @property
    def file(self) -> RouteFile | None:
        """The route file."""
        return self.written[-1].file if self.written else None

    def replica(self, name: str) -> Replica:
        """By name."""
        return next(r for r in self.replicas if r.name == name)

    # --------------------------------------------------------------------------------------------- what the agent does

    def observe(self) -> Observation:
        """What is there now."""
        self.point("observe", True)
        states = tuple([self._state(r) for r in self.replicas])
        self.seen = states
        return Observation(states, self.file)

    def ensure_loaded(self, version: str, replica: str) -> None:
        """Check and load."""
        self.point("load", True)
        one = self._answering(replica)
        if version in self.rejected:
            raise LoadRejected(f"{replica} refused {version}")
        one.load(version)
        self.point("loaded", True)

    def prove(self, version: str, replica: str) -> ProofResult:
        """Prove, remember, tell."""
        self.point("prove", True)
        one = self._answering(replica)
        self._meet(one)
        if version not in one.models:
            raise LoadRejected(f"{replica} has no {version}")
        ok = version not in self.without_effect
        one.proved = {**one.proved, version: ok}  # a state that was shown stays as it was
        if ok:
            one.is_true(version)
        one.told = frozenset(v for v, good in one.proved.items() if good)
        return ProofResult(ok, "proved" if ok else "no_effect", {"gap": 0.5})

    def unload(self, version: str, replica: str) -> None:
        """Forget."""
        self._answering(replica).unload(version)

    def write_route(self, route: RouteFile) -> RouteAck:
        """The file, then the pushes."""
        self.point("write", False)
        ack = self.write(route, self.seen if ":" not in route.reason else ())
        self.point("written", False)
        return ack

    def close(self) -> None:
        """Nothing to release."""

    # ---------------------------------------------------------------------------------------- what it consists of

    def write(self, route: RouteFile, seen: tuple[ReplicaState, ...] = ()) -> RouteAck:
        """As the agent does it, for whoever asks."""
        held = self.file
        if held is not None and not is_newer(route, held):
            raise StaleRoute(f"expected an epoch above {held.epoch}, got {route.epoch}: another writer was here")
        self.written.append(Written(route, seen))
        heard = {r.name: self._push(r, route) for r in self.replicas}
        return RouteAck(route.epoch, heard, self.wall(), 0.1)

    def _push(self, replica: Replica, route: RouteFile) -> bool:
        if not replica.alive or replica.mute or self.loses():
            self.mail.append((replica.name, route))
            return False
        replica.held, adoption = adopt(replica.held, route, self.mono(), witnessed=True)
        return adoption.held

    def deliver_late(self, number: int) -> None:
        """One of the kept copies arrives (again)."""
        name, route = self.mail[number % len(self.mail)]
        replica = self.replica(name)
        if replica.alive:
            replica.held, _ = adopt(replica.held, route, self.mono(), witnessed=True)

    def watch_files(self) -> None:
        """Every gateway looks at the route file."""
        if self.file is None:
            return
        for replica in self.replicas:
            if replica.alive and (replica.held is None or replica.held.file is not self.file):
                replica.held, _ = adopt(replica.held, self.file, self.mono(), witnessed=True)

    def choose(self, replica: Replica, session: str) -> Choice:
        """Where a gateway sends a session."""
        held = replica.held
        route = None if held is None else held.routes.get(ALIAS)
        return choose(route, held is not None and held.live(ALIAS, self.mono()), session, replica.told)

    def forget(self) -> None:
        """The agent lived in the daemon that died."""
        for replica in self.replicas:
            replica.met, replica.proved = 0, {}

    def _meet(self, replica: Replica) -> None:
        if replica.met != replica.incarnation:
            replica.met, replica.proved = replica.incarnation, {}

    def _state(self, replica: Replica) -> ReplicaState:
        if not replica.alive or replica.mute:
            return ReplicaState(replica.name, False, frozenset(), {}, str(replica.met), "unreachable", "no answer")
        self._meet(replica)
        state = replica.state()
        told = frozenset([v for v, ok in state.proved.items() if ok])
        if told != replica.told:
            replica.told = told
        return state

    def _answering(self, name: str) -> Replica:
        one = self.replica(name)
        if not one.alive or one.mute:
            raise Unreachable(f"{name} does not answer")
        return one
