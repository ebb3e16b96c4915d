"""Versions on replicas: loaded, and their effect proved, before anything is routed to them.

Every load has an intent row first; loading what is loaded and proving what is proved are harmless, so a restart at
any line is. A proof holds for one incarnation of a replica: after its restart it is asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from daemon import ledger
from daemon.store import Store, intents, proofs
from deploy.agent import Agent, ReplicaState
from deploy.driver_errors import AgentRefused, ControlRefused, DriverError, LoraDisabled, Unreachable
from deploy.proof import ProofResult
from streams.failpoints import failpoint

MOST_REMEMBERED: Final = 1000
"""Proofs of which it is remembered that they are recorded; forgetting one costs a look into the store."""
NOBODY: Final = "no_replica_answers"
AWAY: Final = frozenset({NOBODY, *(e.reason for e in (Unreachable, ControlRefused, AgentRefused, LoraDisabled))})
"""Reasons that speak of a replica, or of how it was started, and not of the version that it was asked for."""


@dataclass(frozen=True, slots=True)
class Residence:
    """What became of one version on one replica."""

    ok: bool
    reason: str
    final: bool = False
    """Not a missing answer but a wrong one: asking again will not help."""
    message: str = ""
    """The server's words, for a person."""
    replica: str = ""
    """The one that was asked; empty where none was."""

    @property
    def away(self) -> bool:
        """Whether nobody said anything of the version."""
        return self.reason in AWAY


RESIDENT: Final = Residence(True, "resident")
"""Nothing was to be done."""


class Residency:
    """Keeps versions resident. Used by the controller's thread only."""

    def __init__(self, store: Store, agent: Agent, deployment: str, clock: Callable[[], float]) -> None:
        self._store, self._agent, self._deployment, self._clock = store, agent, deployment, clock
        self._recorded: dict[tuple[str, str], str] = {}
        """(version, replica) to the incarnation whose good proof is known to be in the store."""

    def everywhere(
        self, version: str, replicas: Sequence[ReplicaState], owner: str, place: str = "residency"
    ) -> Residence:
        """Load and prove on every replica that answers, one at a time; the first failure stops."""
        alive = [r for r in replicas if r.alive]
        if not alive:
            return Residence(False, NOBODY)
        for replica in alive:
            found = self.on(version, replica, owner, place)
            if not found.ok:
                return found
        return RESIDENT

    def on(self, version: str, replica: ReplicaState, owner: str, place: str = "residency") -> Residence:
        """Load and prove on one replica. ``owner`` is the rollout (or deployment) on whose behalf; ``place`` begins the
        names of the failpoints.
        """
        if self.resident(version, replica):
            return RESIDENT
        try:
            if version not in replica.models:
                self._load(version, replica.name, owner, place)
            failpoint(f"{place}.before_proof")
            result = self._agent.prove(version, replica.name)
        except DriverError as error:
            return Residence(False, error.reason, message=str(error), replica=replica.name)
        failpoint(f"{place}.after_proof")
        self._record(version, replica, result)
        return Residence(result.ok, result.reason, final=not result.ok, replica=replica.name)

    def resident(self, version: str, replica: ReplicaState) -> bool:
        """Whether nothing is to be done: loaded, its effect proved, and the store knows of the proof."""
        return version in replica.models and bool(replica.proved.get(version)) and self._is_recorded(version, replica)

    def _is_recorded(self, version: str, replica: ReplicaState) -> bool:
        """Whether the store knows of the proof (A1). An agent may remember one that a crash or a failing store took."""
        key = (version, replica.name)
        if self._recorded.get(key) != replica.incarnation:
            with self._store.read() as read:
                known = proofs.latest(read, version).get(replica.name)
            if known is None or not known.ok or known.incarnation != replica.incarnation:
                return False
            self._remember(version, replica)
        return True

    def _remember(self, version: str, replica: ReplicaState) -> None:
        if len(self._recorded) >= MOST_REMEMBERED:
            self._recorded.clear()
        self._recorded[version, replica.name] = replica.incarnation

    def _load(self, version: str, replica: str, owner: str, place: str) -> None:
        with self._store.begin() as tx:
            intent = intents.declare(
                tx,
                rollout=owner,
                effect="load",
                args={"version": version, "replica": replica},
                reason="wanted_resident",
                at=self._clock(),
            )
        failpoint(f"{place}.before_load")
        self._agent.ensure_loaded(version, replica)
        failpoint(f"{place}.after_load")
        with self._store.begin() as tx:
            intents.settle(tx, intent, "done", reason="loaded", at=self._clock())

    def _record(self, version: str, replica: ReplicaState, result: ProofResult) -> None:
        now = self._clock()
        row = proofs.Proof(version, replica.name, replica.incarnation, result.ok, result.reason, result.numbers, now)
        with self._store.begin() as tx:
            proofs.add(tx, row)
            ledger.append(
                tx,
                self._deployment,
                "proof",
                version,
                result.reason,
                actor="agent",
                at=now,
                data={"replica": replica.name, "ok": result.ok},
            )
        if result.ok:
            self._remember(version, replica)
