"""Identity age: someone who has just appeared is heard, but not yet believed."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.examples import Example
from adapters.stages.stage import Context, Dropped, Kept, Outcome, Reason


class IdentityAge:
    """Drops claims of identities with fewer exchanges than the policy's age."""

    name = "identity_age"

    def apply(self, claims: Sequence[Example], context: Context) -> list[Outcome]:
        """See Stage."""
        known, age = context.identity_exchanges, context.policy.identity_age
        return [Kept(c) if known.get(c.identity, 0) >= age else Dropped(c, Reason.NEW_IDENTITY) for c in claims]
