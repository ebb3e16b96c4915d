"""A rollout as the daemon leaves it in the store: exchanges, feedback, units, events and the ledger's moves.

Made with the parts that decide (``deploy.evidence``, ``deploy.verdict``), so that its numbers are those of a real one.
"""

from __future__ import annotations

import random
from typing import Any

from daemon import ledger
from daemon.live_evidence import mature, store_tick
from daemon.store import Store, exchanges, feedback, rollouts, sessions, versions
from deploy.evidence import Evidence
from deploy.guards import Bounds
from deploy.rollout import BEGINS, FINAL, LIVE, Phase, RolloutConfig, Signal, move
from deploy.verdict import judge, numbers
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said

CONTROL, CANDIDATE = "support-000000000000", "support-bbbbbbbbbbbb"
CONFIG = RolloutConfig(
    maturity_s=10.0, lateness_s=1.0, lease_s=5.0, deadline_s=5000.0, probation_units=40, probation_s=4000.0
)
SHARES = {
    Phase.CANARY_SMALL: CONFIG.share_small,
    Phase.CANARY_HALF: CONFIG.share_half,
    Phase.PROBATION: CONFIG.share_probation,
    Phase.SECOND_PROBATION: CONFIG.share_second_probation,
}
STEP_S = 0.4


def record_rollout(
    store: Store,
    good: float,
    bad: float,
    *,
    name: str = "r1",
    units: int = 600,
    start: float = 2000.0,
    config: RolloutConfig = CONFIG,
    begins: Phase = Phase.CANARY_SMALL,
) -> float:
    """Sessions of one exchange each, up-voted with chance ``good`` in the canary and ``bad`` in the control, until a
    verdict or ``units`` sessions; the time afterwards.
    """
    rng = random.Random(5)
    evidence = Evidence(name, config, Bounds(), lambda _text: True)
    phase, changed_at, since, now = begins, start, 0, start
    _open(store, name, config, start, begins)
    for number in range(units):
        now += STEP_S
        share = SHARES[phase]
        canary = rng.random() < share
        x = exchange(
            0,
            exchange_id=f"{name}-x{number}",
            session=f"{name}-s{number}",
            identity=f"{name}-u{number}",
            rollout=name,
            arm="canary" if canary else "control",
            propensity=share,
            version=CANDIDATE if canary else CONTROL,
            received_at=now,
            dispatched_at=now,
            completed_at=now + 0.1,
        )
        up = rng.random() < (good if canary else bad)
        f = said(0, x.exchange_id, feedback_id=f"{name}-f{number}", value=up, sent_at=now + 0.2)
        with store.begin() as tx:
            exchanges.insert_new(tx, [x])
            feedback.insert_new(tx, [f])
            sessions.insert_new(tx, [sessions.Session("support", x.session, now, x.exchange_id)])
            ticks = [evidence.observe_exchange(x, True), evidence.observe_reward(x, float(up), f.sent_at)]
            store_tick(tx, name, [*ticks, mature(tx, evidence, now)])
            found = judge(
                phase,
                evidence.processes,
                evidence.kill,
                config,
                evidence.processes.assigned - since,
                now - changed_at,
            )
            if found.signal is None:
                continue
            before, phase = phase, move(phase, found.signal)
            changed_at, since = now, evidence.processes.assigned
            _move(tx, name, before, phase, found.signal, found.reason, numbers(evidence.processes), now)
        if phase not in LIVE:
            break
    return now


def _open(store: Store, name: str, config: RolloutConfig, start: float, begins: Phase) -> None:
    data: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "slice": None,
        "units_at_phase": 0,
        "waiting": "too_few_units",
        "opened_for": next((reason for reason, phase in BEGINS.items() if phase is begins), "gate_passed"),
    }
    row = rollouts.Rollout(
        name,
        "support",
        CANDIDATE,
        CONTROL,
        "manual",
        begins.value,
        True,
        "effect_proved_everywhere",
        data,
        start,
        start,
        start + config.deadline_s,
    )
    with store.begin() as tx:
        versions.register(
            tx,
            versions.Version(
                CANDIDATE, "support", "default", "lora", "d", "b", None, "gated", None, "m", None, start - 10.0
            ),
        )
        rollouts.create(tx, row)
        entry = {"to_phase": begins.value, "signal": "proved", "candidate": CANDIDATE, "control": CONTROL}
        reason = "effect_proved_everywhere"
        ledger.append(tx, "support", "rollout", name, reason, actor="daemon", at=start, data=entry)


def _move(
    tx: Any, name: str, before: Phase, after: Phase, signal: Signal, reason: str, seen: dict[str, float], now: float
) -> None:
    row = rollouts.get(tx, name)
    assert row is not None
    data = {**row.data, "waiting": ""}
    rollouts.update_phase(tx, name, phase=after.value, reason=reason, at=now, data=data, ended=after in FINAL)
    entry = {
        "from_phase": before.value,
        "to_phase": after.value,
        "signal": signal.value,
        "candidate": CANDIDATE,
        **{k: v for k, v in seen.items() if v == v},
    }
    ledger.append(tx, "support", "rollout", name, reason, actor="daemon", at=now, data=entry)
    if after is Phase.PROMOTED:
        versions.promote(tx, CANDIDATE, now)
