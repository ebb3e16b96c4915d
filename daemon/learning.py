"""The cycle's shell: from a confirmed alarm (or a person's wish) to a version that passed the gate.

Each tick moves the active cycle at most one step along ``daemon.cycle.TABLE``. Long work has a thread of its own (the
gate) or a process (the trainer); a restart begins the gate again and finds the job where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from adapters.registry import Registry
from daemon import cycle as table
from daemon import ledger, second_probation
from daemon.asking import Asking
from daemon.buffer_build import BufferBuilder, Overrides
from daemon.collecting import Collecting
from daemon.config import Config
from daemon.cycle_rows import CycleRows, new_cycle_id
from daemon.cycle_standing import cycle_standing
from daemon.demonstrating import Demonstrating
from daemon.drift_policy import DEMONSTRATED, Action
from daemon.faults import Refused
from daemon.freeze import MANUAL
from daemon.gate_task import GateTask
from daemon.label_requests import for_rollout
from daemon.promotion_budget import next_config
from daemon.store import Read, Store, Tx, alarms, cycles, denials, jobs, rollouts, versions
from daemon.trainer_desk import note_lost
from daemon.version_rows import row_of
from deploy.power import forecast
from deploy.rollout import FINAL
from deploy.rollout import Phase as RolloutPhase
from monitors.alarms import SliceModel
from monitors.gate import GateResult
from monitors.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Wish:
    """A person's (or the schedule's) request to adapt now."""

    actor: str
    note: str
    overrides: Mapping[str, Any]


class Learning:
    """Drives the active cycle. One thread."""

    def __init__(
        self,
        config: Config,
        store: Store,
        registry: Registry,
        builder: BufferBuilder,
        gate: GateTask,
        start_rollout: Callable[[Tx, cycles.Cycle, str], str],
        outlook: Callable[[cycles.Cycle, GateResult], Any],
        newest_slice: Callable[[], SliceModel | None],
        clock: Callable[[], float],
        metrics: Metrics,
        start_second: Callable[[Tx, str, str], str] | None = None,
        demonstrating: Demonstrating | None = None,
    ) -> None:
        """``start_second`` opens a second probation for a cycle and its cause; None: there are none. ``demonstrating``
        None: no pairs are shown, whatever the config says.
        """
        self._start_second, self._metrics = start_second, metrics
        self._config, self._store, self._registry = config, store, registry
        self._gate, self._clock = gate, clock
        self._start_rollout, self._outlook = start_rollout, outlook
        self._name = config.deployment.name
        self._asking = Asking(store, config, clock, metrics)
        self._rows = CycleRows(self._name, clock, metrics)
        self._collecting = Collecting(
            config, store, registry, builder, self._asking, self._rows, newest_slice, clock, demonstrating
        )

    def tick(self, champion: str | None, paused: bool, rollout_active: bool) -> None:
        """One step: of the active cycle, or from an open alarm to a new one."""
        self._asking.tick()
        with self._store.read() as read:
            active = cycles.active(read, self._name)
            left = active is not None and _champion_left(read, active)
        if active is None:
            self._maybe_start(paused, rollout_active)
            return
        if left:  # what learns from it, and what is compared with it, ends with it
            self._stop(active, "champion_left", "daemon", "")
            return
        match table.Phase(active.phase):
            case table.Phase.COLLECTING:
                self._collecting.tick(active, champion)
            case table.Phase.TRAINING:
                self._train(active)
            case table.Phase.GATING:
                self._examine(active, champion, paused)
            case table.Phase.ROLLING:
                self._follow(active)
            case _:
                pass

    def start_manual(self, wish: Wish, champion: str | None) -> str:
        """Open a cycle for a person; its id. Raises ``CycleOpen`` when one runs."""
        Overrides.parse(self._config, wish.overrides)
        with self._store.begin() as tx:
            if cycles.active(tx, self._name) is not None:
                raise CycleOpen("a cycle is running: wait for its end, or abort it first")
            newest = self._newest_slice(tx)
            data = {"overrides": dict(wish.overrides), "slice": newest, "kind": MANUAL}
            return self._rows.open(tx, MANUAL, "asked_by_person", wish.actor, data, wish.note)

    def abort(self, actor: str, note: str) -> str | None:
        """Stop the active cycle before its rollout; its id, or None when there is none to stop."""
        with self._store.read() as read:
            active = cycles.active(read, self._name)
        if active is None or active.phase == table.Phase.ROLLING.value:
            return None
        self._stop(active, "aborted_by_person", actor, note)
        return active.id

    def _stop(self, active: cycles.Cycle, reason: str, actor: str, note: str) -> None:
        with self._store.begin() as tx:
            for job in jobs.of_cycle(tx, active.id):
                jobs.cancel(tx, job.id, reason="aborted", at=self._clock())
            self._rows.move(tx, active, table.Signal.ABORT, reason, {}, actor=actor, note=note)
        self._gate.cancel()

    # ------------------------------------------------------------------------------------------------ starting

    def _maybe_start(self, paused: bool, rollout_active: bool) -> None:
        with self._store.read() as read:
            waiting = alarms.unanswered(read, self._name)
            if not waiting:
                return
            standing = cycle_standing(
                read,
                self._name,
                waiting,
                self._config,
                paused=paused,
                rollout_active=rollout_active,
            )
        if self._start_second is None:
            standing = replace(standing, no_second_probation=second_probation.NOTHING)
        chosen = table.choose(standing, self._config.cycle, self._clock())
        if chosen.same_cause:
            with self._store.begin() as tx:
                for name in chosen.same_cause:
                    alarms.answer(tx, name, "same_cause")
        for one in (a for a in waiting if a.alarm_id in chosen.ask):
            self._asking.for_alarm(one)
        if chosen.alarm_id is None:
            return
        alarm = next(a for a in waiting if a.alarm_id == chosen.alarm_id)
        if chosen.action is Action.SECOND_PROBATION:
            self._compare(alarm, chosen)
            return
        with self._store.begin() as tx:
            data: dict[str, Any] = {
                "overrides": {},
                "slice": alarm.body.get("slice"),
                "kind": alarm.kind,
                "alarm_at": alarm.at,
                "passed_over": list(chosen.passed_over),
                "action": chosen.action.value,
            }
            if standing.demonstrated in DEMONSTRATED.values():
                data["demonstrated"] = standing.demonstrated
            cycle = self._rows.open(tx, alarm.alarm_id, chosen.reason, "daemon", data, "", chosen.action)
            for one in waiting:  # what else was waiting is the same drift, seen by another detector
                if one.alarm_id not in chosen.same_cause:
                    alarms.answer(tx, one.alarm_id, cycle)

    def _compare(self, alarm: alarms.AlarmRow, chosen: table.Start) -> None:
        """The champion that an alarm makes suspected, against the version before it. The alarm is answered only when
        that ends in a rollback: else it goes on to its next action.
        """
        assert self._start_second is not None
        cycle = new_cycle_id()
        try:
            with self._store.begin() as tx:
                rollout = self._start_second(tx, cycle, alarm.alarm_id)
                data: dict[str, Any] = {
                    "overrides": {},
                    "kind": alarm.kind,
                    "alarm_at": alarm.at,
                    "rollout": rollout,
                    "passed_over": list(chosen.passed_over),
                }
                self._rows.open(tx, alarm.alarm_id, chosen.reason, "daemon", data, "", chosen.action, cycle)
        except Refused:
            return  # its version was left between the two looks; the next one knows

    def _newest_slice(self, tx: Tx) -> object:
        for one in alarms.newest(tx, self._name, 200)[::-1]:
            if one.confirmed and one.body.get("slice") is not None:
                return one.body["slice"]
        return None

    # ------------------------------------------------------------------------------------------------ training

    def _train(self, active: cycles.Cycle) -> None:
        now = self._clock()
        with self._store.begin() as tx:
            note_lost(tx, self._config, self._metrics, now)
            job = jobs.get(tx, str(active.data["job"]))
        if job is None or job.state in ("queued", "claimed"):
            return
        if job.state != "done":
            with self._store.begin() as tx:
                self._rows.move(tx, active, table.Signal.TRAINING_FAILED, "training_failed", {"why": job.reason})
            return
        manifest = self._registry.manifest(str(job.report["version"]))
        with self._store.begin() as tx:
            versions.register(tx, row_of(manifest, self._registry, now))
            data = {"version": manifest.version, "attempt": job.attempt, "buffer": manifest.buffer_digest}
            self._rows.move(tx, active, table.Signal.TRAINED, "trained", data)

    # ------------------------------------------------------------------------------------------------ gating

    def _examine(self, active: cycles.Cycle, champion: str | None, paused: bool) -> None:
        version = str(active.data["version"])
        result = self._gate.result(active, version, champion)
        if result is None:
            return
        now = self._clock()
        passed = result.verdict == "pass"
        checks = {c.name: {"n": c.n, "estimate": c.estimate, "bound": c.bound, "ok": c.ok} for c in result.checks}
        with self._store.begin() as tx:
            versions.set_gate(tx, version, result.model_dump(mode="json"), passed=passed)
            data = {"verdict": result.verdict, "version": version, "cycle": active.id, "checks": checks}
            reason = result.reason.value
            ledger.append(tx, self._name, "gate", version, reason, actor="daemon", at=now, data=data)
            self._metrics.gates.labels(verdict=result.verdict, reason=reason).inc()
            if not passed:
                data = {"version": version, "verdict": result.verdict, "gate": reason}
                self._rows.move(tx, active, table.Signal.GATE_STOPPED, f"gate_{reason}", data)
                return
        outlook = self._outlook(active, result)
        with self._store.begin() as tx:
            frozen = next_config(tx, self._name, self._config.rollout, now)
            expected = forecast(outlook, frozen)
            figures = {
                "units": expected.units_small + expected.units_half,
                "seconds": expected.seconds,
                "most_units": expected.most_units,
                "deadline_s": frozen.deadline_s,
                "needs_promote": frozen.promote_threshold,
            }
            if not expected.reaches(frozen.deadline_s):
                self._rows.move(tx, active, table.Signal.UNDERPOWERED, "underpowered", _finite(figures))
                lacking = for_rollout(expected, outlook, frozen)
                self._asking.for_cycle(tx, active, "rollout", lacking)
                return
            try:
                rollout = self._start_rollout(tx, active, version)
            except Refused as refused:  # training again on the same buffer gives the same version
                self._rows.move(tx, active, table.Signal.GATE_STOPPED, refused.reason, {"version": version})
                return
            data = {"rollout": rollout, "version": version, **_finite(figures)}
            self._rows.move(tx, active, table.Signal.GATE_PASSED, "gate_passed", data)

    # ------------------------------------------------------------------------------------------------ rolling

    def _follow(self, active: cycles.Cycle) -> None:
        with self._store.read() as read:
            row = rollouts.get(read, str(active.data["rollout"]))
        if row is None or RolloutPhase(row.phase) not in FINAL:
            return
        with self._store.begin() as tx:
            self._rows.move(tx, active, table.Signal.ROLLOUT_ENDED, f"rollout_{row.phase}", {"rollout": row.id})
            if row.data.get("promotion"):
                second_probation.answer(tx, self._name, active.id, RolloutPhase(row.phase))


class CycleOpen(Exception):
    """The person's: a second cycle was asked for while one runs."""


def _champion_left(read: Read, active: cycles.Cycle) -> bool:
    """Whether the version that this cycle learns from, before it has a rollout, was rolled back."""
    if active.phase not in (table.Phase.TRAINING.value, table.Phase.GATING.value):
        return False
    champion = active.data.get("champion")
    return champion is not None and denials.is_denied(read, str(champion))


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    return {k: v for k, v in figures.items() if v < float("inf")}
