"""The gate as work in the background: load and prove the candidate on one replica, ask the hold-outs, decide.

One task at a time. The controller asks ``result`` each tick; None means that it is not done. A failure to ask is
tried again a bounded number of times and then is the verdict ``error``, which never passes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from daemon.gate_run import Replier, gather, read_holdout
from daemon.residency import Residency
from daemon.store import cycles
from deploy.agent import Agent
from deploy.driver import DriverError
from monitors.gate import GateConfig, GateReason, GateResult, Nll, decide

ATTEMPTS: Final = 3


@dataclass(slots=True)
class _Run:
    version: str
    champion: str
    thread: threading.Thread | None = None
    result: GateResult | None = None
    failures: list[str] = field(default_factory=list[str])
    cancelled: bool = False
    progress: tuple[int, int] = (0, 0)


class GateTask:
    """Runs the gate for the newest version it was asked about.

    ``base_names``: names under which the base answers (first the one to ask), the identity version among them.
    """

    def __init__(
        self,
        config: GateConfig,
        agent: Agent,
        residency: Residency,
        replier: Replier,
        base_names: tuple[str, ...],
        holdout_of: Callable[[cycles.Cycle], Path],
        nll_of: Callable[[str], Nll | None],
        trained: Callable[[str], bool] = lambda _version: True,
    ) -> None:
        self._trained = trained
        self._config, self._agent, self._residency, self._replier = config, agent, residency, replier
        self._base_names, self._holdout_of, self._nll_of = base_names, holdout_of, nll_of
        self._run: _Run | None = None

    def result(self, cycle: cycles.Cycle, version: str, champion: str | None) -> GateResult | None:
        """The gate's result for this version, starting the work when it has not begun."""
        run = self._run
        if run is None or run.version != version:
            run = self._run = _Run(version, champion or self._base_names[0])
        if run.result is not None:
            return run.result
        if run.thread is None or not run.thread.is_alive():
            if len(run.failures) >= ATTEMPTS:
                run.result = GateResult(verdict="error", reason=GateReason.MISSING_EVIDENCE, checks=())
                return run.result
            blocked = self._ready(run, cycle)
            if blocked is not None:
                run.failures.append(blocked)
                return None
            run.thread = threading.Thread(target=self._work, args=(run, cycle), name="gate", daemon=True)
            run.thread.start()
        return None

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._run is not None:
            self._run.cancelled = True
            self._run = None

    def _same_as(self, champion: str) -> tuple[str, ...]:
        return self._base_names if champion in self._base_names else (champion,)

    def _ready(self, run: _Run, cycle: cycles.Cycle) -> str | None:
        """Load and prove on the first replica (the controller's thread does it, as all residency)."""
        seen = self._agent.observe()
        alive = [r for r in seen.replicas if r.alive][:1]
        found = self._residency.everywhere(run.version, alive, cycle.id)
        if found.final:
            run.result = GateResult(verdict="error", reason=GateReason.INVALID_EVIDENCE, checks=())
        return None if found.ok else found.reason

    def _work(self, run: _Run, cycle: cycles.Cycle) -> None:
        try:
            questions = read_holdout(self._holdout_of(cycle), self._same_as(run.champion))
            cause: Any = "alarm" if cycle.cause != "manual" else "manual"

            def progress(done: int, total: int) -> None:
                run.progress = (done, total)
                if run.cancelled:
                    raise DriverError("cancelled")

            evidence = gather(
                questions,
                self._replier,
                run.champion,
                run.version,
                cause,
                self._nll_of(run.version),
                self._config,
                progress,
                self._trained(run.version),
            )
        except (DriverError, OSError) as error:
            run.failures.append(str(error))
            return
        run.result = decide(evidence, self._config)
