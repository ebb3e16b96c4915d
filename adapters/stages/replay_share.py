"""Replay share: how much recorded traffic stands beside the new examples, confirmed replies first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from adapters.examples import Example
from adapters.policy import SelectionPolicy
from adapters.stages.stage import Context, Outcome, Reason, keep_first, lot


def replay_size(policy: SelectionPolicy, new: int) -> int:
    """Replayed exchanges wanted beside so many new examples."""
    return min(policy.replay_max, max(policy.replay_min, math.ceil(policy.replay_per_new * new)))


class ReplayShare:
    """Keeps confirmed replies first, then others by lot, up to the share."""

    name = "replay_share"

    def __init__(self, new: int) -> None:
        """`new` is the number of new examples."""
        self._new = new

    def apply(self, claims: Sequence[Example], context: Context) -> list[Outcome]:
        """See Stage."""
        order = sorted(
            range(len(claims)),
            key=lambda i: (not claims[i].confirmed, lot(context.seed, self.name, claims[i].exchange_id)),
        )
        size = replay_size(context.policy, self._new)
        return keep_first(claims, order, [0] * len(claims), size, Reason.REPLAY_FULL)
