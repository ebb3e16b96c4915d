"""The rollout's shell: make the world match the phase, look, decide, move at most one step.

Order in one tick: effects the phase wants (each with an intent row first, each idempotent), then facts, then the
verdict, then one transaction with the move and its ledger entry. Rollback is the exception: the route first, the rows
when the store lets us.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from daemon import ledger
from daemon.denial import deny, suspend
from daemon.live_evidence import intervals_of
from daemon.obstacles import Obstacle, Tries, weigh
from daemon.residency import Residence, Residency
from daemon.route_write import Change, write
from daemon.routing import Overtaken, Routing
from daemon.shadow_task import ShadowTask
from daemon.soak_task import Soaked
from daemon.store import Store, Tx, fences, rollouts, versions
from deploy.agent import Observation, RouteAck
from deploy.evidence import Observed
from deploy.kill_query import QUIET, USER_QUERY, UserQueries
from deploy.rollout import FINAL, LIVE, SHADOWED, STAYS, TABLE, Desired, Phase, RolloutConfig, Signal, desired, move
from deploy.routes import Split
from deploy.shadow import before_traffic
from deploy.stakes import STAKES, changed
from deploy.verdict import OTHER_RELEASE, judge, numbers, suspends
from monitors.metrics import Metrics
from streams.failpoints import failpoint

BACK: Final = frozenset({Signal.HARM, Signal.KILL_SWITCH, Signal.PROOF_FAILED, Signal.ROLLBACK})
"""Signals after which the candidate is denied."""
CONTROL_READY: Final = "control_is_an_adapter"
PROVED: Final = "effect_proved_everywhere"
ASKS: Final = "mode_asks_for_a_person"
AT_WORK: Final = "soak_at_work"
AWAITED: Final = "awaiting_approval"
PAUSED: Final = "paused"
DEADLINE: Final = "deadline"
REASONS: Final = frozenset({CONTROL_READY, PROVED, ASKS, AT_WORK, AWAITED, PAUSED, DEADLINE})
"""Reasons of the shell itself, beside those of verdict, soak, shadow, queries and obstacles; docs/reasons.md says what
each means."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator allows now."""

    mode: str
    paused: bool
    queries: UserQueries = QUIET
    """What the operator's own queries say."""


NO_ROLLOUT: Final = "no_rollout"
"""A route's reason: a share was left in it, and no rollout runs."""


class Rolling:
    """Drives the active rollout. One thread."""

    def __init__(
        self,
        store: Store,
        routing: Routing,
        residency: Residency,
        soak: Callable[[str, int], Soaked | None],
        deployment: str,
        clock: Callable[[], float],
        metrics: Metrics,
        shadow: ShadowTask | None = None,
    ) -> None:
        self._metrics, self._shadow = metrics, shadow
        self._store, self._routing, self._residency = store, routing, residency
        self._soak, self._deployment, self._clock = soak, deployment, clock
        self._tries = Tries()
        self._config: tuple[str, RolloutConfig | None] = ("", None)
        self._generation = 0
        """The routing's generation that the step in progress goes by; its own writes raise it."""
        self._soaked: Soaked | None = None
        self._shadow_says: tuple[Signal | None, str] | None = None

    def tick(
        self,
        row: rollouts.Rollout,
        evidence: Observed | None,
        seen: Observation,
        policy: Policy,
        generation: int,
    ) -> Phase:
        """One step of the active rollout; the phase it is in afterwards. ``generation``: the routing's before ``row``
        was read.
        """
        phase, config = Phase(row.phase), self._config_of(row)
        self._generation = generation
        try:
            self._shadow_says = self._look_at_shadow(row, phase, config, policy)
            signal, reason, facts = self._look(row, phase, config, seen, evidence, policy)
            if signal is None:
                self._note_wait(row, reason)
                return phase
            return self.apply(row, phase, signal, reason, facts, actor="daemon", generation=self._generation)
        except Overtaken:
            return phase

    def apply(
        self,
        row: rollouts.Rollout,
        phase: Phase,
        signal: Signal,
        reason: str,
        facts: Mapping[str, Any],
        *,
        actor: str,
        generation: int,
        note: str = "",
    ) -> Phase:
        """Take one signal: whatever it changes of the route, then the rows. Raises Overtaken and IllegalMove."""
        target = move(phase, signal)
        self._generation = generation
        if target in FINAL and phase in LIVE:
            self._leave(row, target, reason, actor)
        self._tries = Tries()
        if phase in LIVE:
            with self._store.read() as read:
                facts = {**facts, **intervals_of(read, row)}
        if self._shadow is not None:
            facts = {**facts, **self._shadow.facts(row.id, self._config_of(row).alpha)}
        with self._store.begin() as tx:
            self._record(tx, row, phase, signal, target, reason, facts, actor, note)
        failpoint(f"rollout.{target.value}.recorded")
        return target

    def end_share(self, generation: int) -> None:
        """No rollout runs: a share that is left in the route, by whoever ended one at the host, goes to the control."""
        route = self._routing.route
        if route is None or route.split is None:
            return
        change = Change(self._deployment, route.control, None, NO_ROLLOUT, stands_in_for=route.stands_in_for)
        with contextlib.suppress(Overtaken):
            write(self._store, self._routing, self._deployment, change, generation, self._clock, "rollout.none")

    def _config_of(self, row: rollouts.Rollout) -> RolloutConfig:
        """A rollout keeps the settings that it began with, so they are read once."""
        name, known = self._config
        if known is None or name != row.id:
            known = RolloutConfig.model_validate(row.data["config"])
            self._config = (row.id, known)
        return known

    # ------------------------------------------------------------------------------------------------- looking

    def _look(
        self,
        row: rollouts.Rollout,
        phase: Phase,
        config: RolloutConfig,
        seen: Observation,
        evidence: Observed | None,
        policy: Policy,
    ) -> tuple[Signal | None, str, dict[str, Any]]:
        """What the facts say now. Raises Overtaken."""
        now = self._clock()
        wants = desired(phase, str(row.control), row.candidate, config)
        obstacle = self._reconcile(row, phase, wants, config, seen)
        spared = phase is Phase.SECOND_PROBATION
        self._tries, against = weigh(self._tries, obstacle, row.candidate, seen.replicas, spared=spared)
        if against:
            wrong = obstacle is not None and obstacle.found.final
            signal = Signal.KILL_SWITCH if phase in LIVE and not wrong else Signal.PROOF_FAILED
            return signal, against, _facts(evidence)
        blocked = None if obstacle is None else obstacle.waits(row.candidate)
        if phase in LIVE and evidence is not None:
            since = int(row.data.get("units_at_phase", 0))
            units = evidence.processes.assigned - since
            kill = replace(evidence.kill, query=policy.queries.fires)
            found = judge(phase, evidence.processes, kill, config, units, now - row.changed_at)
            facts: dict[str, Any] = dict(found.numbers)
            others = changed(row.data.get("stakes"))
            if others and found.signal is not Signal.KILL_SWITCH:
                found = replace(found, signal=Signal.VOID, reason=OTHER_RELEASE)
                facts["other_stakes"] = list(others)
            if found.reason == USER_QUERY:
                facts |= policy.queries.facts
            holds = blocked if blocked is not None else PAUSED if policy.paused else policy.queries.holds
            held = found.signal in (Signal.STEP_PASSED, Signal.NO_HARM) and holds != ""
            held = held or _unproved(obstacle, row.candidate, phase, found.signal)
            if found.signal is not None and not held:
                if phase is Phase.CANARY_HALF and found.signal is Signal.STEP_PASSED and _person_promotes(policy):
                    return Signal.NEEDS_APPROVAL, ASKS, facts
                return found.signal, found.reason, facts
            if now >= row.deadline and not _unproved(obstacle, row.candidate, phase, Signal.DEADLINE):
                return Signal.DEADLINE, DEADLINE, facts
            return None, holds if held or blocked is not None else found.reason, facts
        facts = _facts(evidence)
        if now >= row.deadline and not _unproved(obstacle, row.candidate, phase, Signal.DEADLINE):
            return Signal.DEADLINE, DEADLINE, facts
        if blocked is not None:
            return None, blocked, facts
        return self._before_traffic(phase, policy, facts)

    def _before_traffic(
        self, phase: Phase, policy: Policy, facts: dict[str, Any]
    ) -> tuple[Signal | None, str, dict[str, Any]]:
        if self._shadow_says is not None:
            return (*self._shadow_says, facts)
        match phase:
            case Phase.STARTING:
                return Signal.CONTROL_READY, CONTROL_READY, facts
            case Phase.SOAKING:
                if self._soaked is None:
                    return None, AT_WORK, facts
                return Signal.SOAKED, self._soaked.reason, facts | self._soaked.facts
            case Phase.PROVING if policy.mode == "propose":
                return Signal.NEEDS_APPROVAL, ASKS, facts
            case Phase.PROVING if policy.paused:
                return None, PAUSED, facts
            case Phase.PROVING if policy.queries.holds:
                return None, policy.queries.holds, facts
            case Phase.PROVING:
                return Signal.PROVED, PROVED, facts
            case _:
                return None, AWAITED, facts

    def _look_at_shadow(
        self, row: rollouts.Rollout, phase: Phase, config: RolloutConfig, policy: Policy
    ) -> tuple[Signal | None, str] | None:
        """What the shadow says of a candidate that met no user; keeps it at work from the first proof on."""
        if self._shadow is None or not config.shadow.on or phase not in (*SHADOWED, *LIVE):
            return None
        seen = self._shadow.look(row, config)
        if phase in LIVE:
            return None
        may_wait = phase is Phase.PROVING and policy.mode != "propose"
        return before_traffic(seen, config, self._clock() - row.changed_at, may_wait=may_wait)

    # ------------------------------------------------------------------------------------------------- effects

    def _reconcile(
        self,
        row: rollouts.Rollout,
        phase: Phase,
        wants: Desired,
        config: RolloutConfig,
        seen: Observation,
    ) -> Obstacle | None:
        """Make residents and route what the phase wants; what failed, or None. Raises Overtaken."""
        soaking = phase is Phase.SOAKING
        for version in wants.resident:
            on = seen.replicas[:1] if soaking and version == row.candidate else seen.replicas
            found = self._residency.everywhere(version, on, row.id, f"rollout.{phase.value}")
            if not found.ok:
                return Obstacle(version, found)
        if soaking:
            failpoint("rollout.soaking.before_soak")
            self._soaked = soaked = self._soak(row.candidate, config.soak_requests)
            failpoint("rollout.soaking.after_soak")
            if soaked is not None and soaked.failed:
                first = seen.replicas[0].name
                return Obstacle(row.candidate, Residence(False, soaked.failed, final=soaked.final, replica=first))
        self._route(row, phase, wants, config)
        if wants.share is not None:
            self._routing.renew(config.lease_s / 3.0)
        return None

    def _route(self, row: rollouts.Rollout, phase: Phase, wants: Desired, config: RolloutConfig) -> None:
        split = None
        if wants.share is not None:
            split = Split(rollout=row.id, candidate=row.candidate, share=wants.share, lease_s=config.lease_s)
        if _same(self._routing, wants.control, split):
            return
        self._write(row.id, wants.control, split, phase.value, "daemon")

    def _write(self, owner: str, control: str | None, split: Split | None, reason: str, actor: str) -> None:
        """Change the route with an intent row before it. Raises Overtaken."""
        change = Change(owner, control, split, reason, actor)
        place = f"rollout.{reason}"
        write(self._store, self._routing, self._deployment, change, self._generation, self._clock, place)
        self._generation += 1

    def _serve(self, control: str | None, split: Split | None, actor: str, reason: str) -> RouteAck:
        """Change the route, unless somebody else did since ``generation``. Raises Overtaken."""
        ack = self._routing.serve(control, split, generation=self._generation, actor=actor, reason=reason)
        self._generation += 1
        return ack

    def _leave(self, row: rollouts.Rollout, target: Phase, reason: str, actor: str) -> None:
        """End the split. Towards control it is the one effect without an intent row: the route first."""
        if target in STAYS:
            self._write(row.id, row.candidate, None, target.value, actor)
            return
        failpoint("rollout.back.before_route")
        route = self._routing.route
        if route is None or route.split is not None or route.wanted != row.control:
            self._serve(row.control, None, actor, f"{target.value}:{reason}")
        failpoint("rollout.back.after_route")

    # ------------------------------------------------------------------------------------------------- recording

    def _record(
        self,
        tx: Tx,
        row: rollouts.Rollout,
        phase: Phase,
        signal: Signal,
        target: Phase,
        reason: str,
        facts: Mapping[str, Any],
        actor: str,
        note: str,
    ) -> None:
        # the epoch that is recorded below must not be that of somebody else's file, whose rows are still to come
        at = self._routing.view()
        if not _stands(tx, row) or at.generation != self._generation:
            raise Overtaken
        now = self._clock()
        data = {**row.data, "units_at_phase": int(facts.get("units", 0)), "waiting": ""}
        if phase not in LIVE and target in LIVE:
            data["stakes"] = dict(STAKES)
        rollouts.update_phase(tx, row.id, phase=target.value, reason=reason, at=now, data=data, ended=target in FINAL)
        entry = {
            "from_phase": phase.value,
            "to_phase": target.value,
            "signal": signal.value,
            "candidate": row.candidate,
            "control": row.control,
            "epoch": at.epoch,
            **{k: v for k, v in facts.items() if v == v},
        }
        ledger.append(tx, self._deployment, "rollout", row.id, reason, actor=actor, at=now, data=entry, note=note)
        fences.adopt(tx, self._deployment, at.epoch, holder=actor, at=now)
        if target in FINAL:
            self._metrics.verdicts.labels(verdict=target.value).inc()
        if target is Phase.PROMOTED:
            versions.promote(tx, row.candidate, now)
        elif target in (Phase.ROLLED_BACK, Phase.DENIED):
            deny(tx, self._deployment, row.candidate, f"{target.value}:{reason}", actor, now)
            if suspends(target, reason):
                suspend(tx, self._deployment, row.id, row.candidate, actor, now)

    def _note_wait(self, row: rollouts.Rollout, reason: str) -> None:
        if row.data.get("waiting") == reason:
            return
        with self._store.begin() as tx:
            if not _stands(tx, row):
                return
            data = {**row.data, "waiting": reason}
            rollouts.update_phase(tx, row.id, phase=row.phase, reason=row.reason, at=row.changed_at, data=data)


def _unproved(obstacle: Obstacle | None, candidate: str, phase: Phase, signal: Signal | None) -> bool:
    """Whether a signal would let the candidate serve everybody while a replica lacks it (A1)."""
    serves = signal is not None and TABLE.get((phase, signal)) in STAYS
    return serves and phase in LIVE and obstacle is not None and obstacle.version == candidate


def _stands(tx: Tx, row: rollouts.Rollout) -> bool:
    """Whether a rollout is where it was when ``row`` was read: a rollback may have ended it meanwhile."""
    now = rollouts.get(tx, row.id)
    return now is not None and now.active and now.phase == row.phase


def _facts(evidence: Observed | None) -> dict[str, Any]:
    return {} if evidence is None else dict(numbers(evidence.processes))


def _person_promotes(policy: Policy) -> bool:
    return policy.mode in ("propose", "canary")


def _same(routing: Routing, control: str | None, split: Split | None) -> bool:
    route = routing.route
    if route is None or route.control != control or (route.split is None) != (split is None):
        return False
    if route.split is None or split is None:
        return True
    return (route.split.rollout, route.split.candidate, route.split.share) == (
        split.rollout,
        split.candidate,
        split.share,
    )
