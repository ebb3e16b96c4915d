"""The shadow of a rollout in words: its blocks, its e-value, its interval."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.explain.explanation import Measure, compare
from deploy.rollout import LIVE, SHADOWED, Phase
from deploy.rollout_config import RolloutConfig
from deploy.shadow import Score, fold, interval, numbers

ENDS = "the candidate loses more of what users confirmed than it mends of what they corrected; ends it before traffic"
INFORMS = "the same test, which informs only: users meet the candidate, and its own rewards decide"


def shadow_measure(scores: Sequence[Score], phase: Phase, config: RolloutConfig) -> tuple[Measure, ...]:
    """The shadow's e-value against its threshold; nothing where there is no shadow."""
    if not config.shadow.on:
        return ()
    said = INFORMS if phase in LIVE else ENDS
    return (compare("shadow", numbers(fold(scores))["shadow_e"], ">=", config.shadow_threshold, said),)


def shadow_note(scores: Sequence[Score], phase: Phase, config: RolloutConfig) -> tuple[str, ...]:
    """One sentence or two; nothing where there is no shadow."""
    if not config.shadow.on:
        return ()
    seen = fold(scores)
    if not seen.blocks:
        waits = phase in SHADOWED or phase in LIVE
        return ("Shadow: no mirrored reply is scored" + (" yet." if waits else "."),)
    low, high = interval(scores, config.alpha)
    return (
        f"Shadow: {seen.blocks} confirmed and {seen.blocks} corrected exchanges were sent to the candidate. It lost "
        f"{seen.lost} of the confirmed replies and mended {seen.mended} of the corrected ones: "
        f"{(seen.mended - seen.lost) / seen.blocks:+.2f} a block of both ({low:+.2f} to {high:+.2f} at "
        f"{100.0 * (1.0 - config.alpha):g} %).",
    )
