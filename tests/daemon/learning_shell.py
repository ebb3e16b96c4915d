"""The learning shell over a store, with a gate that passes whatever it is asked about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from daemon.config import Config
from daemon.learning import Learning
from daemon.rollout_start import RolloutStart
from daemon.store import Store
from deploy.power import Outlook
from monitors.gate import GateReason, GateResult
from monitors.metrics import Metrics

IDENTITY = "support-aaaaaaaaaaaa"


class Passed:
    """A gate that passed."""

    def result(self, *_args: object) -> GateResult:
        """At once."""
        return GateResult(verdict="pass", reason=GateReason.PASSED, checks=())

    def cancel(self) -> None:
        """Nothing runs."""


def learning(store: Store, config: Config, outlook: Outlook, now: float) -> Learning:
    """The shell at ``now``; no buffer can be built and nothing trained."""
    nobody: Any = SimpleNamespace()
    gate: Any = Passed()
    start = RolloutStart(config, IDENTITY, lambda: None, lambda: now).start
    metrics = Metrics(CollectorRegistry())
    return Learning(
        config, store, nobody, nobody, gate, start, lambda _c, _r: outlook, lambda: None, lambda: now, metrics
    )
