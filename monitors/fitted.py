"""What is fitted on one reference: the features, the two input detectors, and every look that compares with it.

It is made anew at each re-reference. ``blob`` never changes in between; what the detectors have gathered is in
``moving``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from monitors.alarms import Evidence
from monitors.answers import FAMILIAR
from monitors.confirm import Confirmation, Seen, Strangeness, confirm
from monitors.detectors import classifier_bet, mewma
from monitors.detectors.blocks import Blocks
from monitors.detectors.classifier_bet import KEPT, ClassifierBet
from monitors.detectors.mewma import Mewma
from monitors.encoders import HASHED, Encoder
from monitors.features import BUCKETS, Features
from monitors.grams import hashed_array
from monitors.language import risen
from monitors.slices import BuiltSlice, build_slice, gram_matrix

INPUT_DETECTORS = 2
"""They share the budget of suspicions."""


class Fitted:
    """The input detectors and their reference."""

    def __init__(
        self, reference: Sequence[Seen], covers_s: float, features: Features, chart: Mewma, bet: ClassifierBet
    ) -> None:
        self._reference, self._features = reference, features
        self.covers_s = covers_s
        """Seconds that the reference covers, thinned or not."""
        self._chart, self._bet = chart, bet
        self._blob: bytes | None = None
        self._grams: Any = None
        """Of the reference, made at the first look that needs them."""

    @classmethod
    def fit(
        cls,
        reference: Sequence[Seen],
        covers_s: float,
        events_an_hour: float,
        events_between: float,
        seed: int,
        encoder: Encoder | None = None,
    ) -> Fitted:
        """Fit the features and set the thresholds to ``events_between`` events between suspicions, both together."""
        texts = [s.text for s in reference]
        features, vectors = Features.fit(texts, [s.surprisal for s in reference], encoder)
        each = events_between * INPUT_DETECTORS
        sessions, times = [s.session for s in reference], [s.at for s in reference]
        blocks = Blocks(sessions, times, events_an_hour)
        chart = Mewma(features.size, mewma.calibrate(vectors, blocks, each, seed))
        bet = ClassifierBet(texts, sessions)
        kept = bet.nearest.positions
        blocks = Blocks([sessions[i] for i in kept], [times[i] for i in kept], events_an_hour)
        bet.threshold = classifier_bet.calibrate(bet, blocks, each, seed)
        return cls(reference, covers_s, features, chart, bet)

    @property
    def reference(self) -> Sequence[Seen]:
        """The prompts that everything is compared with."""
        return self._reference

    @property
    def rising(self) -> int:
        """Events since the leading bet last had nothing."""
        return self._bet.rising

    def update(self, seen: Seen) -> str | None:
        """One prompt for both detectors; the name of the one that tells."""
        shifted = self._chart.update(self._features.transform(seen.text, seen.surprisal))
        told = self._bet.update(seen.text)
        return self._bet.name if told else self._chart.name if shifted else None

    def figures(self) -> Evidence:
        """Statistics and thresholds now, and what they are against."""
        return {
            "t2": self._chart.statistic,
            "t2_threshold": self._chart.threshold,
            "log_e": self._bet.statistic,
            "log_e_threshold": self._bet.threshold,
            "reference_s": self.covers_s,
        }

    def novelty_of(self, text: str) -> float | None:
        """Rank of a prompt's novelty among the reference; None for a text without words."""
        return self._bet.novelty_of(text)

    def moved_words(self, texts: Sequence[Seen]) -> list[str]:
        """Those of the texts that came lately and are rare in the reference."""
        return self._bet.moved_words(seen.text for seen in texts)

    def confirm(
        self, before: Sequence[Seen], fresh: Sequence[Seen], since: Sequence[Seen], seed: int, alpha: float
    ) -> Confirmation:
        """A second look: ``fresh`` prompts after ``before``, and all ``since`` the suspicion for their novelty."""
        nearest = self._bet.nearest
        strange = Strangeness(
            [self._reference[i] for i in nearest.positions],
            nearest.scores.tolist(),
            since,
            [nearest.score(hashed_array(s.text, BUCKETS)) for s in since],
        )
        if self._grams is None:
            self._grams = gram_matrix([s.text for s in self._reference])
        return confirm(self._reference, before, fresh, strange, seed, alpha, self._grams)

    def strange(self, window: Sequence[Seen]) -> float:
        """Strange prompts in the window beyond those that the reference would have."""
        ranks = [self.novelty_of(s.text) or 0.0 for s in window]
        return sum(rank > FAMILIAR for rank in ranks) - (1.0 - FAMILIAR) * len(ranks)

    def build_slice(self, window: Sequence[Seen], seed: int) -> BuiltSlice | None:
        """Which prompts of the window are not like the reference."""
        return build_slice(
            [s.text for s in self._reference],
            [s.text for s in window],
            seed,
            sessions=([f"r{s.session}" for s in self._reference], [s.session for s in window]),
        )

    def language(self, window: Sequence[Seen]) -> Evidence:
        """The language that the window turned to and its shares; empty where none rose."""
        found = risen([s.text for s in self._reference], [s.text for s in window])
        if found is None:
            return {}
        return {"language": found.language, "language_before": found.before, "language_since": found.since}

    def rearm(self, meanwhile: Sequence[Seen]) -> None:
        """No wealth any more, the same reference; the newest prompts are learned all the same."""
        self._chart.reset()
        self._bet.reset()
        self._bet.learn(seen.text for seen in meanwhile)

    # ------------------------------------------------------------------------------------------------------- state

    def moving(self) -> dict[str, Any]:
        """JSON-able state of the detectors."""
        return {"mewma": self._chart.dump(), "bet": self._bet.dump()}

    def blob(self) -> bytes:
        """Reference and features, about a megabyte or two: the same object until the next re-reference."""
        if self._blob is None:
            reference = [s.row() for s in self._reference]
            stored = {"features": self._features.to_dict(), "covers_s": self.covers_s, "reference": reference}
            self._blob = json.dumps(stored, ensure_ascii=True, separators=(",", ":")).encode()
        return self._blob

    @classmethod
    def load(
        cls, blob: bytes, moving: dict[str, Any], fed: Sequence[Seen], encoder: Encoder | None = None
    ) -> Fitted | None:
        """Inverse of ``blob`` and ``moving``; None when it was fitted with another encoder. ``fed``: the newest prompts
        that were given to the detectors since their reset, oldest first, at most ``KEPT``.
        """
        stored = json.loads(blob)
        if stored["features"]["encoder"] != (HASHED if encoder is None else encoder.name):
            return None
        reference = [Seen(*row) for row in stored["reference"]]
        texts, sessions = [s.text for s in reference], [s.session for s in reference]
        bet = ClassifierBet.load(moving["bet"], texts, sessions, [s.text for s in fed[-KEPT:]])
        features, chart = Features.from_dict(stored["features"], encoder), Mewma.load(moving["mewma"])
        fitted = cls(reference, stored.get("covers_s", _span(reference)), features, chart, bet)
        fitted._blob = blob
        return fitted


def _span(reference: Sequence[Seen]) -> float:
    """Of a state that was stored without it: nearly right, since sessions at either end may have been thinned out."""
    times = [seen.at for seen in reference if seen.at is not None]
    return max(times) - min(times) if times else 0.0
