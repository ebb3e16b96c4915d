"""One suspicion: what told, when, and the looks at fresh prompts that confirm or dismiss it. No I/O.

Each look tries what came since the last one, and has learned all before it; the looks share the level (Bonferroni), so
that a strong drift is confirmed at the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from monitors.alarms import Evidence
from monitors.confirm import Seen
from monitors.detectors.classifier_bet import ClassifierBet
from monitors.fitted import Fitted
from monitors.recent import Recent
from monitors.watch_config import WatchConfig

Looked = Literal["waiting", "confirmed", "dismissed"]

_PATIENT_LOOKS, _HOPE = 2, 0.25
"""From this look on (the third) a suspicion with a larger p-value is dismissed early, so that the watch looks again."""
_BEFORE_RISING = 16
"""Events before the bets began to win that are held to belong to the drift, too."""
_STRANGE_EVERY = 4
"""Events between two counts of the strange prompts, which cost a tenth of a millisecond each."""


@dataclass(slots=True)
class Suspicion:
    """Counts are of prompts that the detectors were shown, but for ``at_event``, which counts all exchanges."""

    detector: str
    at_event: int
    counted: int
    rising: int
    """Newest prompts of then that are held to belong to the drift."""
    figures: Evidence
    """The detectors' statistics then."""
    look: int = 0
    confirmed: Evidence | None = None

    @classmethod
    def raised(cls, detector: str, at_event: int, counted: int, fitted: Fitted, config: WatchConfig) -> Suspicion:
        """Of what has just told."""
        rising = min(fitted.rising + _BEFORE_RISING, config.confirm_before)
        return cls(detector, at_event, counted, rising, fitted.figures())

    def since(self, counted: int) -> int:
        """Prompts that came after it."""
        return counted - self.counted

    def past(self, config: WatchConfig) -> bool:
        """Whether it waits for a look that the config no longer has: it was raised under one with more of them."""
        return self.confirmed is None and self.look >= len(config.confirm_sizes)

    def window(self, recent: Recent, counted: int) -> list[Seen]:
        """The prompts that it is about."""
        return recent.newest(self.since(counted) + self.rising)

    def try_again(self, fitted: Fitted, recent: Recent, counted: int, seed: int, config: WatchConfig) -> Looked:
        """One look where one is due. What it found is in ``confirmed`` or, where it dismisses, among ``figures``."""
        since = self.since(counted)
        if since < config.confirm_sizes[self.look]:
            return "waiting"
        fresh = recent.newest(since - (config.confirm_sizes[self.look - 1] if self.look else 0))
        before = recent.newest(since + config.confirm_before)[: -len(fresh)]
        alpha = config.confirm_alpha / len(config.confirm_sizes)
        result = fitted.confirm(before, fresh, recent.newest(since), seed, alpha)
        found: Evidence = {
            "auc": result.auc,
            "test": result.test,
            "p_value": result.p_value,
            "alpha": alpha,
            "fresh": result.fresh,
        }
        if result.p_value <= alpha:
            self.confirmed = found
            return "confirmed"
        hopeless = self.look >= _PATIENT_LOOKS and result.p_value > _HOPE
        if self.look + 1 < len(config.confirm_sizes) and not hopeless:
            self.look += 1
            return "waiting"
        if self.detector == ClassifierBet.name:
            found["terms"] = self.moved_words(fitted, recent, counted)
        self.figures = {**self.figures, **found}
        return "dismissed"

    def may_speak(self, fitted: Fitted, window: Sequence[Seen], counted: int, config: WatchConfig) -> bool:
        """Whether a confirmed one has prompts enough that its slice can be learned, or waits no longer."""
        since = self.since(counted)
        if since >= config.slice_events:
            return True
        return since % _STRANGE_EVERY == 0 and fitted.strange(window) >= config.slice_strange

    def moved_words(self, fitted: Fitted, recent: Recent, counted: int) -> list[str]:
        """Words of the prompts that it came of, as the betting classifier has learned them."""
        return fitted.moved_words(self.window(recent, counted)[: self.rising])

    def evidence(self, found: Evidence) -> Evidence:
        """For the alarm: how it was raised, then what was found since."""
        numbers: Evidence = {
            "at_event": self.at_event,
            "look": self.look,
            "rising": self.rising,
            "counted": self.counted,
            **self.figures,
        }
        return {**numbers, **found}

    def dump(self) -> dict[str, Any]:
        """JSON-able state, flat."""
        return {"detector": self.detector, "confirmed": self.confirmed, **self.evidence({})}

    @classmethod
    def load(cls, stored: dict[str, Any]) -> Suspicion:
        """Inverse of ``dump``."""
        figures = dict(stored)
        told, confirmed = str(figures.pop("detector")), figures.pop("confirmed")
        at_event, look, rising, counted = (int(figures.pop(name)) for name in ("at_event", "look", "rising", "counted"))
        return cls(told, at_event, counted, rising, figures, look, confirmed)
