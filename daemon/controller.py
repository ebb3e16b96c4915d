"""The controller: one tick after the other, and the commands of people in between.

The tick (one thread) looks at the host, keeps champion, previous and identity resident, moves the active rollout and
the active cycle at most one step each. Commands come from API threads; a rollback writes the route at once and lets
the rows follow, everything else takes the tick's lock.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.base_shape import BaseShape
from adapters.job import JobReport
from adapters.registry import Registry
from daemon import approval, freeze, freeze_record, ledger, rollback
from daemon.adoption import adopt, reconcile_intents
from daemon.api.ports import By, Json, Readiness
from daemon.config import Config
from daemon.cycle_standing import PAUSED
from daemon.faults import Refused
from daemon.gauges import set_gauges
from daemon.holdback import Holding
from daemon.ingest import Ingest
from daemon.learning import CycleOpen, Learning, Wish
from daemon.query_watch import QueryWatch
from daemon.residency import Residency
from daemon.residents import Residents
from daemon.rolling import Policy, Rolling
from daemon.route_write import restore
from daemon.routing import Overtaken, Routing
from daemon.stand_in import StandIn
from daemon.standing import Standing, standing
from daemon.status import status
from daemon.store import Store, StoreError, rollouts, states
from daemon.trainer_desk import claim, take_report
from daemon.troubles import LOG, Troubles
from daemon.way_back import RACES, go_back
from deploy.agent import Agent, Observation
from deploy.kill_query import QUIET
from deploy.rollout import LIVE, STAYS, TABLE, IllegalMove, Phase, Signal
from deploy.verdict import numbers
from monitors.metrics import Metrics

AWAITING: Final = (Phase.AWAITING_CANARY, Phase.AWAITING_PROMOTION, Phase.AWAITING_SECOND_PROBATION)
"""Phases that a person's approval ends."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a controller is made of."""

    config: Config
    store: Store
    registry: Registry
    agent: Agent
    ingest: Ingest
    routing: Routing
    residency: Residency
    rolling: Rolling
    learning: Learning
    base: BaseShape | None
    """Shape of the base model; None in mode observe."""
    identity: str | None
    """Name of the identity version; None in mode observe."""
    clock: Callable[[], float]
    close: Callable[[], None]
    metrics: Metrics
    troubles: Troubles = field(default_factory=Troubles)
    queries: QueryWatch | None = None
    """Looks at the user's own queries; None without any."""


class Controller:
    """Implements ``daemon.api.ports.Controller``."""

    def __init__(self, parts: Parts) -> None:
        self._p = parts
        self._tick_lock = threading.RLock()
        self._name = parts.config.deployment.name
        self._seen = Observation((), None)
        self._standing = Standing(None, (), None)
        self._followed: str | None = ""
        """Id of the rollout whose units are counted; "" before it was decided, so that the first tick decides."""
        self._last_tick = 0.0
        identity, hold = parts.identity, parts.config.holdback
        self._holding = Holding(hold, parts.store, parts.routing, self._name, identity, parts.clock)
        wait_s = parts.config.rollout.champion_wait_s
        self._stand_in = StandIn(parts.store, parts.routing, self._name, wait_s, parts.clock)
        self._frozen = freeze_record.FreezeRecord(parts.store, self._name, parts.config.cycle.freeze_after, parts.clock)
        self._residents = Residents(parts.residency, parts.store, self._name, parts.troubles, parts.clock)

    # ------------------------------------------------------------------------------------------------ ticking

    def start(self) -> None:
        """Take over what lies on the host, before the first tick. Raises the agent's and the store's errors."""
        if self._acts:
            self._seen = self._p.agent.observe()
            adopt(self._p.store, self._p.routing, self._seen.route, self._name, self._p.clock())
        self._refresh()

    def tick(self) -> None:
        """One tick. Raises nothing that a later tick could mend by itself."""
        with self._tick_lock:
            if self._acts:
                self._seen = self._p.agent.observe()
                self._act()
            self._refresh()
            self._show()
            self._last_tick = self._p.clock()

    def _show(self) -> None:
        """Gauges of what this tick saw."""
        with self._p.store.read() as read:
            row, frozen = rollouts.active(read, self._name), freeze_record.load(read) is not None
        routing, observed = self._p.routing, self._p.ingest.observed()
        set_gauges(self._p.metrics, row, observed, self._seen, self._standing, routing.route, routing.epoch, frozen)

    @property
    def _acts(self) -> bool:
        return self._p.config.mode != "observe"

    def _act(self) -> None:
        p = self._p
        generation = adopt(p.store, p.routing, self._seen.route, self._name, p.clock())
        restore(p.store, p.routing, self._name, self._seen, p.clock())
        reconcile_intents(p.store, p.routing, self._name, p.clock())
        self._refresh()
        self._keep_residents()
        with p.store.read() as read:
            row = rollouts.active(read, self._name)
        self._follow(row)
        paused = self._paused()
        queries = p.queries.look(row) if p.queries is not None else QUIET
        if row is not None:
            policy = Policy(p.config.mode, paused, queries)
            p.rolling.tick(row, p.ingest.observed(), self._seen, policy, generation)
            self._refresh()
        else:
            p.rolling.end_share(generation)
        self._rebase()
        self._rate()
        self._stand_in.tick(self._standing, self._seen, generation)
        self._holding.tick(self._standing.accepted, self._seen, paused, generation)
        self._frozen.tick()
        p.learning.tick(self._standing.champion, paused, row is not None)

    def _follow(self, row: rollouts.Rollout | None) -> None:
        wanted = None if row is None else row.id
        if wanted != self._followed:
            self._p.ingest.follow(row)
            self._followed = wanted

    def _rate(self) -> None:
        """Rewards of the champion are watched, also while others stand in for it or it is compared with another."""
        live, route = self._standing.live, self._p.routing.route
        second = live is not None and live.second
        self._p.ingest.rate(live.candidate if live is not None and second else None if route is None else route.wanted)

    def _rebase(self) -> None:
        """After a promotion the then-current traffic becomes the reference: the same cause must not alarm again.

        Looked for at every tick, so that a crash between the promotion and this makes no difference.
        """
        with self._p.store.read() as read:
            newest = next(iter(rollouts.newest(read, self._name, 1)), None)
        if newest is None or newest.phase != Phase.PROMOTED.value or self._p.ingest.rebased_for() == newest.id:
            return
        self._p.ingest.rebase(self._p.clock(), "promotion", newest.id)

    def _keep_residents(self) -> None:
        """Champion, rollback targets' top and identity on every replica that answers (R3, A3)."""
        standing = self._standing
        anchor = self._holding.resident(standing.accepted)
        wanted = [v for v in (standing.champion, standing.previous, self._p.identity, anchor) if v]
        if self._residents.keep(list(dict.fromkeys(wanted)), self._seen.replicas):
            self._seen = self._p.agent.observe()

    def _refresh(self) -> None:
        for _ in range(RACES):  # what a rollback says of itself meanwhile must not be written over by what was before
            at = self._p.routing.view()
            with self._p.store.read() as read:
                found = standing(read, self._name, self._p.identity, at.route)
            if self._p.routing.generation == at.generation:
                self._standing = found
                return

    def _paused(self) -> bool:
        with self._p.store.read() as read:
            return states.get(read, PAUSED) == b"1"

    # ------------------------------------------------------------------------------------------------ looking

    def status(self) -> Json:
        """Where everything is."""
        return status(self._p.store, self._p.config, self._standing, self._seen, self._p.routing, self._p.ingest) | {
            "troubles": self._p.troubles.view()
        }

    def readiness(self) -> Readiness:
        """Whether events are consumed and ticks run."""
        late = self._p.clock() - self._last_tick
        if late > 20 * self._p.config.learning.tick_s + 30.0:
            return Readiness(False, "ticks_stopped")
        away = self._p.troubles.at(LOG)
        if away is not None:
            return Readiness(False, away.reason)
        return Readiness(True, "ready")

    # ------------------------------------------------------------------------------------------------ commands

    def rollback(self, by: By, to: str | None, suspend_data: bool) -> Json:
        """Route first; then the rows, or when the store is back."""
        began = time.monotonic()
        self._must_act()
        went = go_back(self._p.routing, self._standing, self._seen, by, to, self._look_at_host)
        self._standing = went.standing
        took = 1000.0 * (time.monotonic() - began)
        answer: Json = {
            "acked_at": went.ack.at,
            "ms": round(took, 1),
            "from": went.gone[0],
            "to": went.target,
            "epoch": went.ack.epoch,
            "gateways": dict(went.ack.gateways),
        }
        try:
            with self._p.store.begin() as tx:
                now, epoch = self._p.clock(), went.ack.epoch
                rollback.record(tx, self._name, by, went.gone, went.target, suspend_data, epoch, now)
            self._p.routing.recorded(went.ack.epoch)
        except StoreError:
            answer["recorded"] = False  # the route file is the record; the next tick adopts it
        self._refresh_quietly(went.target)
        self._p.metrics.rollbacks.labels(outcome="done").inc()
        return answer

    def _look_at_host(self) -> Standing:
        """Take over what somebody else wrote, into the store too where it lets us; the standing after that."""
        found = self._p.agent.observe().route
        with contextlib.suppress(StoreError):  # the next tick does it; the route alone decides until then
            adopt(self._p.store, self._p.routing, found, self._name, self._p.clock())
            self._refresh()
        return self._standing

    def promote(self, by: By) -> Json:
        """Past the statistics: ends in probation, or out of it; a champion that is suspected stays."""
        return self._signal(by, Signal.APPROVED, "promoted_by_person", LIVE)

    def approve(self, by: By, version: str | None = None, examples: bool = False) -> Json:
        """What the mode made wait; or, with its name, a version that was denied."""
        if version is not None:
            return self._approve(by, version, examples)
        return self._signal(by, Signal.APPROVED, "approved", AWAITING)

    def _approve(self, by: By, version: str, examples: bool) -> Json:
        self._must_act()
        with self._tick_lock:
            route = self._p.routing.route
            serving, now = None if route is None else route.wanted, self._p.clock()
            with self._p.store.begin() as tx:
                answer = approval.lift(tx, self._name, by, version, serving, examples, now)
            self._refresh()
        return answer

    def abort(self, by: By) -> Json:
        """The running rollout, else the running cycle."""
        self._must_act()
        with self._p.store.read() as read:
            row = rollouts.active(read, self._name)
        if row is not None:
            return self._signal(by, Signal.ABORT, "aborted_by_person", tuple(Phase))
        with self._tick_lock:
            stopped = self._p.learning.abort(by.actor, by.reason)
        if stopped is None:
            raise Refused("nothing_to_abort", "nothing to abort: no rollout is active and no cycle runs")
        return {"cycle": stopped, "phase": "stopped"}

    def pause(self, by: By) -> Json:
        """Start nothing new, move no share up."""
        return self._set_paused(by, True)

    def resume(self, by: By) -> Json:
        """Go on, also after a freeze; that needs a reason."""
        return self._set_paused(by, False)

    def adapt(self, by: By, overrides: Mapping[str, Any]) -> Json:
        """A cycle without an alarm."""
        self._must_act()
        with self._tick_lock:
            try:
                cycle = self._p.learning.start_manual(Wish(by.actor, by.reason, overrides), self._standing.champion)
            except CycleOpen as error:
                raise Refused("not_now", str(error)) from error
        return {"cycle": cycle, "phase": "collecting"}

    def scheduled_adapt(self) -> None:
        """The hour of ``learning.schedule`` has come; a refusal is recorded as any other."""
        by = By("schedule", "")
        try:
            self.adapt(by, {})
        except Refused as refused:
            with self._p.store.begin() as tx:
                ledger.append(tx, self._name, "cycle", self._name, refused.reason, actor=by.actor, at=self._p.clock())

    def close(self) -> None:
        """Release connections; idempotent."""
        self._p.close()

    def _must_act(self) -> None:
        if not self._acts:
            raise Refused(
                "mode_observe", "mode is observe: homeostat writes nothing. Set mode to propose, canary or auto first"
            )

    def _signal(self, by: By, signal: Signal, reason: str, phases: tuple[Phase, ...]) -> Json:
        self._must_act()
        with self._tick_lock:
            generation = adopt(self._p.store, self._p.routing, None, self._name, self._p.clock())
            with self._p.store.read() as read:
                row = rollouts.active(read, self._name)
            if row is None:
                raise Refused("no_active_rollout", "no rollout is active")
            phase = Phase(row.phase)
            if phase not in phases:
                allowed = ", ".join(p.value for p in phases)
                raise Refused(
                    "wrong_phase", f"rollout {row.id} is in phase {phase.value}; this needs one of: {allowed}"
                )
            if phase in LIVE and TABLE.get((phase, signal)) in STAYS:
                self._must_be_proved(row)
            observed = self._p.ingest.observed()
            facts = {} if observed is None else numbers(observed.processes)
            try:
                after = self._p.rolling.apply(
                    row, phase, signal, reason, facts, actor=by.actor, generation=generation, note=by.reason
                )
            except (IllegalMove, Overtaken) as error:
                raise Refused("not_now", str(error)) from error
            self._rebase()
            self._refresh()
        return {"rollout": row.id, "candidate": row.candidate, "phase": after.value}

    def _must_be_proved(self, row: rollouts.Rollout) -> None:
        """A person promotes past the statistics, never past the effect proof (A1). Raises Refused."""
        found = self._p.residency.everywhere(row.candidate, self._p.agent.observe().replicas, row.id)
        if not found.ok:
            raise Refused("not_now", f"{row.candidate} is not proved on every replica ({found.reason}): try again")

    def _set_paused(self, by: By, paused: bool) -> Json:
        now, reason = self._p.clock(), "asked_by_person"
        with self._p.store.begin() as tx:
            held = freeze_record.settle(tx, self._name, self._p.config.cycle.freeze_after, now)
            found = freeze.rollbacks(tx, self._name)
            lifts = not paused and held is not None
            if lifts:
                if not by.reason.strip():
                    message = f"{found} rollbacks in a row froze the deployment: resume with --reason to lift that"
                    raise Refused("reason_needed", message)
                freeze_record.lift(tx, self._name, now)
                reason = freeze_record.LIFTED
            states.put(tx, PAUSED, b"1" if paused else b"0", now)
            kind, data = "pause" if paused else "resume", {"rollbacks": found} if found else {}
            name, actor = self._name, by.actor
            ledger.append(tx, name, kind, name, reason, actor=actor, at=now, data=data, note=by.reason)
        frozen = held is not None and not lifts
        return {"paused": paused, "frozen": frozen, "rollbacks_forgotten": found if lifts else 0}

    def _refresh_quietly(self, target: str | None) -> None:
        try:
            self._refresh()
        except StoreError:
            self._standing = self._standing.gone_back(target)

    # ------------------------------------------------------------------------------------------------ the trainer

    def trainer_claim(self, worker: str) -> Json | None:
        """The next job."""
        return claim(self._p.store, self._p.config, self._p.metrics, worker, self._p.clock())

    def trainer_report(self, job_id: str, report: Json) -> bool:
        """A heartbeat or an end."""
        found, p = JobReport.model_validate(report), self._p
        if p.base is None:
            return False
        return take_report(p.store, p.registry, p.base, p.config, p.metrics, job_id, found, p.clock())
