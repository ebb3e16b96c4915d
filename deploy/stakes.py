"""What the evidence of a rollout is bet with, frozen into its row when users meet it.

A restart folds the recorded units anew. By a release that bets with other numbers the same units give other evidence,
a second chance at the same level; so the two are compared, part by part, and the difference ends the rollout.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from deploy.guards import GUARDS, REWARD_WEIGHT
from deploy.processes import FEEDBACK
from monitors import bets, owner, ratio

STAKES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "reward": bets.PRIOR,
        "reward_bets": (
            f"{bets.CAUTION} {bets.RENEWAL_UNITS}:{bets.RENEWAL_SHARE} "
            f"{bets.PRIOR_UNITS} {bets.VARIANCE_MIN}:{bets.VARIANCE_MAX}"
        ),
        "events": " ".join(f"{r}:{w}" for r, w in zip(owner.EXCESS, owner.EXCESS_WEIGHTS, strict=True)),
        "assignment": " ".join(f"{factor:.6g}" for factor in ratio.ODDS_FACTORS),
        "feedback": str(FEEDBACK.ratio),
        "harm": " ".join(
            [f"reward:{REWARD_WEIGHT}"]
            + [f"{g.name}:{g.weight}:{g.ratio}{':spares_slice' * g.spares_slice}" for g in GUARDS.values()]
        ),
    }
)
"""This release's, by part: stakes and rules of the bets on rewards, rate ratios of events, odds of the assignment, the
tolerated ratio of feedback, weights and tolerated ratios of the harm evidence."""


def changed(frozen: object) -> tuple[str, ...]:
    """Parts in which what a rollout was bet with differs from ``STAKES``.

    ``frozen`` is what its row holds: a mapping of parts; a string, where the stakes on rewards alone were frozen and
    nothing is known of the others; None: nothing, as in rows whose writer had only ever known the present ones.
    """
    if frozen is None or frozen == STAKES:
        return ()
    if isinstance(frozen, Mapping):
        known = cast("Mapping[str, Any]", frozen)
    else:
        known = {"reward": frozen}
    return tuple(part for part in sorted({*STAKES, *known}) if STAKES.get(part) != known.get(part))
