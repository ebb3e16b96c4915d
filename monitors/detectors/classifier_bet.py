"""Betting against exchangeability on two scores of a prompt: a classifier that learns the recent traffic, and novelty.

The classifier is naive Bayes on hashed n-grams, the last ``WINDOW`` prompts against the reference. Each new prompt is
scored before it is learned, and its score is ranked among the scores of the reference prompts (each scored with itself
left out of the reference counts). Without drift the rank is uniform whatever the classifier has learned; with new
topics their words recur, are learned, and the ranks pile up near one. It sees old topics that become common, too. The
second score is the distance to the nearest reference prompts: strange prompts are told without being learned first,
though they be few and all different. Wealth is bet on high ranks of either (``rank_bets``), and the mean is watched.

After Volkhonskiy et al., "Inductive conformal martingales for change-point detection", COPA 2017.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from monitors.detectors.blocks import Blocks, Order, level
from monitors.detectors.nearest import Grams, Nearest, ranked
from monitors.detectors.rank_bets import BETS, log_gains, log_mean, one_log_gains, one_log_mean
from monitors.features import BUCKETS, Array
from monitors.gram_rows import gram_rows
from monitors.grams import bucket, hashed_array, word_grams, words

WINDOW = 64
"""Recent prompts that the classifier learns from."""
REFRESH = 16
"""Events between two refreshes of the weights: they cost as much as eight events."""
KEPT = WINDOW + REFRESH
"""Newest prompts from which the state can be rebuilt exactly."""
_RANKED = 1_000
"""Newest prompts whose novelty is remembered: what is rated was asked a short while ago, and a rank costs a third of
all that an exchange costs."""
_SHRINK = 40.0
"""Prompts' worth of the reference mixed into the recent counts."""
_FLOOR = 0.002
"""Smallest frequency: how sure "never seen in the reference" can be."""
_STREAMS, _LENGTH = 256, 1500
"""Simulated streams and their length."""
_HOUR_STREAMS, _HOUR_LENGTH = 8, 300
"""The same of each hour where the reference spans several: the classifier itself is run, which costs more."""


class ClassifierBet:
    """The running e-CUSUM; ``update`` says whether log wealth lies above the threshold."""

    name = "classifier_bet"

    def __init__(self, reference: Sequence[str], sessions: Sequence[str], threshold: float = math.inf) -> None:
        """``threshold``: log wealth above which ``update`` tells; see ``calibrate``.

        Raises:
            ValueError: when fewer than two prompts of the reference have words.
        """
        pairs = [(hashed_array(text, BUCKETS), session) for text, session in zip(reference, sessions, strict=True)]
        pairs = [(found, session) for found, session in pairs if len(found)]
        if len(pairs) < 2:
            raise ValueError(f"expected at least 2 reference prompts with words, got {len(pairs)}")
        self.nearest = Nearest([found for found, _ in pairs], [session for _, session in pairs])
        counts = np.bincount(np.concatenate([found for found, _ in pairs]), minlength=BUCKETS).astype(np.float64)
        kept = [pairs[i][0] for i in self.nearest.positions]
        self._kept = kept
        self._rows = gram_rows(kept, BUCKETS)
        self._frequency = np.maximum(counts / len(pairs), _FLOOR)
        self._without = np.maximum((counts - 1.0) / (len(pairs) - 1), _FLOOR)
        self.threshold = threshold
        self._novelties: dict[str, float] = {}
        """No state: what is not there is counted again."""
        self.reset()

    def reset(self) -> None:
        """Forget the recent traffic and the wealth."""
        self._recent: deque[Grams] = deque()
        self._counts = np.zeros(BUCKETS)
        self._log_wealth = [0.0] * (2 * BETS)
        """Of the bets on the classifier's rank, then of those on the novelty's."""
        self._risen = [0] * (2 * BETS)
        self._events = 0
        self.statistic = 0.0
        self._refresh()

    def update(self, text: str) -> bool:
        """One prompt; a text without words is ignored."""
        found = hashed_array(text, BUCKETS)
        if not len(found):
            return False
        gains = one_log_gains(self._rank(found)) + one_log_gains(self._novelty(text, found))
        before = self._log_wealth
        self._risen = [1 if w <= 0.0 else n + 1 for w, n in zip(before, self._risen, strict=True)]
        self._log_wealth = [(w if w > 0.0 else 0.0) + gain for w, gain in zip(before, gains, strict=True)]
        self.statistic = one_log_mean(self._log_wealth)
        self._learn(found)
        return self.statistic > self.threshold

    @property
    def rising(self) -> int:
        """Events since the leading bet last had nothing: an estimate of how long the drift has lasted."""
        return self._risen[self._log_wealth.index(max(self._log_wealth))]

    def novelty_of(self, text: str) -> float | None:
        """Rank of a prompt's novelty among the reference, without betting; None for a text without words."""
        known = self._novelties.get(text)
        if known is not None:
            return known
        found = hashed_array(text, BUCKETS)
        return self._novelty(text, found) if len(found) else None

    def _novelty(self, text: str, found: Grams) -> float:
        """Kept, as the rank of a text is always the same."""
        rank = self._novelties[text] = self.nearest.rank(found)
        if len(self._novelties) > _RANKED:
            del self._novelties[next(iter(self._novelties))]
        return rank

    def learn(self, texts: Iterable[str]) -> None:
        """Learn prompts without betting on them."""
        for text in texts:
            found = hashed_array(text, BUCKETS)
            if len(found):
                self._learn(found)

    def _rank(self, found: Grams) -> float:
        """Rank of the prompt's score among the reference's, in [0, 1); ties count against an alarm."""
        return ranked(self._sorted, float(self._weights.take(found).sum()) / math.sqrt(len(found)))

    def _learn(self, found: Grams) -> None:
        self._recent.append(found)
        self._counts[found] += 1.0
        if len(self._recent) > WINDOW:
            self._counts[self._recent.popleft()] -= 1.0
        self._events += 1
        if self._events % REFRESH == 0:
            self._refresh()

    def _refresh(self) -> None:
        """Weights from the counts now, and the reference's scores under them."""
        met = np.flatnonzero(self._counts > 0.0)  # the others all have the weight of a gram that did not come
        unmet = math.log(_SHRINK / (len(self._recent) + _SHRINK))
        self._weights: Array = np.full(BUCKETS, unmet)
        self._weights[met] += np.log1p(self._counts[met] / (_SHRINK * self._frequency[met]))
        left_out = np.full(BUCKETS, unmet)
        left_out[met] += np.log1p(self._counts[met] / (_SHRINK * self._without[met]))
        self._scores: Array = self._rows @ left_out
        self._sorted: Array = np.sort(self._scores)

    def replayed(self, order: Order) -> Array:
        """Ranks of the reference's own prompts, each left out, as they would come in this order, shape (n,)."""
        self.reset()
        ranks = np.zeros(len(order))
        positions: list[int] = order.tolist()
        for step, position in enumerate(positions):
            ranks[step] = ranked(self._sorted, float(self._scores[position]))
            self._learn(self._kept[position])
        self.reset()
        return ranks

    def moved_words(self, texts: Iterable[str], count: int = 8) -> list[str]:
        """The words and pairs of ``texts`` that speak for the recent traffic, the clearest first: the explanation."""
        weighted = {
            gram: float(self._weights[bucket(gram, BUCKETS)])
            for text in texts
            for gram in word_grams(words(text))
            if "\x02" not in gram
        }
        moved = [gram for gram, weight in weighted.items() if weight > 0.0]
        return sorted(moved, key=lambda gram: (-weighted[gram], gram))[:count]

    def dump(self) -> dict[str, Any]:
        """JSON-able state, without the prompts: ``load`` is given the newest ``KEPT`` of them again."""
        return {
            "log_wealth": list(self._log_wealth),
            "risen": list(self._risen),
            "events": self._events,
            "threshold": self.threshold,
        }

    @classmethod
    def load(
        cls, stored: dict[str, Any], reference: Sequence[str], sessions: Sequence[str], recent: Sequence[str]
    ) -> ClassifierBet:
        """Inverse of ``dump``; counts are whole numbers, so what is rebuilt from the prompts is the same bit for bit.

        ``recent``: prompts that were given to ``update``, oldest first, at least the newest ``KEPT`` since a reset.
        """
        detector = cls(reference, sessions, float(stored["threshold"]))
        events = int(stored["events"])
        grams = [g for g in (hashed_array(text, BUCKETS) for text in recent) if len(g)]
        grams = grams[-min(events, KEPT) :] if events else []
        detector._events = events - len(grams)
        for found in grams:
            detector._learn(found)
        detector._log_wealth = [float(w) for w in stored["log_wealth"]]
        detector._risen = [int(n) for n in stored["risen"]]
        detector.statistic = one_log_mean(detector._log_wealth) if events else 0.0
        return detector


def calibrate(bet: ClassifierBet, blocks: Blocks, mean_events: float, seed: int) -> float:
    """Log wealth that quiet traffic exceeds once in ``mean_events`` events, by simulation (about 0.3 s).

    ``blocks``: of the reference prompts that ``bet.nearest`` kept. Ranks of the novelty come from the block bootstrap,
    each stream among a reference drawn anew, since the true ranks are known by that one reference only. Those of the
    classifier are uniform within an hour; where the reference spans several hours it is run on each.
    """
    rng = np.random.default_rng(seed)
    several = blocks.hours > 1
    length = _HOUR_LENGTH if several else _LENGTH
    starts = blocks.starts(0 if several else _STREAMS, _HOUR_STREAMS)
    ranks = np.zeros((len(starts), 2, length))
    for stream, hour in enumerate(starts):
        order = blocks.stream(int(hour), length, rng, dealt=several)
        drawn = np.sort(bet.nearest.scores[blocks.resample(rng)])
        below = np.searchsorted(drawn, bet.nearest.scores[order] - 1e-6, "left")
        ranks[stream, 0] = bet.replayed(order) if several else rng.random(length)
        ranks[stream, 1] = below / (len(drawn) + 1)
    wealth = np.zeros((2 * BETS, len(starts)))
    top = np.full(len(starts), -np.inf)
    for step in range(length):
        gains = [log_gains(ranks[:, score, step]) for score in (0, 1)]
        wealth = np.maximum(wealth, 0.0) + np.concatenate(gains)
        np.maximum(top, log_mean(wealth), out=top)
    return level(top, starts, length, mean_events)
