"""Agreement: a claim is believed when others, asked almost the same, claim the same.

For each claim the nearest claims of *other* identities vote with their cosine. The claim stays when enough of them say
the same and their weight is at least a share of the strongest other answer's. Against 10 % careless errors and one user
who sends a third of all feedback this leaves about one wrong claim in a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapters.examples import Example, normalise
from adapters.similarity import nearest, numbered, vectors
from adapters.stages.stage import Context, Dropped, Kept, Outcome, Reason


class Agreement:
    """Drops claims that nobody else shares, or that most others contradict."""

    name = "agreement"

    def apply(self, claims: Sequence[Example], context: Context) -> list[Outcome]:
        """See Stage."""
        if not claims:
            return []
        policy = context.policy
        says = [normalise(c.target or "") for c in claims]
        who = numbered([c.identity for c in claims])
        rows = vectors([c.prompt for c in claims])
        found = nearest(rows, rows, policy.agreement_neighbours, who, who)
        outcomes: list[Outcome] = []
        for i, claim in enumerate(claims):
            votes: dict[str, dict[str, float]] = {}
            for j, cosine in found.of(i):
                # One identity, one vote for an answer, by its closest claim.
                votes.setdefault(says[j], {}).setdefault(claims[j].identity, cosine)
            agreed = self._agreed(says[i], votes, policy.agreement_support, policy.agreement_ratio)
            outcomes.append(Kept(claim) if agreed else Dropped(claim, Reason.NO_AGREEMENT))
        return outcomes

    def _agreed(self, said: str, votes: dict[str, dict[str, float]], support: int, ratio: float) -> bool:
        mine = votes.get(said, {})
        strongest = max((sum(v.values()) for s, v in votes.items() if s != said), default=0.0)
        return len(mine) >= support and sum(mine.values()) >= ratio * strongest
