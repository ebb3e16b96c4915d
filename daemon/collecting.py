"""A cycle's first phase: labels are counted as they come, then a buffer is built, and trained on or shown.

The slice is learned anew once some time after the alarm, and again when a buffer is tried: by then more of the new
traffic was seen.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from adapters.job import TrainJob
from adapters.registry import Registry
from daemon import cycle as table
from daemon.asking import Asking
from daemon.buffer_build import BufferBuilder, Built, Overrides
from daemon.config import Config
from daemon.cycle_rows import CycleRows
from daemon.cycle_standing import demonstrates
from daemon.demonstrating import Demonstrating
from daemon.freeze import MANUAL
from daemon.labels import Labels
from daemon.store import Store, Tx, cycles, jobs, versions
from daemon.version_rows import adapter_of, row_of
from monitors.alarms import SliceModel


class Collecting:
    """Used by the controller's tick only. Memory holds counts of the newest cycle, and is made anew from the store."""

    def __init__(
        self,
        config: Config,
        store: Store,
        registry: Registry,
        builder: BufferBuilder,
        asking: Asking,
        rows: CycleRows,
        newest_slice: Callable[[], SliceModel | None],
        clock: Callable[[], float],
        demonstrating: Demonstrating | None = None,
    ) -> None:
        """``newest_slice``: the standing alarm's, by now. ``demonstrating`` None: no pairs are shown."""
        self._config, self._store, self._registry, self._builder = config, store, registry, builder
        self._asking, self._rows, self._clock, self._demonstrating = asking, rows, clock, demonstrating
        self._newest_slice_of_watch = newest_slice
        self._name = config.deployment.name
        self._labels = Labels(store, self._name)
        self._cycle, self._tried_at = "", 0
        """Whose labels are counted, and how many there were when a buffer was tried last."""

    def tick(self, active: cycles.Cycle, champion: str | None) -> None:
        """One look; at most one move."""
        if active.id != self._cycle:
            self._labels.forget()
            self._cycle, self._tried_at = active.id, 0
        now = self._clock()
        active = self._refit_when_due(active, now)
        inside = SliceModel.stored(active.data.get("slice"))
        since = float(active.data.get("alarm_at", active.started_at)) - self._config.cycle.history_s
        labels = self._labels.count(inside, since, now)
        shows, waited = demonstrates(active), now - active.started_at
        least = table.waits_for(self._config.cycle, shows=shows, manual=active.cause == MANUAL)
        wanted = labels >= least.min_labels and labels >= 1.1 * self._tried_at
        late = waited >= self._config.cycle.label_deadline_s
        built: Built | None = None
        selected: int | None = None
        if wanted or late:
            self._tried_at = labels
            active = self._refit(active)
            built = self._build(active, champion, now, shows=shows)
            selected = built.new if late or built.questions_for(self._config.gate) else 0
        signal, reason = table.collecting(table.Collected(labels, selected, waited), least)
        if signal is None:
            return
        if signal is not table.Signal.ENOUGH_LABELS or built is None:
            with self._store.begin() as tx:
                self._rows.move(tx, active, signal, reason, {"labels": labels, "selected": selected or 0})
                if not shows:  # what follows demonstrations collects for itself
                    lacking = max(least.min_labels - labels, least.min_selected - (selected or 0))
                    self._asking.for_cycle(tx, active, "training", lacking)
        elif shows:
            self._demonstrate(active, built, champion, now)
        else:
            self._train(active, built, champion, reason, now)

    def _build(self, active: cycles.Cycle, champion: str | None, now: float, *, shows: bool) -> Built:
        inside = SliceModel.stored(active.data.get("slice"))
        overrides = Overrides.parse(self._config, active.data["overrides"])
        show = {"show": self._config.cycle.demonstrations} if shows else {}
        return self._builder.build(active, inside, champion, overrides, now, **show)

    def _train(self, active: cycles.Cycle, built: Built, champion: str | None, reason: str, now: float) -> None:
        with self._store.begin() as tx:
            self._builder.record(tx, built, active, now)
            job = self._queue(tx, active, built, champion)
            data: dict[str, Any] = {"buffer": built.digest, "job": job, "champion": champion, **built.counts}
            data["slice"] = active.data.get("slice")
            self._rows.move(tx, active, table.Signal.ENOUGH_LABELS, reason, data)

    def _queue(self, tx: Tx, active: cycles.Cycle, built: Built, champion: str | None) -> str:
        now, name = self._clock(), f"job-{uuid.uuid4().hex[:10]}"
        overrides = Overrides.parse(self._config, active.data["overrides"])
        spec = TrainJob(
            job_id=name,
            deployment=self._name,
            tenant=self._config.deployment.tenant,
            base_dir=str(self._config.deployment.base_dir),
            champion=None if champion is None else adapter_of(tx, champion),
            buffer_dir=built.folder,
            buffer_digest=built.digest,
            config=overrides.training,
            seed=int(built.digest[:8], 16) % 2**31,
        )
        attempts = self._config.cycle.job_attempts
        jobs.create(tx, job=name, cycle=active.id, spec=spec.model_dump(mode="json"), max_attempts=attempts, at=now)
        return name

    def _demonstrate(self, active: cycles.Cycle, built: Built, champion: str | None, now: float) -> None:
        """Make the version; with nothing to show the cycle ends, and its alarm goes on to the next action."""
        manifest = None if self._demonstrating is None else self._demonstrating.make(built, champion, now)
        with self._store.begin() as tx:
            if manifest is None:
                self._rows.move(tx, active, table.Signal.TOO_FEW_LABELS, "no_demonstrations", dict(built.counts))
                return
            self._builder.record(tx, built, active, now)
            versions.register(tx, row_of(manifest, self._registry, now))
            data = {"buffer": built.digest, "version": manifest.version, "stands_on": manifest.parent}
            data |= {"champion": champion, **built.counts, "slice": active.data.get("slice")}
            self._rows.move(tx, active, table.Signal.PAIRS_CHOSEN, "demonstrations_chosen", data)

    # ------------------------------------------------------------------------------------------------ the slice

    def _refit_when_due(self, active: cycles.Cycle, now: float) -> cycles.Cycle:
        """Learn the slice anew once, some time after the alarm."""
        if active.data.get("refitted") or now - active.started_at < self._config.cycle.slice_refit_s:
            return active
        fitted = self._refit(active)
        data = {**fitted.data, "refitted": True}
        with self._store.begin() as tx:
            cycles.update_phase(
                tx, active.id, phase=active.phase, reason=active.reason, data=data, at=active.changed_at
            )
        self._labels.forget()
        return replace(active, data=data)

    def _refit(self, active: cycles.Cycle) -> cycles.Cycle:
        """The cycle with the slice that the standing alarm has now; without one it keeps what it began with."""
        found = self._newest_slice_of_watch()
        if found is None:
            return active
        return replace(active, data={**active.data, "slice": found.model_dump(mode="json")})
