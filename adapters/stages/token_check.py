"""Token check: a claim counts by how its feedback proved that it belongs to the exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adapters.examples import Example
from adapters.stages.stage import Context, Dropped, Kept, Outcome, Reason
from streams.events import Trust


class TokenCheck:
    """Sets the training weight by the trust class and drops what weighs nothing."""

    name = "token_check"

    def apply(self, claims: Sequence[Example], context: Context) -> list[Outcome]:
        """See Stage."""
        policy = context.policy
        weights = {
            Trust.TOKEN: policy.token_weight,
            Trust.PRODUCER: policy.producer_weight,
            Trust.BARE: policy.bare_weight,
        }
        return [self._judge(c, weights[c.trust] if c.trust is not None else 0.0) for c in claims]

    def _judge(self, claim: Example, weight: float) -> Outcome:
        return Kept(replace(claim, weight=weight)) if weight > 0.0 else Dropped(claim, Reason.NO_TRUST)
