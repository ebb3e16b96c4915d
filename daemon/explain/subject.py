"""Which thing an id names, and its explanation."""

from __future__ import annotations

from daemon.config import Config
from daemon.explain import alarms as alarm_words
from daemon.explain import cycles as cycle_words
from daemon.explain import rollouts as rollout_words
from daemon.explain import versions as version_words
from daemon.explain.explanation import Explanation
from daemon.labels import Labels
from daemon.store import Read, Store, alarms, cycles, rollouts, versions
from monitors.alarms import SliceModel


def explain(store: Store, read: Read, subject: str, config: Config, now: float) -> Explanation | None:
    """The explanation of a rollout, cycle, alarm or version; None for anything else."""
    rollout = rollouts.get(read, subject)
    if rollout is not None:
        return rollout_words.explain(read, rollout, now)
    cycle = cycles.get(read, subject)
    if cycle is not None:
        return cycle_words.explain(read, cycle, config, now, lambda row: _labels(store, row, config, now))
    alarm = alarms.get(read, subject)
    if alarm is not None:
        return alarm_words.explain(read, alarm, config, now)
    version = versions.get(read, subject)
    return None if version is None else version_words.explain(read, version, now)


def _labels(store: Store, row: cycles.Cycle, config: Config, now: float) -> int:
    """Labels that the cycle has, counted as the controller counts them."""
    stored = row.data.get("slice")
    inside = SliceModel.stored(stored)
    since = float(row.data.get("alarm_at", row.started_at)) - config.cycle.history_s
    return Labels(store, row.deployment).count(inside, since, now)
