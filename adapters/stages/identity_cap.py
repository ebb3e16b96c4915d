"""Identity cap: however much one identity says, it teaches only so much."""

from __future__ import annotations

import math
from collections.abc import Sequence

from adapters.examples import Example
from adapters.policy import SelectionPolicy
from adapters.stages.stage import Context, Outcome, Reason, keep_first, newest_first


def cap_for(policy: SelectionPolicy, claims: int) -> int:
    """Claims that one identity may have among so many: the smaller of share and cap, at least the floor."""
    return max(policy.identity_floor, min(policy.identity_cap, math.ceil(policy.identity_share * claims)))


class IdentityCap:
    """Keeps the newest claims of each identity, up to the cap."""

    name = "identity_cap"

    def __init__(self, cap: int | None = None) -> None:
        """`cap` replaces the policy's: hold-outs have their own."""
        self._cap = cap

    def apply(self, claims: Sequence[Example], context: Context) -> list[Outcome]:
        """See Stage."""
        # The share is of what all identities can bring in, or a flood would raise its own cap.
        people = len({c.identity for c in claims})
        cap = self._cap or cap_for(context.policy, min(len(claims), people * context.policy.identity_cap))
        return keep_first(claims, newest_first(claims), [c.identity for c in claims], cap, Reason.IDENTITY_CAP)
