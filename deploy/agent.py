"""The agent of a serving host: the only caller of its servers' control routes, the only writer of its route file.

It is sent version names, never paths: names are looked up below the artifacts folder and their files checked before a
load. What it knows of a replica (models, proofs) holds for one incarnation of the server process and is forgotten
when that changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from pydantic import BaseModel, ConfigDict

from adapters.base_shape import BaseShape
from adapters.demonstrations import Demonstrations, DemonstrationsInvalid, holds_demonstrations, read_demonstrations
from adapters.durable import write_file
from adapters.file_checks import AdapterRejected, check_version
from adapters.manifest import Manifest, list_files
from adapters.registry import Registry
from deploy.driver import Driver
from deploy.driver_errors import DriverError, FilesRejected, StaleRoute, UnknownVersion, Unreachable
from deploy.proof import ProofResult, prove, prove_demonstrations
from deploy.routes import RouteFile

PROBES: Final = ((1, 3, 72, 84, 4), (1, 3, 110, 120, 130, 4), (1, 3, 200, 4), (1, 3, 105, 210, 90, 180, 4))
"""Token ids that the identity version is compared with the base on; any will do, and every vocabulary has 256 bytes."""


PUSH_S: Final = 2.0
"""Seconds to wait for a gateway's answer; one that is silent for longer finds the route by its file watch."""


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """What one replica shows."""

    name: str
    alive: bool
    models: frozenset[str]
    proved: Mapping[str, bool]
    incarnation: str
    """Changes when the server process restarts."""
    problem: str = ""
    """Where ``alive`` is false: the reason of the DriverError that says why."""
    message: str = ""
    """Its words, for a person."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What a host shows: its replicas and its route file."""

    replicas: tuple[ReplicaState, ...]
    route: RouteFile | None


@dataclass(frozen=True, slots=True)
class RouteAck:
    """A route that is written, and which gateways said that it is in force with them."""

    epoch: int
    gateways: Mapping[str, bool]
    at: float
    """Wall-clock seconds after the last answer."""
    ms: float


class Agent(Protocol):
    """What the daemon asks of a serving host."""

    def observe(self) -> Observation:
        """What is there now; never raises for a replica that does not answer."""
        ...

    def ensure_loaded(self, version: str, replica: str) -> None:
        """Check the files and load; no change when it is loaded. Raises DriverError (FilesRejected, UnknownVersion)."""
        ...

    def prove(self, version: str, replica: str) -> ProofResult:
        """Prove the effect on a replica. Raises DriverError."""
        ...

    def unload(self, version: str, replica: str) -> None:
        """Forget it on a replica; its files stay. Raises DriverError."""
        ...

    def write_route(self, route: RouteFile) -> RouteAck:
        """Write the file, push it to every gateway, wait (bounded). Raises StaleRoute for a lower epoch, OSError."""
        ...

    def close(self) -> None:
        """Release connections; idempotent."""
        ...


class Replica(BaseModel):
    """One server of the host."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    url: str


class AgentConfig(BaseModel):
    """What an agent needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: tuple[Replica, ...]
    artifacts: Path
    route_file: Path
    control_token_file: Path
    base_name: str
    """Served name of the base, for the identity proof."""


@dataclass(slots=True)
class _Known:
    incarnation: str = ""
    proved: dict[str, bool] = field(default_factory=dict[str, bool])
    shown: dict[str, str] = field(default_factory=dict[str, str])
    """Demonstrations that were checked for this server, and what they stand on: its engine knows nothing of them."""
    told: frozenset[str] = frozenset()


class LocalAgent:
    """The agent for servers that this process reaches itself. Thread-safe: a rollback may come while a proof runs.

    ``base`` None (the base is not on this host): files are compared with their manifest, but not with what they must
    fit.
    """

    def __init__(
        self, config: AgentConfig, base: BaseShape | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        token = config.control_token_file.read_text(encoding="utf-8").strip()
        self._config, self._base, self._clock = config, base, clock
        self._drivers = {r.name: Driver(r.url, token) for r in config.replicas}
        # Connections of their own: a proof that waits for a busy server must not hold up a rollback.
        self._pushers = {r.name: Driver(r.url, token, timeout_s=PUSH_S) for r in config.replicas}
        self._registry = Registry(config.artifacts)
        self._known = {r.name: _Known() for r in config.replicas}
        self._route_lock = threading.Lock()
        # Threads of their own too: looking at replicas that hang must not delay a push.
        count = max(1, len(config.replicas))
        self._lookers = ThreadPoolExecutor(max_workers=2 * count, thread_name_prefix="agent-look")
        self._push_threads = ThreadPoolExecutor(max_workers=count, thread_name_prefix="agent-push")

    def observe(self) -> Observation:
        """Ask every replica, at once; read the route file."""
        return Observation(tuple(self._lookers.map(self._replica, self._drivers)), self._read_route())

    def ensure_loaded(self, version: str, replica: str) -> None:
        """Check the files, then load, unless it is there already. Raises DriverError."""
        driver = self._driver(replica)
        if version in driver.models():
            return
        folder = self._checked_folder(version)
        if not holds_demonstrations(folder):
            driver.load(version, folder)
            return
        self._meet(replica)
        below = self._demonstrations(version).stands_on
        self.ensure_loaded(below, replica)
        self._known[replica].shown[version] = below

    def prove(self, version: str, replica: str) -> ProofResult:
        """Prove, remember, and tell the gateway what is proved there. Demonstrations are proved after the version that
        they stand on. Raises DriverError.
        """
        driver, manifest = self._driver(replica), self._manifest(version)
        self._meet(replica)
        if manifest.kind == "demonstrations":
            result = self._prove_shown(version, replica)
        else:
            result = prove(driver, manifest, self._config.base_name, PROBES)
        self._known[replica].proved[version] = result.ok
        self._tell(replica)
        return result

    def _prove_shown(self, version: str, replica: str) -> ProofResult:
        made = self._demonstrations(version)
        if not self._known[replica].proved.get(made.stands_on):
            below = self.prove(made.stands_on, replica)
            if not below.ok:
                return ProofResult(False, "stands_on_unproved", below.numbers)
        return prove_demonstrations(self._driver(replica), version, made)

    def unload(self, version: str, replica: str) -> None:
        """Forget it there; its files stay, because an evicted adapter is read again, and so does what demonstrations
        stand on. Raises DriverError.
        """
        if self._known[replica].shown.pop(version, None) is None:
            self._driver(replica).unload(version)
        self._known[replica].proved.pop(version, None)
        self._tell(replica)

    def write_route(self, route: RouteFile) -> RouteAck:
        """File first (it is the record), then all gateways at once, so that after the answer nothing is dispatched by
        the old route. Raises StaleRoute, and OSError where the file cannot be written.
        """
        began = time.monotonic()
        with self._route_lock:
            held = self._read_route()
            if held is not None and not _newer(route, held):
                raise StaleRoute(f"expected an epoch above {held.epoch}, got {route.epoch}: another writer was here")
            write_file(self._config.route_file, route.model_dump_json().encode())
            pushes = {
                name: self._push_threads.submit(self._push, driver, route) for name, driver in self._pushers.items()
            }
            gateways = {name: push.result() for name, push in pushes.items()}
        return RouteAck(route.epoch, gateways, self._clock(), 1000.0 * (time.monotonic() - began))

    def close(self) -> None:
        """Release connections and threads; idempotent."""
        for threads in (self._lookers, self._push_threads):
            threads.shutdown(wait=False, cancel_futures=True)
        for driver in (*self._drivers.values(), *self._pushers.values()):
            driver.close()

    def _driver(self, replica: str) -> Driver:
        driver = self._drivers.get(replica)
        if driver is None:
            raise Unreachable(f"no replica is called {replica}; this host has {', '.join(self._drivers) or 'none'}")
        return driver

    def _manifest(self, version: str) -> Manifest:
        try:
            return self._registry.manifest(version)
        except (KeyError, ValueError) as error:
            raise UnknownVersion(f"{version}: {error}") from error

    def _demonstrations(self, version: str) -> Demonstrations:
        try:
            return read_demonstrations(self._registry.path(version))[1]
        except (DemonstrationsInvalid, OSError) as error:
            raise FilesRejected(f"{version}: {error}") from error
        except (KeyError, ValueError) as error:
            raise UnknownVersion(f"{version}: {error}") from error

    def _checked_folder(self, version: str) -> Path:
        try:
            folder = self._registry.path(version)
            if self._base is not None:
                check_version(folder, self._base)
            elif list_files(folder) != self._registry.manifest(version).files:
                raise FilesRejected(f"{version}: its files are not those of its manifest")
        except AdapterRejected as error:
            raise FilesRejected(f"{version}: {error}") from error
        except (KeyError, ValueError) as error:
            raise UnknownVersion(f"{version}: {error}") from error
        return folder

    def _replica(self, name: str) -> ReplicaState:
        known = self._known[name]
        try:
            self._meet(name)
            models = self._drivers[name].models()
        except DriverError as error:
            return ReplicaState(name, False, frozenset(), {}, known.incarnation, error.reason, str(error))
        # copies, because a gate loads and proves on its own thread
        models |= {version for version, below in known.shown.copy().items() if below in models}
        known.proved = {version: ok for version, ok in known.proved.copy().items() if version in models}
        self._tell(name)
        return ReplicaState(name, True, models, dict(known.proved), known.incarnation)

    def _meet(self, name: str) -> None:
        """Forget what we knew of a server process that has been replaced. Raises DriverError."""
        known = self._known[name]
        incarnation = str(self._drivers[name].gateway().get("started_at", ""))
        if incarnation != known.incarnation:
            known.incarnation, known.proved, known.shown, known.told = incarnation, {}, {}, frozenset()

    def _tell(self, name: str) -> None:
        known = self._known[name]
        proved = frozenset(v for v, ok in known.proved.items() if ok)
        if proved == known.told:
            return
        try:
            self._drivers[name].tell_proved(sorted(proved))
        except DriverError:
            return  # told at the next look; until then the replica says that it is not ready
        known.told = proved

    def _push(self, driver: Driver, route: RouteFile) -> bool:
        try:
            driver.push_route(route)
        except DriverError:
            return False
        return True

    def _read_route(self) -> RouteFile | None:
        try:
            return RouteFile.model_validate_json(self._config.route_file.read_bytes())
        except (OSError, ValueError):
            return None


def _newer(route: RouteFile, held: RouteFile) -> bool:
    """A higher epoch, or the same routes with leases at least as new."""
    if route.epoch != held.epoch:
        return route.epoch > held.epoch
    same = _without_renewals(route) == _without_renewals(held)
    return same and all(new >= old for new, old in zip(_renewals(route), _renewals(held), strict=True))


def _renewals(file: RouteFile) -> list[int]:
    return [r.split.lease_seq if r.split else 0 for r in file.routes]


def _without_renewals(file: RouteFile) -> object:
    routes = [
        r.model_copy(update={"split": r.split.model_copy(update={"lease_seq": 0})}) if r.split else r
        for r in file.routes
    ]
    return file.model_copy(update={"routes": tuple(routes), "written_at": 0.0})
