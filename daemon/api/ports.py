"""What the API needs of the controller. All methods are called from threads of the API, never from the tick's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class By:
    """Who commands, and the reason that was given (free text of an operator; may be empty)."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the daemon does its work, and if not, which part does not."""

    ok: bool
    reason: str


class Control(Protocol):
    """Looks and commands.

    A command that a rule forbids raises ``daemon.faults.Refused``; an agent that does not answer, ``Unreachable``.
    """

    def status(self) -> Json:
        """Where everything is, JSON-able; reads only."""
        ...

    def readiness(self) -> Readiness:
        """Whether events are consumed and ticks run."""
        ...

    def rollback(self, by: By, to: str | None, suspend_data: bool) -> Json:
        """Route to the previous version (or ``to``) at once, whatever a tick is doing; the acknowledgement."""
        ...

    def promote(self, by: By) -> Json:
        """End the running rollout in favour of its candidate, whatever the evidence says."""
        ...

    def approve(self, by: By, version: str | None = None, examples: bool = False) -> Json:
        """Allow what the mode made wait: a canary or a promotion. With a ``version``: lift its denial, which needs a
        reason; ``examples``: and the suspension of what it learned from.
        """
        ...

    def abort(self, by: By) -> Json:
        """End the running rollout or cycle; the champion stays."""
        ...

    def pause(self, by: By) -> Json:
        """Start nothing new and leave shares as they are until ``resume``."""
        ...

    def resume(self, by: By) -> Json:
        """Go on, also after a freeze, which a reason lifts."""
        ...

    def adapt(self, by: By, overrides: Mapping[str, Any]) -> Json:
        """Start a cycle without an alarm."""
        ...


class TrainerDesk(Protocol):
    """Hands out training jobs."""

    def trainer_claim(self, worker: str) -> Json | None:
        """The next job for this worker; None when there is nothing to do."""
        ...

    def trainer_report(self, job_id: str, report: Json) -> bool:
        """Take a report; False when the trainer should drop the job."""
        ...


class Controller(Control, TrainerDesk, Protocol):
    """Both; one object in the daemon."""
