"""The shadow of a rollout: recorded requests whose right answer users have told, sent again to the candidate. Pure.

What is scored. A *target* is a text that trusted feedback argues for: the correction of a wrong reply, or the reply
itself where a user confirmed it. A reply is right when it equals the target (``monitors.reward.same_reply``). Only
exchanges that have a target are mirrored: a mirrored request without one would never be scored, and nothing of the
candidate's reply has to be kept until somebody speaks. Per exchange d = right(candidate) - right(champion's reply).

Why single scores mean nothing. A target exists because of the champion's reply. On a confirmed exchange the champion
is right by selection, so d <= 0; on a corrected one it is wrong by selection, so d >= 0. Let q be the chance that the
champion is right, c and k how often people confirm a right and correct a wrong reply, b the chance that the candidate
loses a reply that was right, f that it mends one that was wrong. The mean of d over all of them is
(k(1-q)f - cqb) / (cq + k(1-q)). Where both are equally good, qb = (1-q)f = m, that is proportional to m(k - c): people
who praise more readily than they correct (c > k, nearly everybody) make every candidate look harmful. Asking the
champion again does not help: where it is greedy it says the same, and the selection stays.

What is sound. A *block* is one confirmed and one corrected exchange, and its value is

    x = lost - mended  in {-1, 0, 1},      E[x] = b - f

in which c and k do not occur. Under H0 "the candidate is right at least as often as the champion", qb <= (1-q)f, so

    E[x] <= f(1-q)/q - f = f(1-2q)/q <= 0      whenever q >= 1/2,

whatever the two share (independent, nested, deterministic or not): the null is conservative by f(2q-1)/q a block. So
wealth prod(1 + stake * x) is a test supermartingale. Blocks of value 0 leave it as it is and the others are draws of
"which side has the next event", so it is ``monitors.owner`` with propensity 1/2 and ratio 1 (a sequential sign test).

What it assumes. (1) The champion is right at least half of the time on what people judge: blocks are made only while
its mean reward there is at least 1/2, which is decided by feedback on the champion's own replies, never by the
candidate's. (2) Among the champion's right replies those that get confirmed, and among its wrong ones those that get
corrected, are no harder for the candidate than the others; corrections that are wrong themselves do no harm while they
are at most a share (2q-1)/q of all (three quarters at q = .8). (3) Right means one wording. A candidate that says the
same in other words loses confirmed replies and mends nothing; the gate's comparison has the same limit. What the
candidate's training and gate were selected from is left out; an identity has ``identity_cap`` scores; a request is
drawn as the champion's was, or greedy where that is not recorded, which can only flatter the candidate.

What it may do. It never leads forward. Before traffic it may end a rollout as ``shadow_harm``; that test has a share of
its own of alpha (``SHADOW_SHARE``), which the harm evidence on live traffic gives up while a shadow is on: by the union
bound both together err with probability alpha at most, whatever their dependence. Once users meet the candidate it is
information with a confidence sequence (of f - b a block) beside the verdict. One score an exchange, nothing is revised.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from deploy.rollout import Signal
from deploy.rollout_config import RolloutConfig
from monitors import owner
from monitors.mean_interval import mean_interval

LEAST_REWARD: Final = 0.5
"""Mean reward of the champion on the judged exchanges from which blocks are made: assumption (1)."""
REASONS: Final = frozenset({"shadow_harm", "shadow_waits_for_scores"})
"""Every reason that ``before_traffic`` can give; docs/decisions.md says what each means."""
_EVEN: Final = owner.OwnerSpec(1.0)


@dataclass(frozen=True, slots=True)
class Judged:
    """An exchange of the champion whose target is known."""

    exchange_id: str
    identity: str
    corrected: bool
    """False: the reply was confirmed."""
    at: float
    """When it arrived, wall-clock seconds."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a candidate made of one judged exchange; two of one block belong together."""

    block: int
    exchange_id: str
    identity: str
    corrected: bool
    right: bool
    """Whether the candidate's reply equals the target."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """What all blocks say; plain numbers, so JSON and back is the same bit for bit."""

    blocks: int = 0
    lost: int = 0
    """Confirmed replies that the candidate does not give."""
    mended: int = 0
    """Corrected replies that the candidate gives as they were corrected."""
    harm: owner.OwnerState = field(default_factory=owner.OwnerState)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "harm": self.harm.to_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Shadow:
        """Inverse of ``to_dict``. Raises ValueError for a state of another release."""
        return cls(
            int(stored["blocks"]),
            int(stored["lost"]),
            int(stored["mended"]),
            owner.OwnerState.from_dict(dict(stored["harm"])),
        )


def apply(state: Shadow, lost: bool, mended: bool) -> Shadow:
    """State after one more block."""
    harm = state.harm if lost == mended else owner.update(state.harm, _EVEN, lost, 0.5)
    return replace(state, blocks=state.blocks + 1, lost=state.lost + lost, mended=state.mended + mended, harm=harm)


def blocks_of(scores: Iterable[Score]) -> list[tuple[bool, bool]]:
    """(lost, mended) of every whole block, in order; of two scores on one exchange the first counts."""
    seen, parts = set[str](), dict[int, dict[bool, Score]]()
    for score in scores:
        if score.exchange_id not in seen:
            seen.add(score.exchange_id)
            parts.setdefault(score.block, {}).setdefault(score.corrected, score)
    whole = [parts[n] for n in sorted(parts) if len(parts[n]) == 2]
    return [(not both[False].right, both[True].right) for both in whole]


def fold(scores: Iterable[Score]) -> Shadow:
    """The state that recorded scores give."""
    state = Shadow()
    for lost, mended in blocks_of(scores):
        state = apply(state, lost, mended)
    return state


def interval(scores: Iterable[Score], alpha: float) -> tuple[float, float]:
    """Confidence sequence of f - b, the share of corrected replies mended minus that of confirmed ones lost."""
    return mean_interval([float(mended) - float(lost) for lost, mended in blocks_of(scores)], alpha)


def numbers(state: Shadow) -> dict[str, float]:
    """What the ledger records beside a verdict."""
    return {
        "shadow_e": math.exp(min(owner.log_e(state.harm), 700.0)),
        "shadow_blocks": float(state.blocks),
        "shadow_lost": float(state.lost),
        "shadow_mended": float(state.mended),
    }


def before_traffic(
    state: Shadow, config: RolloutConfig, waited_s: float, *, may_wait: bool
) -> tuple[Signal | None, str] | None:
    """Harm, or a wait for more scores (``may_wait`` allows it); None: the shadow holds nothing up."""
    if numbers(state)["shadow_e"] >= config.shadow_threshold:
        return Signal.HARM, "shadow_harm"
    if may_wait and 2 * state.blocks < config.shadow.enough and waited_s < config.shadow.wait_s:
        return None, "shadow_waits_for_scores"
    return None


def plan(
    rollout: str,
    judged: Iterable[Judged],
    mean_reward: float,
    scores: Sequence[Score],
    recent: int,
    config: RolloutConfig,
) -> list[tuple[Judged, Judged]]:
    """Blocks (confirmed, corrected) that are due, in order of arrival.

    ``mean_reward``: the champion's over all its judged and rated exchanges; below ``LEAST_REWARD``, or NaN, none is
    due. ``recent``: requests mirrored in the last minute.
    """
    if not mean_reward >= LEAST_REWARD:
        return []
    shadow, done = config.shadow, {score.exchange_id for score in scores}
    counted = Counter(score.identity for score in scores)
    room = min(shadow.max_per_minute - recent, shadow.max_total - len(scores)) // 2
    drawn = [one for one in judged if one.exchange_id not in done and _drawn(rollout, one) < shadow.share]
    sides: dict[bool, list[Judged]] = {False: [], True: []}
    for one in sorted(drawn, key=lambda j: (j.at, j.exchange_id)):
        sides[one.corrected].append(one)
    found: list[tuple[Judged, Judged]] = []
    confirmed, corrected = iter(sides[False]), iter(sides[True])
    while len(found) < room:
        left = _next(confirmed, counted, config.identity_cap)
        right = _next(corrected, counted, config.identity_cap)
        if left is None or right is None:
            break
        found.append((left, right))
    return found


def _next(side: Iterable[Judged], counted: Counter[str], cap: int) -> Judged | None:
    for one in side:
        if counted[one.identity] < cap:
            counted[one.identity] += 1
            return one
    return None


def _drawn(rollout: str, one: Judged) -> float:
    """A number in [0, 1) of the exchange and the rollout alone: the same sample after every restart."""
    digest = hashlib.sha256(f"{rollout}\0{one.exchange_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64
