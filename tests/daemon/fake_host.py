"""A serving host in memory: replicas that load and prove, and a route file, as an agent of the real host shows them.

It outlives the daemons of a test, as a real host outlives a killed daemon. The failure modes are ones that a real
server cannot be made to show at a chosen instant.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy.agent import Observation, ReplicaState, RouteAck, StaleRoute
from deploy.driver_errors import DriverError, Unreachable
from deploy.proof import ProofResult
from deploy.routes import RouteFile


@dataclass
class FakeReplica:
    """One server."""

    name: str
    alive: bool = True
    incarnation: int = 1
    models: set[str] = field(default_factory=set[str])
    proved: dict[str, bool] = field(default_factory=dict[str, bool])

    def restart(self) -> None:
        """Come back without adapters."""
        self.incarnation += 1
        self.models, self.proved = set(), {}


@dataclass
class FakeHost:
    """Implements ``deploy.agent.Agent``."""

    replicas: list[FakeReplica]
    route: RouteFile | None = None
    without_effect: set[str] = field(default_factory=set[str])
    """Versions that load and do nothing."""
    history: list[RouteFile] = field(default_factory=list[RouteFile])
    now: float = 0.0

    def replica(self, name: str) -> FakeReplica:
        return next(r for r in self.replicas if r.name == name)

    def observe(self) -> Observation:
        """What is there now."""
        states = [
            ReplicaState(r.name, r.alive, frozenset(r.models), dict(r.proved), str(r.incarnation))
            for r in self.replicas
        ]
        return Observation(tuple(states), self.route)

    def ensure_loaded(self, version: str, replica: str) -> None:
        """Load."""
        self._answering(replica).models.add(version)

    def prove(self, version: str, replica: str) -> ProofResult:
        """Prove."""
        one = self._answering(replica)
        if version not in one.models:
            raise DriverError(f"{version} is not loaded")
        ok = version not in self.without_effect
        one.proved[version] = ok
        return ProofResult(ok, "proved" if ok else "no_effect", {"gap": 0.0})

    def unload(self, version: str, replica: str) -> None:
        """Forget."""
        self._answering(replica).models.discard(version)

    def write_route(self, route: RouteFile) -> RouteAck:
        """Write, as the real agent does: a lower or equal epoch with other content is refused."""
        held = self.route
        if held is not None and (
            route.epoch < held.epoch or (route.epoch == held.epoch and _bare(route) != _bare(held))
        ):
            raise StaleRoute(f"epoch {route.epoch} after {held.epoch}")
        self.route = route
        self.history.append(route)
        return RouteAck(route.epoch, {r.name: r.alive for r in self.replicas}, self.now, 0.1)

    def close(self) -> None:
        """Nothing to release."""

    def _answering(self, name: str) -> FakeReplica:
        one = self.replica(name)
        if not one.alive:
            raise Unreachable(f"{name} does not answer")
        return one


def _bare(file: RouteFile) -> list[tuple[object, ...]]:
    return [(r.alias, r.control, r.split and (r.split.rollout, r.split.candidate, r.split.share)) for r in file.routes]
