"""The replay: recorded events through ingest, watch, policy, selection and evidence, into a scratch store.

The ingest, the learning shell, the buffer builder and the verdict are the daemon's own. What differs: time is that of
the events, nothing is trained, shown or routed (demonstrations are passed over), the champion is that of the day, and a
would-be cycle ends when its buffer is built. Second probations of the day are judged as rollouts are; none is begun
that was not held then: its users would have had to be drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry

from adapters.demonstrations import DemonstrationsConfig
from adapters.registry import Registry
from daemon.backtest.champion import Followed, changes
from daemon.backtest.recorded import entries_of, remember
from daemon.backtest.source import RecordedSource
from daemon.backtest.verdicts import WouldBe
from daemon.buffer_build import BufferBuilder
from daemon.config import Config
from daemon.cycle import Phase as CyclePhase
from daemon.gate_task import GateTask
from daemon.ingest import Ingest, IngestPorts
from daemon.learning import Learning
from daemon.store import Store, cycles, exchanges, rollouts
from daemon.store.rollouts import Rollout
from deploy.alpha_budget import rationed_as
from deploy.power import Outlook
from deploy.rollout import SECONDS, Phase, RolloutConfig
from monitors.gate import GateResult
from monitors.metrics import Metrics
from monitors.season import HOUR_S
from monitors.watch import Watch

ACTOR: Final = "backtest"
FINE_S: Final = 0.1
"""Seconds of events between two looks while a rollout is judged. No longer than between two ticks of the day: what was
recorded ends with the verdict of the day, so a look that comes later would miss it."""
COARSE_S: Final = 60.0
TICK_S: Final = 1.0
"""Least seconds of events between two ticks of the policy."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which time is asked about, seconds; what came before it warms the detectors up."""

    from_s: float
    until_s: float


class NoGate(GateTask):
    """Nothing is gated: a would-be cycle has no version."""

    def __init__(self) -> None:
        """Nothing to hold."""

    def result(self, cycle: cycles.Cycle, version: str, champion: str | None) -> GateResult | None:
        """Never."""
        del cycle, version, champion
        return None

    def cancel(self) -> None:
        """Nothing runs."""


class Replay:
    """One run over one window. ``recorded`` is only read; ``scratch`` must be empty; ``folder`` takes the buffers."""

    def __init__(self, config: Config, recorded: Store, scratch: Store, folder: Path, window: Window) -> None:
        # Mode observe starts no cycle; the question here is what would have been.
        config = config if config.mode != "observe" else config.model_copy(update={"mode": "propose"})
        nothing_shown = config.cycle.model_copy(update={"demonstrations": DemonstrationsConfig()})
        self.config = config.model_copy(update={"cycle": nothing_shown})
        self.recorded, self.scratch, self.window = recorded, scratch, window
        self.name = config.deployment.name
        self.begins = self._warm_up_from()
        self.source = RecordedSource(recorded, self.name, self.begins, window.until_s)
        metrics = Metrics(CollectorRegistry())
        self.ingest = Ingest(
            IngestPorts(
                deployment=self.name,
                store=scratch,
                source=self.source,
                join=config.join,
                make_watch=lambda parts: Watch.load_parts(config.monitors, parts) if parts else Watch(config.monitors),
                token_is_valid=lambda _token, _exchange, _feedback, _now: True,
                clock=lambda: self.source.now,
                metrics=metrics,
                tell_log=False,
            )
        )
        self.learning = Learning(
            self.config,
            scratch,
            Registry(folder),
            BufferBuilder(self.config, scratch, folder, metrics, (config.deployment.base_name,)),
            NoGate(),
            lambda _tx, _cycle, _version: "",
            lambda _cycle, _result: Outlook(0.0, 0.0, 0.0, 0.0, 0.0),
            self.ingest.newest_slice,
            lambda: self.source.now,
            metrics,
        )
        self.verdicts: list[WouldBe] = []
        with recorded.read() as read:
            known = sorted(rollouts.newest(read, self.name, 10_000), key=lambda r: r.started_at)
            served = changes(known, entries_of(read, self.name))
        self._champion_of_day = Followed(served, self.begins, self.ingest.rate)
        self._waiting = [r for r in known if window.from_s <= r.started_at < window.until_s]
        promoted = [r for r in known if r.phase == Phase.PROMOTED.value]
        self.promotes = any(self.begins <= (r.ended_at or 0.0) < window.until_s for r in promoted)
        self._promotions = sorted((r.ended_at or 0.0, r.id) for r in promoted if (r.ended_at or 0.0) >= self.begins)
        self._running: WouldBe | None = None
        self._ticked_at = 0.0

    def run(self) -> None:
        """Go through the window. Raises AnchorsInvalid and the store's errors."""
        with self.recorded.read() as read, self.scratch.begin() as tx:
            remember(read, tx, self.name, self.begins)
        self.ingest.start()
        self._champion_of_day.begin()
        read_on = True
        while read_on:
            self._begin_due()
            self._follow_champion()
            read_on = self.ingest.step(0.0) > 0
            self._rebase_due()
            self._judge()
            self._end_due()
            self._learn()
        self._end()

    # ------------------------------------------------------------------------------------------------------ parts

    def _warm_up_from(self) -> float:
        """Since when the detectors need the traffic: twice their reference, as the identity cap leaves some out, and an
        hour more than it is to cover.
        """
        wanted = 2 * self.config.monitors.reference_size
        with self.recorded.read() as read:
            before = exchanges.since(read, self.name, 0.0, self.window.from_s, wanted)
        if not before:
            return self.window.from_s
        span_s = self.config.monitors.reference_span_s
        return min(before[0].received_at, self.window.from_s - span_s - HOUR_S) if span_s else before[0].received_at

    def _begin_due(self) -> None:
        """Follow a recorded rollout before the slice that may hold its first exchange."""
        if self._running is not None or not self._waiting:
            return
        coming = self.source.next_at()
        if coming is None or coming + self.source.slice_s < self._waiting[0].started_at:
            return
        row = self._waiting.pop(0)
        config = rationed_as(RolloutConfig.model_validate(row.data["config"]), self.config.rollout)
        data: Mapping[str, Any] = {**row.data, "config": config.model_dump(mode="json")}
        second = row.data.get("opened_for", "") in SECONDS
        begins = Phase.SECOND_PROBATION if second else Phase.CANARY_SMALL
        opened = replace(row, phase=begins.value, active=True, data=data, ended_at=None)
        with self.scratch.begin() as tx:
            rollouts.create(tx, opened)
        self.ingest.follow(opened)
        self._running = WouldBe(row, config, begins)
        self.source.slice_s = FINE_S

    def _judge(self) -> None:
        observed = self.ingest.observed()
        if self._running is not None and observed is not None:
            self._running.look(observed, min(self.source.now, self._last_look(self._running.row)))

    def _last_look(self, row: Rollout) -> float:
        """Feedback on a rollout's last sessions comes in for one window more; the next rollout ends that."""
        patience = self.config.rollout.maturity_s + self.config.rollout.lateness_s
        until = self.window.until_s if row.ended_at is None else row.ended_at + patience
        return min(until, self._waiting[0].started_at - COARSE_S) if self._waiting else until

    def _end_due(self) -> None:
        if self._running is not None and self.source.now >= self._last_look(self._running.row):
            self._end()

    def _end(self) -> None:
        if self._running is None:
            return
        done, self._running = self._running, None
        phase = done.phase if done.decided else Phase.INCONCLUSIVE
        with self.scratch.begin() as tx:
            rollouts.update_phase(tx, done.row.id, phase=phase.value, reason=ACTOR, at=self.source.now, ended=True)
        self.ingest.follow(None)
        self.verdicts.append(done)
        self.source.slice_s = COARSE_S

    def _rebase_due(self) -> None:
        """A promotion of the day made its traffic the normal one; the recorded replies are those of that version."""
        while self._promotions and self._promotions[0][0] <= self.source.now:
            _at, rollout = self._promotions.pop(0)
            self.ingest.rebase(self.source.now, "promotion", rollout)

    def _follow_champion(self) -> None:
        """Before the slice that holds the first event after a change, which ends where the next change comes."""
        coming = self.source.next_at()
        if coming is not None:
            self.source.stop_at = self._champion_of_day.until(coming)

    def _champion(self) -> str | None:
        """The champion of the day, whose replies a buffer keeps; while the base serves, whoever answered last outside
        of a canary and a holdback.
        """
        if self._champion_of_day.version is not None:
            return self._champion_of_day.version
        with self.scratch.read() as read:
            newest = exchanges.since(read, self.name, 0.0, self.source.now, 200)
        served = [x.version for x in newest if x.arm not in ("canary", "holdback")]
        return served[-1] if served else None

    def _learn(self) -> None:
        """One tick of the policy; a cycle whose buffer is there has answered the question."""
        if self.source.now < max(self.window.from_s, self._ticked_at + TICK_S):
            return
        self._ticked_at = self.source.now
        self.learning.tick(self._champion(), False, self._running is not None)
        with self.scratch.read() as read:
            active = cycles.active(read, self.name)
        if active is not None and active.phase == CyclePhase.TRAINING.value:
            self.learning.abort(ACTOR, "")
