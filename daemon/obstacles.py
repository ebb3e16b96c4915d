"""What hinders a rollout's next step, and whether it speaks against the candidate. Pure.

A replica that is away, one that was started wrongly, or a control that fails says nothing of the candidate: the rollout
waits with a named reason, until its deadline ends it inconclusive. A wrong proof of the candidate ends it at once. A
refusal of it, or an engine that died while it was asked, may have another cause, so those are tried again, and end it
after ``PATIENCE`` times without a success in between: before traffic it is denied, in front of users a failed load is a
kill switch, for a replica that came back without it would else die of it again and again. A champion that is compared
once more is spared: it serves everybody anyway, and who stands in for it is decided elsewhere (``daemon.stand_in``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from daemon.residency import Residence
from deploy.agent import ReplicaState

PATIENCE: Final = 3
"""Failures of the candidate, in a row but for waits, that end it."""
DIED: Final = "engine_died"
"""A server process is another one after it did not answer for the candidate."""
CONTROL: Final = "control_"
"""Before a reason that is about the control."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A version that could not be made resident, and what became of it."""

    version: str
    found: Residence

    def waits(self, candidate: str) -> str:
        """The named reason for which the rollout waits."""
        own = self.version == candidate or self.found.away
        return self.found.reason if own else CONTROL + self.found.reason


@dataclass(frozen=True, slots=True)
class Tries:
    """What is remembered from tick to tick. Lost by a restart of the daemon: then patience begins anew."""

    failed: int = 0
    silent: Mapping[str, str] = field(default_factory=dict[str, str])
    """Replica to the incarnation that was asked for the candidate and gave no answer."""


def weigh(
    tries: Tries, obstacle: Obstacle | None, candidate: str, replicas: Sequence[ReplicaState], *, spared: bool
) -> tuple[Tries, str]:
    """The tries after this tick, and the reason for which the candidate is given up; empty: it is not.
    ``spared``: failures in a row do not count, a wrong proof does.
    """
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
    return Tries(failed, silent), reason if failed >= PATIENCE and not spared else ""
