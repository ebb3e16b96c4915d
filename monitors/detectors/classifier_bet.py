"""Betting against exchangeability with a classifier that learns the recent traffic.

A naive-Bayes classifier compares hashed n-grams of the last ``WINDOW`` prompts with the reference. Each new prompt is
scored before it is learned, and its score is ranked among the scores of all reference prompts (each scored with itself
left out of the reference counts). Without drift the rank is uniform whatever the classifier has learned; with new
topics their words recur, are learned, and the ranks pile up near one. Wealth bets on high ranks and starts anew from 1
whenever it falls below: an e-CUSUM. Under no drift its law is that of uniform ranks and is simulated for the threshold.

After Volkhonskiy et al., "Inductive conformal martingales for change-point detection", COPA 2017, and Shin, Ramdas and
Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", 2022.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.bets import log_mean_exp
from monitors.features import BUCKETS, Array
from monitors.grams import bucket, hashed, word_grams, words

WINDOW = 64
"""Recent prompts that the classifier learns from."""
REFRESH = 8
"""Events between two refreshes of the weights: they cost as much as eight events."""
KEPT = WINDOW + REFRESH
"""Newest prompts from which the state can be rebuilt exactly."""
_SHRINK = 40.0
"""Prompts' worth of the reference mixed into the recent counts."""
_FLOOR = 0.002
"""Smallest frequency: how sure "never seen in the reference" can be."""
_LINEAR = (0.4, 0.8)
"""Bets b: wealth times 1 + b (2u - 1)."""
_TAIL = ((0.9, 0.1), (0.9, 0.3), (0.8, 0.15), (0.8, 0.4))
"""Bets (level, stake): wealth times 1 + stake * level / (1 - level) when u is above the level, else 1 - stake."""
_STREAMS, _LENGTH = 512, 1500
"""Simulated streams and their length."""
BETS = len(_LINEAR) + len(_TAIL)

Grams = NDArray[np.int64]


class ClassifierBet:
    """The running e-CUSUM; ``update`` says whether log wealth lies above the threshold."""

    name = "classifier_bet"

    def __init__(self, reference: Sequence[str], threshold: float) -> None:
        """``threshold``: log wealth above which ``update`` tells; see ``calibrate``."""
        grams = [_grams(text) for text in reference]
        grams = [g for g in grams if len(g)]
        self._size = len(grams)
        self._flat = np.concatenate(grams) if grams else np.zeros(0, dtype=np.int64)
        self._lengths = np.array([len(g) for g in grams], dtype=np.float64)
        self._starts = np.concatenate([[0], np.cumsum(self._lengths)[:-1]]).astype(np.int64)
        counts = np.bincount(self._flat, minlength=BUCKETS).astype(np.float64)
        self._frequency = np.maximum(counts / max(self._size, 1), _FLOOR)
        self._without = np.maximum((counts - 1.0) / max(self._size - 1, 1), _FLOOR)
        self.threshold = threshold
        self.reset()

    def reset(self) -> None:
        """Forget the recent traffic and the wealth."""
        self._recent: deque[Grams] = deque()
        self._counts = np.zeros(BUCKETS)
        self._log_wealth = [0.0] * BETS
        self._events = 0
        self.statistic = 0.0
        self._refresh()

    def update(self, text: str) -> bool:
        """One prompt; a text without words is ignored."""
        found = _grams(text)
        if not len(found) or self._size < 2:
            return False
        self._bet(self._rank(found))
        self._learn(found)
        return self.statistic > self.threshold

    def learn(self, texts: Iterable[str]) -> None:
        """Learn prompts without betting on them."""
        for text in texts:
            found = _grams(text)
            if len(found):
                self._learn(found)

    def _rank(self, found: Grams) -> float:
        """Rank of the prompt's score among the reference's, in (0, 1); ties in the middle."""
        score = float(self._weights[found].sum()) / math.sqrt(len(found))
        below = int(np.searchsorted(self._sorted, score - 1e-9, "left"))
        upto = int(np.searchsorted(self._sorted, score + 1e-9, "right"))
        return ((below + upto) / 2.0 + 0.5) / (self._size + 1)

    def _bet(self, rank: float) -> None:
        gains = _log_gains(rank)
        self._log_wealth = [max(w, 0.0) + gain for w, gain in zip(self._log_wealth, gains, strict=True)]
        self.statistic = log_mean_exp(self._log_wealth)

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
        seen = len(self._recent)
        mixed = self._counts + _SHRINK * self._frequency
        self._weights: Array = np.log(mixed / ((seen + _SHRINK) * self._frequency))
        left_out = np.log((self._counts + _SHRINK * self._without) / ((seen + _SHRINK) * self._without))
        if self._size:
            sums = np.add.reduceat(left_out[self._flat], self._starts)
            self._sorted: Array = np.sort(sums / np.sqrt(self._lengths))

    def moved_words(self, texts: Iterable[str], count: int = 8) -> list[str]:
        """The words and pairs of ``texts`` that speak most for the recent traffic: the explanation."""
        weighted = {
            gram: float(self._weights[bucket(gram, BUCKETS)])
            for text in texts
            for gram in word_grams(words(text))
            if "\x02" not in gram
        }
        return sorted(weighted, key=lambda gram: (-weighted[gram], gram))[:count]

    def dump(self) -> dict[str, Any]:
        """JSON-able state, without the prompts: ``load`` is given the newest ``KEPT`` of them again."""
        return {"log_wealth": list(self._log_wealth), "events": self._events, "threshold": self.threshold}

    @classmethod
    def load(cls, stored: dict[str, Any], reference: Sequence[str], recent: Sequence[str]) -> ClassifierBet:
        """Inverse of ``dump``; counts are whole numbers, so what is rebuilt from the prompts is the same bit for bit.

        ``recent``: prompts that were given to ``update``, oldest first, at least the newest ``KEPT`` since a reset.
        """
        detector = cls(reference, float(stored["threshold"]))
        events = int(stored["events"])
        grams = [g for g in (_grams(text) for text in recent) if len(g)][-min(events, KEPT) :] if events else []
        detector._events = events - len(grams)
        for found in grams:
            detector._learn(found)
        detector._log_wealth = [float(w) for w in stored["log_wealth"]]
        detector.statistic = log_mean_exp(detector._log_wealth)
        return detector


def calibrate(mean_events: float, seed: int) -> float:
    """Log wealth that uniform ranks exceed once in ``mean_events`` events, by simulation (about 0.2 s).

    With run lengths near geometric, a stream of length L stays below with probability exp(-L / mean_events).
    """
    rng = np.random.default_rng(seed)
    wealth = np.zeros((BETS, _STREAMS))
    top = np.full(_STREAMS, -np.inf)
    for _ in range(_LENGTH):
        ranks = rng.random(_STREAMS)
        linear = [np.log1p(b * (2.0 * ranks - 1.0)) for b in _LINEAR]
        tail = [np.where(ranks >= lv, math.log1p(st * lv / (1.0 - lv)), math.log1p(-st)) for lv, st in _TAIL]
        wealth = np.maximum(wealth, 0.0) + np.stack([*linear, *tail])
        highest = wealth.max(axis=0)
        np.maximum(top, highest + np.log(np.exp(wealth - highest).mean(axis=0)), out=top)
    return float(np.quantile(top, math.exp(-_LENGTH / mean_events)))


def _log_gains(rank: float) -> list[float]:
    """Log of what each bet multiplies its wealth by."""
    gains = [math.log1p(b * (2.0 * rank - 1.0)) for b in _LINEAR]
    for level, stake in _TAIL:
        gains.append(math.log1p(stake * level / (1.0 - level) if rank >= level else -stake))
    return gains


def _grams(text: str) -> Grams:
    return np.array(hashed(text, BUCKETS), dtype=np.int64)
