"""What the recorded traffic and the gate let us expect of a rollout, for the forecast before it starts."""

from __future__ import annotations

from typing import Final

from daemon.live_evidence import membership
from daemon.store import Store, cycles, exchanges, feedback
from deploy.power import Outlook
from monitors.gate import GateResult

WINDOW_S: Final = 600.0
"""Seconds of traffic that the rates are taken from."""
MOST: Final = 5000
_PRIOR_EFFECT: Final = 0.05
"""Gain to expect in the slice when the gate has no estimate: small enough to ask for enough traffic."""


def outlook(store: Store, deployment: str, cycle: cycles.Cycle, result: GateResult, now: float) -> Outlook:
    """Rates from the newest traffic, effects from the gate's estimates (shrunk by nothing: a forecast, not a
    verdict).
    """
    inside = membership(cycle.data.get("slice"))
    with store.read() as read:
        recent = exchanges.since(read, deployment, now - WINDOW_S, now, MOST)
        rated = feedback.for_exchanges(read, [x.exchange_id for x in recent])
    sessions = {x.session: inside(x.prompt) for x in reversed(recent)}
    labelled = {x.session for x in recent if x.exchange_id in rated}
    span = max(recent[-1].received_at - recent[0].received_at, 1.0) if len(recent) > 1 else WINDOW_S
    share = sum(sessions.values()) / len(sessions) if sessions else 0.0
    estimates = {c.name: c.estimate for c in result.checks}
    gain = estimates.get("new") or _PRIOR_EFFECT
    loss = min(estimates.get("old") or 0.0, 0.0)
    return Outlook(
        gain_overall=gain * share + loss * (1.0 - share),
        gain_in_slice=gain,
        slice_share=share,
        reward_variance=0.25,
        units_per_s=len(labelled) / span,
    )
