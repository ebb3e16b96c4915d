"""Doubt: a reply that nobody judged is not taken for right where the traffic around it is known to have changed.

The slice model that raised the alarm misses some of the new traffic, and the champion's replies there are wrong.
Replayed they would be taught, expected in a hold-out they would count against every candidate that knows better.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from adapters.examples import Example
from adapters.similarity import nearest, numbered, vectors
from adapters.stages.stage import Context, Dropped, Kept, Outcome, Reason

NEIGHBOURS = 10


class Doubt:
    """Drops unconfirmed replies among whose nearest exchanges of other identities too many are suspect."""

    name = "doubt"

    def __init__(self, traffic: Sequence[Example], suspects: Collection[str]) -> None:
        """`traffic` is all that is compared with; `suspects` are exchange ids in the slice or soundly corrected."""
        self._traffic = traffic
        self._suspects = suspects

    def apply(self, claims: Sequence[Example], context: Context) -> list[Outcome]:
        """See Stage."""
        asked = [i for i, c in enumerate(claims) if not c.confirmed]
        if not asked or not self._suspects:
            return [Kept(c) for c in claims]
        size = len(self._traffic)
        rows = vectors([t.prompt for t in self._traffic] + [claims[i].prompt for i in asked])
        who = numbered([t.identity for t in self._traffic] + [claims[i].identity for i in asked])
        found = nearest(rows.part(size, len(rows)), rows.part(0, size), NEIGHBOURS, who[size:], who[:size])
        suspect = np.asarray([t.exchange_id in self._suspects for t in self._traffic] + [False])
        share = suspect[found.index].sum(axis=1) / np.maximum(1, (found.index >= 0).sum(axis=1))
        outcomes: list[Outcome] = [Kept(c) for c in claims]
        for i, doubt in zip(asked, share.tolist(), strict=True):
            if doubt >= context.policy.doubt_share:
                outcomes[i] = Dropped(claims[i], Reason.DOUBTFUL)
        return outcomes
