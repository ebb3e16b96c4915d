"""Champion, rollback target and identity on every replica, again after each restart; what hinders it is told.

A replica that refuses is asked again after 0.5 s, doubled up to 30 s, and at once when it was restarted: whoever
mends it need not tell us.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from daemon import ledger
from daemon.residency import Residence
from daemon.store import Store
from daemon.troubles import Troubles
from deploy.agent import ReplicaState

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0


class Resides(Protocol):
    """What makes one version resident on one replica."""

    def resident(self, version: str, replica: ReplicaState) -> bool:
        """Whether it is."""
        ...

    def on(self, version: str, replica: ReplicaState, owner: str) -> Residence:
        """Load and prove."""
        ...


@dataclass(frozen=True, slots=True)
class _Refused:
    """A version that a replica did not take, and for how long it is not asked again (wall seconds)."""

    incarnation: str
    found: Residence
    wait_s: float
    at: float

    def holds(self, replica: ReplicaState, now: float) -> bool:
        return replica.incarnation == self.incarnation and 0.0 <= now - self.at < self.wait_s


class Residents:
    """Used by the controller's tick only. Bounded by the replicas of the config."""

    def __init__(
        self, residency: Resides, store: Store, deployment: str, troubles: Troubles, clock: Callable[[], float]
    ) -> None:
        self._residency, self._store, self._deployment = residency, store, deployment
        self._troubles, self._clock = troubles, clock
        self._refused: dict[tuple[str, str], _Refused] = {}

    def keep(self, versions: Sequence[str], replicas: Sequence[ReplicaState]) -> bool:
        """Load and prove what is missing, each version whatever became of the others; whether a replica was asked for
        anything, so that what was seen of it before is old.
        """
        if self._refused:
            self._refused = {key: one for key, one in self._refused.items() if key[1] in versions}
        asked = False
        for replica in replicas:
            failed: tuple[str, Residence] | None = None
            if replica.alive:
                for version in versions:
                    if self._residency.resident(version, replica):
                        self._refused.pop((replica.name, version), None)
                        continue
                    found, asked = self._on(version, replica), True
                    if not found.ok and failed is None:
                        failed = version, found
            else:
                failed = "", Residence(False, replica.problem or "unreachable", message=replica.message)
            self._tell(replica.name, failed)
        return asked

    def _on(self, version: str, replica: ReplicaState) -> Residence:
        key = (replica.name, version)
        resident = version in replica.models and replica.proved.get(version)
        known = None if resident else self._refused.get(key)
        if known is not None and known.holds(replica, self._clock()):
            return known.found
        found = self._residency.on(version, replica, self._deployment)
        if found.ok:
            self._refused.pop(key, None)
        else:
            again = known is not None and known.incarnation == replica.incarnation
            wait_s = min(LONGEST_WAIT_S, 2 * known.wait_s) if known is not None and again else FIRST_WAIT_S
            self._refused[key] = _Refused(replica.incarnation, found, wait_s, self._clock())
        return found

    def _tell(self, replica: str, failed: tuple[str, Residence] | None) -> None:
        """Log and status by ``Troubles``; the ledger once when trouble begins and once when it ends."""
        data = {"replica": replica}
        if failed is None:
            over = self._troubles.end(replica)
            if over is None:
                return
            reason, data = "mended", data | {"was": over.reason}
        else:
            version, found = failed
            if not self._troubles.begin(replica, found.reason, found.message or found.reason):
                return
            reason, data = found.reason, data | ({"version": version} if version else {})
        with self._store.begin() as tx:
            ledger.append(tx, self._deployment, "replica", replica, reason, actor="agent", at=self._clock(), data=data)
