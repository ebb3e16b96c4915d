"""The drill's figures, how they are read from the ledger, and the checks that decide its exit code."""

from __future__ import annotations

from pydantic import Field

from daemon.demo.documents import Json, integer, part
from daemon.demo.figures import Figures
from daemon.demo.journal import Served


class Undefended(Figures):
    """(a): what became of the version trained on everything."""

    verdict: str | None = None
    """``fail`` when the gate stopped it, else how its cycle ended."""
    stopped_by: str | None = None
    reason: str | None = None
    cycle: str | None = None


class Harmful(Figures):
    """(b): what became of the version that harms the silent desk."""

    verdict: str | None = None
    reason: str | None = None
    routed_after: int | None = None
    units: int | None = None
    """Sessions counted as units until it was rolled back."""
    suspended: int | None = None
    """Examples suspended."""
    gate: str | None = None
    """What the gate had said of it."""
    silent_right: dict[str, float | None] = Field(default_factory=dict[str, "float | None"])
    """Share of right replies on the returned desk, by arm, during the canary."""


class Trainer(Figures):
    """(c): what the ledger says of the trainer's faults."""

    killed: int = 0
    non_finite: int = 0
    attempts: int = 0
    failed_requests: int | None = None
    """Requests that failed between the first fault and the end of the job."""


class DrillFigures(Figures):
    """What ``homeostat drill --json`` writes."""

    ok: bool = False
    seconds: float = 0.0
    base_seconds: float = 0.0
    promoted: str | None = None
    undefended: Undefended = Undefended()
    harmful: Harmful = Harmful()
    trainer: Trainer = Trainer()
    stages: dict[str, float] = Field(default_factory=dict[str, float])
    requests: int = 0
    failed: int = 0
    failures: list[str] = Field(default_factory=list[str])


def drill_failures(figures: DrillFigures, seconds: float) -> list[str]:
    """Every expectation that does not hold, by name. Empty: the drill is passed."""
    undefended, harmful, trainer = figures.undefended, figures.harmful, figures.trainer
    stopped = undefended.verdict == "fail" and undefended.stopped_by == "gate" and bool(undefended.reason)
    what = f"{undefended.verdict} by {undefended.stopped_by}: {undefended.reason}"
    checks = [
        ("first_promotion", figures.promoted is not None, f"champion {figures.promoted}"),
        ("undefended_stopped_by_gate", stopped, what),
        ("harmful_passed_the_gate", harmful.gate == "pass", f"gate: {harmful.gate}"),
        ("harmful_rolled_back", harmful.verdict == "rolled_back", f"{harmful.verdict}: {harmful.reason}"),
        ("harmful_not_routed_after", harmful.routed_after == 0, f"{harmful.routed_after} requests"),
        ("harmful_examples_suspended", (harmful.suspended or 0) > 0, f"{harmful.suspended} suspended"),
        ("trainer_kill_recorded", trainer.killed >= 1, f"{trainer.killed} recorded"),
        ("trainer_nan_recorded", trainer.non_finite >= 1, f"{trainer.non_finite} recorded"),
        ("trainer_retried", trainer.attempts >= 3, f"{trainer.attempts} attempts"),
        ("serving_during_faults", trainer.failed_requests == 0, f"{trainer.failed_requests} requests failed"),
        ("serving_without_a_pause", figures.failed == 0, f"{figures.failed} of {figures.requests} failed"),
        ("seconds", figures.seconds < seconds, f"{figures.seconds:.0f} s, below {seconds:.0f}"),
    ]
    return [f"{name}: {found}" for name, holds, found in checks if not holds]


def gate_event(events: list[Json], cycle: str) -> Json | None:
    """The ledger's record of the gate's decision in a cycle."""
    found = [e for e in events if e.get("kind") == "gate" and part(e, "data").get("cycle") == cycle]
    return found[-1] if found else None


def gate_verdict(event: Json) -> str:
    """pass, fail, inconclusive or error."""
    return str(part(event, "data").get("verdict"))


def undefended_figures(events: list[Json], ended: Json) -> Undefended:
    """What stopped a cycle: the gate with its reason, or whatever else ended it."""
    cycle = str(ended["id"])
    gate = gate_event(events, cycle)
    if gate is not None and gate_verdict(gate) != "pass":
        return Undefended(verdict=gate_verdict(gate), stopped_by="gate", reason=str(gate.get("reason")), cycle=cycle)
    return Undefended(verdict=str(ended.get("phase")), reason=str(ended.get("reason")), cycle=cycle)


def trainer_figures(events: list[Json], cycle: str) -> Trainer:
    """What the ledger says of the training job of a cycle."""
    mine = [e for e in events if cycle in (e.get("subject"), part(e, "data").get("cycle"))]
    failed = [str(e.get("reason")) for e in mine if e.get("kind") == "training"]
    attempts = [integer(part(e, "data"), "attempt") or 0 for e in mine]
    return Trainer(
        killed=failed.count("lease_expired"),
        non_finite=failed.count("non_finite_weights"),
        attempts=max(attempts, default=0),
    )


def suspended(events: list[Json], rollout: str) -> int:
    """Examples that a rollout's roll-back suspended, as the ledger counts them."""
    mine = [e for e in events if e.get("kind") == "suspension" and e.get("subject") == rollout]
    return sum(integer(part(e, "data"), "examples") or 0 for e in mine)


def routed_after(served: list[Served], candidate: str, seen_at: float, last: float | None) -> int:
    """Requests that reached a candidate after its roll-back was seen: the senders' word and the gateway's clock."""
    by_senders = sum(1 for r in served if r.ok and r.sent_at > seen_at and r.version == candidate)
    return max(by_senders, int(last is not None and last > seen_at))
