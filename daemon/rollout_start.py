"""From a version that passed the gate to a rollout row, with everything its verdict will depend on frozen into it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from daemon import ledger
from daemon.config import Config
from daemon.faults import Refused
from daemon.promotion_budget import next_config
from daemon.second_probation import suspect
from daemon.standing import standing
from daemon.store import Tx, buffers, cycles, denials, exchanges, rollouts, suspended, versions
from daemon.version_rows import adapter_of
from deploy.corruption import corrupted
from deploy.fleet import Before
from deploy.guards import Bounds
from deploy.rollout import BEGINS
from deploy.routes import Route
from deploy.stakes import STAKES
from deploy.unit_events import Path
from monitors.guardrails import failed, happened, seconds_per_token, tau_from

LEAST_FOR_BOUNDS: Final = 2000
"""Requests from which the control's 95th percentiles are taken; with fewer nothing counts as slow or overlong: an
exceedance of a guess would be noise.
"""


class RolloutStart:
    """Opens rollouts."""

    def __init__(
        self, config: Config, identity: str | None, route: Callable[[], Route | None], clock: Callable[[], float]
    ) -> None:
        self._config, self._identity, self._route, self._clock = config, identity, route, clock

    def start(self, tx: Tx, cycle: cycles.Cycle, version: str) -> str:
        """The id of the new rollout. Raises Refused for a denied version, or one that learned from suspended
        examples.
        """
        name = self._config.deployment.name
        row = versions.get(tx, version)
        if row is None or denials.is_denied(tx, version) or denials.is_denied(tx, adapter_of(tx, version)):
            raise Refused("denied_version", f"{version} is on the deny list: it is never routed without an approval")
        if row.buffer is not None:
            learned = {item.exchange_id for item in buffers.items(tx, row.buffer, "new")}
            if learned & suspended.all_ids(tx):
                raise Refused("suspended_examples", f"{version} learned from examples that a rollback suspended")
        # By the route, and within the transaction: a rollback whose rows are still to come has left the champion.
        control = standing(tx, name, self._identity, self._route()).champion or self._identity
        data = {"slice": cycle.data.get("slice"), "cycle": cycle.id}
        return self._open(tx, "gate_passed", version, control, cycle.cause, data, self._config.rollout.deadline_s)

    def second(self, tx: Tx, cycle: str, cause: str) -> str:
        """The id of a second probation: the champion against the version before it. Raises Refused where what was
        promoted last does not serve any more.

        Its slice is the one that the champion was trained for: there it is meant to answer differently.
        """
        name, config = self._config.deployment.name, self._config.rollout
        promotion = suspect(tx, name)
        serves = standing(tx, name, self._identity, self._route())
        if promotion is None or serves.champion != promotion.candidate or serves.previous is None:
            raise Refused("nothing_to_compare", "what was promoted last does not serve any more")
        data = {"slice": promotion.data.get("slice"), "cycle": cycle, "promotion": promotion.id}
        reason = "second_probation_proposed" if self._config.mode == "propose" else "second_probation"
        lasts = config.second_deadline_s
        return self._open(tx, reason, promotion.candidate, serves.previous, cause, data, lasts)

    def _open(
        self, tx: Tx, reason: str, version: str, control: str | None, cause: str, about: Mapping[str, Any], lasts: float
    ) -> str:
        now, name = self._clock(), self._config.deployment.name
        phase, rollout = BEGINS[reason].value, f"rollout-{uuid.uuid4().hex[:10]}"
        data = {
            "config": next_config(tx, name, self._config.rollout, now).model_dump(mode="json"),
            **self._before(tx, now),
            **about,
            "opened_for": reason,
            "units_at_phase": 0,
            "stakes": dict(STAKES),
        }
        rollouts.create(
            tx,
            rollouts.Rollout(
                id=rollout,
                deployment=name,
                candidate=version,
                control=control,
                cause=cause,
                phase=phase,
                active=True,
                reason=reason,
                data=data,
                started_at=now,
                changed_at=now,
                deadline=now + lasts,
            ),
        )
        entry = {"to_phase": phase, "candidate": version, "control": control, "cycle": about["cycle"]}
        ledger.append(tx, name, "rollout", rollout, reason, actor="daemon", at=now, data=entry)
        return rollout

    def _before(self, tx: Tx, now: float) -> dict[str, Any]:
        """What the guardrails and the kill switch hold the canary against: the control's newest requests."""
        config = self._config.rollout
        recent = exchanges.since(tx, self._config.deployment.name, 0.0, now, 2 * LEAST_FOR_BOUNDS)
        good = [x for x in recent if x.status < 400]
        first = [x.first_token_s for x in good if x.first_token_s is not None]
        paces = [pace for x in good if (pace := seconds_per_token(x)) is not None]
        tokens = [float(x.completion_tokens) for x in good if x.completion_tokens is not None]
        bounds = Bounds(
            config.first_token_slo_s or tau_from(first, LEAST_FOR_BOUNDS),
            config.token_slo_s or tau_from(paces, LEAST_FOR_BOUNDS),
            Bounds.rambling(tau_from(tokens, LEAST_FOR_BOUNDS)),
        )
        specs = bounds.specs()
        slow = [specs[path] for path in (Path.FIRST_TOKEN, Path.PACE) if path in specs]
        before = Before(
            len(recent),
            sum(failed(x) for x in recent),
            sum(any(happened(s, x) for s in slow) for x in recent),
            sum(map(corrupted, recent)),
        )
        return {"bounds": bounds.to_dict(), "before": before.to_dict()}
