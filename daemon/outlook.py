"""What the recorded traffic and the gate let us expect of a rollout, for the forecast before it starts.

Traffic is taken as ``homeostat power`` takes it, so that the two do not contradict each other.
"""

from __future__ import annotations

from typing import Final

from daemon.live_evidence import InSlice, membership
from daemon.power_table import Assumed, assumed
from daemon.store import Read, Store, cycles, exchanges
from daemon.traffic_rates import WINDOW_S, recent_rates
from deploy.power import Outlook
from deploy.rollout_config import RolloutConfig
from monitors.gate import GateResult

MOST_SINCE: Final = 1000
"""Newest exchanges that tell how many sessions lie in the slice, of those since the cycle began: before, users did not
ask like this."""
_PRIOR_EFFECT: Final = 0.05
"""Gain to expect in the slice when the gate has no estimate: small enough to ask for enough traffic."""


def outlook(
    store: Store, deployment: str, cycle: cycles.Cycle, result: GateResult, now: float, config: RolloutConfig
) -> Outlook:
    """Rates from recorded traffic, effects from the gate's estimates (shrunk by nothing: a forecast, not a verdict).

    Without any traffic there is no feedback, and nothing is in reach.
    """
    with store.read() as read:
        seen = recent_rates(read, deployment, now, config.maturity_s, config.deadline_s)
        share = _slice_share(read, deployment, membership(cycle.data.get("slice")), cycle.started_at, now)
    estimates = {c.name: c.estimate for c in result.checks}
    basis = assumed(None, None, share, seen) or Assumed(0.0, 0.0, slice_share=share)
    return basis.outlook(estimates.get("new") or _PRIOR_EFFECT, min(estimates.get("old") or 0.0, 0.0))


def _slice_share(read: Read, deployment: str, inside: InSlice, since_s: float, now: float) -> float:
    """Share of the sessions whose first prompt lies in the slice; 0 without any."""
    newest = exchanges.since(read, deployment, max(since_s, now - WINDOW_S), now, MOST_SINCE)
    newest = newest or exchanges.since(read, deployment, now - WINDOW_S, now, MOST_SINCE)
    sessions = {x.session: inside(x.prompt) for x in reversed(newest)}
    return sum(sessions.values()) / len(sessions) if sessions else 0.0
