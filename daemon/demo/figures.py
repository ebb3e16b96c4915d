"""The figures of a run as one JSON object, and the checks that decide its exit code."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from daemon.demo.options import Bars


class Figures(BaseModel):
    """None is written for what was not reached: no figure is ever made up."""

    model_config = ConfigDict(extra="forbid")


class AlarmFigures(Figures):
    """Confirmed alarms."""

    before: int = 0
    """Confirmed alarms before the drift."""
    kind: str | None = None
    """Kind of the first confirmed input alarm after the drift, else of the first confirmed alarm."""
    delay_exchanges: int | None = None
    """Exchanges that users had completed between the drift and that alarm."""


class NewDesk(Figures):
    """Served accuracy on the new desk through the alias."""

    before: float | None = None
    after: float | None = None
    n: int = 0
    n_before: int = 0


class OldDesks(Figures):
    """The paired comparison on the old desks."""

    before: float | None = None
    after: float | None = None
    n: int = 0
    loss_upper95: float | None = None


class Rollback(Figures):
    """The manual roll-back under load."""

    failed: int | None = None
    dispatched_after_ack: int | None = None
    ms: float | None = None
    requests: int = 0


class DemoFigures(Figures):
    """What ``homeostat demo --json`` writes."""

    ok: bool = False
    seconds: float = 0.0
    base_seconds: float = 0.0
    alarms: AlarmFigures = AlarmFigures()
    new_desk: NewDesk = NewDesk()
    old_desks: OldDesks = OldDesks()
    rollback: Rollback = Rollback()
    corrections_used: int | None = None
    tfidf_baseline: float | None = None
    stages: dict[str, float] = {}
    requests: int = 0
    failed: int = 0
    """Requests and feedback posts of users that failed, over the whole scenario."""
    failures: list[str] = []
    """Names of the checks that failed, with what was found."""


RIGHT_KINDS = frozenset({"input"})
"""A new desk is a change of what people ask."""


def failures(figures: DemoFigures, bars: Bars) -> list[str]:
    """Every check that does not hold, by name, with bar and finding. Empty: the run is good."""
    f = figures
    alarms, new, old, back = f.alarms, f.new_desk, f.old_desks, f.rollback
    checks = [
        ("no_alarm_before_drift", alarms.before == 0, f"{alarms.before} confirmed before the drift"),
        ("alarm_of_right_kind", alarms.kind in RIGHT_KINDS, f"first confirmed alarm after the drift: {alarms.kind}"),
        ("new_desk_before", at_most(new.before, bars.new_before), f"{new.before} right, at most {bars.new_before}"),
        ("new_desk_after", at_least(new.after, bars.new_after), f"{new.after} right, at least {bars.new_after}"),
        (
            "new_desk_n",
            min(new.n, new.n_before) >= bars.new_n,
            f"{new.n_before} before, {new.n} after, {bars.new_n} each",
        ),
        (
            "old_desks_loss",
            at_most(old.loss_upper95, bars.old_loss),
            f"bound {old.loss_upper95}, below {bars.old_loss}",
        ),
        ("old_desks_n", old.n >= bars.old_n, f"{old.n} questions, at least {bars.old_n}"),
        ("rollback_failed_requests", back.failed == 0, f"{back.failed} of {back.requests} failed"),
        ("rollback_under_load", back.requests > 0, f"{back.requests} requests in the window"),
        (
            "rollback_after_ack",
            back.dispatched_after_ack == 0,
            f"{back.dispatched_after_ack} dispatched to the old version",
        ),
        ("rollback_ms", at_most(back.ms, bars.rollback_ms), f"{back.ms} ms, at most {bars.rollback_ms}"),
        ("serving_without_a_pause", f.failed == 0, f"{f.failed} requests or feedback posts failed of {f.requests}"),
        ("seconds", f.seconds < bars.seconds, f"{f.seconds:.0f} s, below {bars.seconds:.0f}"),
        (
            "base_seconds",
            f.base_seconds <= bars.base_seconds,
            f"{f.base_seconds:.0f} s, at most {bars.base_seconds:.0f}",
        ),
    ]
    return [f"{name}: {found}" for name, holds, found in checks if not holds]


def at_most(value: float | None, bar: float) -> bool:
    """Whether a figure is there and does not exceed its bar."""
    return value is not None and value <= bar


def at_least(value: float | None, bar: float) -> bool:
    """Whether a figure is there and reaches its bar."""
    return value is not None and value >= bar
