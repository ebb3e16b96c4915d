"""What hinders a rollout's next step, and whether it speaks against the candidate. Pure.

A replica that is away, one that was started wrongly, or a control that fails says nothing of the candidate: the rollout
waits with a named reason, until its deadline ends it inconclusive. A wrong proof of the candidate denies it at once. A
refusal of it, or an engine that died while it was asked, may have another cause, so those are tried again, and deny it
after ``PATIENCE`` times without a success in between, as long as it has met no traffic: later there is a kill switch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from daemon.residency import Residence
from deploy.agent import ReplicaState

PATIENCE: Final = 3
"""Failures of the candidate, in a row but for waits, that deny it."""
DIED: Final = "engine_died"
"""A server process is another one after it did not answer for the candidate."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A version that could not be made resident, and what became of it."""

    version: str
    found: Residence

    def waits(self, candidate: str) -> str:
        """The named reason for which the rollout waits."""
        own = self.version == candidate or self.found.away
        return self.found.reason if own else f"control_{self.found.reason}"


@dataclass(frozen=True, slots=True)
class Tries:
    """What is remembered from tick to tick. Lost by a restart of the daemon: then patience begins anew."""

    failed: int = 0
    silent: Mapping[str, str] = field(default_factory=dict[str, str])
    """Replica to the incarnation that was asked for the candidate and gave no answer."""


def weigh(
    tries: Tries, obstacle: Obstacle | None, candidate: str, replicas: Sequence[ReplicaState], *, live: bool
) -> tuple[Tries, str]:
    """The tries after this tick, and the reason for which the candidate is given up; empty: it is not."""
    now = {r.name: r.incarnation for r in replicas if r.alive}
    died = [name for name, before in tries.silent.items() if now.get(name, before) != before]
    silent = {name: before for name, before in tries.silent.items() if name not in now}
    failed, reason = tries.failed + len(died), DIED if died else ""
    if obstacle is None and not died and not silent:
        failed = 0
    elif obstacle is not None and obstacle.version == candidate:
        found = obstacle.found
        if found.final:
            return Tries(failed, silent), found.reason
        if not found.away:
            failed, reason = failed + 1, found.reason
        elif found.replica in now:
            silent[found.replica] = now[found.replica]
    return Tries(failed, silent), reason if failed >= PATIENCE and not live else ""
