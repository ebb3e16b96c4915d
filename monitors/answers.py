"""Why rewards fall: new questions that were never answered well, or known questions whose right answer changed.

The rewards since the fall began are split by whether their prompt is like the reference (``Nearest``). The lack against
the usual level is the sum over both parts, as in the decomposition of a difference of means by Kitagawa ("Components of
a difference between two rates", JASA 1955): when known prompts carry at least half of it, the answers changed.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, Literal

from monitors.grams import words

Cause = Literal["new_inputs", "changed_answers", "unknown"]

KEPT = 120
"""Newest rewards that are kept: a fall that takes longer to tell is judged by these."""
FAMILIAR = 0.9
"""Novelty rank up to which a prompt is like the reference: nine in ten of the reference are."""
_TEXT = 96
"""Characters of a prompt that are kept for the words."""
_LEAST = 8
"""Rewards after the change that a cause needs."""


@dataclass(frozen=True, slots=True)
class Rated:
    """What is kept of a reward."""

    reward: float
    novelty: float | None
    """Rank among the reference; None where there is none yet."""
    corrected: bool
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The newest fall, explained."""

    cause: Cause
    since: int
    """Rewards since it began."""
    familiar_share: float
    """Share of the lack that prompts like the reference carry."""
    corrected_share: float
    words: tuple[str, ...]
    """Words of badly rated prompts, against the well rated ones."""


class Answers:
    """The newest rewards with their prompts; ``explain`` looks at them when a detector has told."""

    def __init__(self) -> None:
        self._newest: deque[Rated] = deque(maxlen=KEPT)

    def append(self, reward: float, novelty: float | None, corrected: bool, text: str) -> None:
        """One counted reward."""
        self._newest.append(Rated(reward, novelty, corrected, text[:_TEXT]))

    def explain(self, usual: float) -> Finding:
        """Cause of a fall below ``usual``, the mean reward of the reference period."""
        newest = list(self._newest)
        after = newest[_change(newest, usual) :]
        known = [usual - r.reward for r in after if r.novelty is not None and r.novelty <= FAMILIAR]
        strange = [usual - r.reward for r in after if r.novelty is not None and r.novelty > FAMILIAR]
        lack = math.fsum(known) + math.fsum(strange)
        share = min(max(math.fsum(known) / lack, 0.0), 1.0) if lack > 0.0 else 0.0
        cause: Cause = "unknown"
        if len(known) + len(strange) >= _LEAST and lack > 0.0:
            cause = "changed_answers" if share >= 0.5 else "new_inputs"
        corrected = sum(r.corrected for r in after) / max(len(after), 1)
        return Finding(cause, len(after), share, corrected, _moved(after, usual))

    def dump(self) -> list[list[Any]]:
        """JSON-able state."""
        return [[r.reward, r.novelty, r.corrected, r.text] for r in self._newest]

    @classmethod
    def load(cls, stored: list[list[Any]]) -> Answers:
        """Inverse of ``dump``."""
        answers = cls()
        answers._newest.extend(Rated(*row) for row in stored)
        return answers


def _change(newest: list[Rated], usual: float) -> int:
    """Where the fall began: the split after which the lack is least likely by chance, (sum of lack)^2 / events."""
    best, at, lack = -math.inf, 0, 0.0
    for back in range(1, len(newest) + 1):
        lack += usual - newest[-back].reward
        value = lack * abs(lack) / back
        if value > best and back >= min(_LEAST, len(newest)):
            best, at = value, len(newest) - back
    return at


def _moved(after: list[Rated], usual: float, count: int = 8) -> tuple[str, ...]:
    """Words with the largest log-odds of bad against good, by smoothed counts of prompts."""
    bad, good = Counter[str](), Counter[str]()
    for one in after:
        (bad if one.reward < usual else good).update(set(words(one.text)))
    n_bad = sum(one.reward < usual for one in after)
    n_good = len(after) - n_bad

    def odds(word: str) -> float:
        much, less = (bad[word] + 0.5) / (n_bad + 1.0), (good[word] + 0.5) / (n_good + 1.0)
        return math.sqrt(bad[word]) * math.log(much / less)

    told = [word for word in bad if bad[word] >= 2 and odds(word) > 0.0]
    return tuple(sorted(told, key=lambda word: (-odds(word), word))[:count])
