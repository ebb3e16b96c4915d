"""Rewards of a deployment against their usual level: e-SR on rewards and corrections, river's detectors beside it.

Answers that change while the questions stay are invisible in prompts and replies: they show here or nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from monitors.alarms import AlarmKind, Evidence
from monitors.answers import Answers
from monitors.detectors.esr import Esr, Side, cautious_level
from monitors.detectors.informers import Informer
from monitors.identity_cap import IdentityCap
from monitors.watch_config import WatchConfig

_RATE_EVERY: Final = 50
"""Exchanges over which the share of rated ones is taken."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector has told."""

    kind: AlarmKind
    detector: str
    primary: bool
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Signal:
    """A scalar in [0, 1] of each reward, watched on one side."""

    name: str
    side: Side
    kind: AlarmKind
    primary: bool
    divisor: float
    """Share of the deployment's budget: its threshold is this many times the events between false alarms."""


SIGNALS: Final = (
    Signal("reward_fall", "fall", AlarmKind.REWARD, True, 4.0),
    Signal("correction_rise", "rise", AlarmKind.FEEDBACK, True, 4.0),
    # More praise asks for no training. It is told to people, since feedback that suddenly turns good may be made.
    Signal("reward_rise", "rise", AlarmKind.REWARD, False, 4.0),
)
"""Half of the budget belongs to the rewards, and half of that to each primary signal."""


class RewardWatch:
    """Learns the levels from the first ``reward_reference`` counted rewards, then watches.

    Each signal has its alarm once, until ``rebase``.
    """

    def __init__(self, config: WatchConfig) -> None:
        self._config = config
        self._cap = IdentityCap(config.identity_cap, config.identity_window)
        self._rated, self._rated_from = 0, 0
        self._rate = Informer("feedback_rate")
        self.rebase()

    def rebase(self) -> None:
        """Learn the levels anew: another version answers."""
        self._count = 0
        self._sums = [[0.0, 0.0] for _ in SIGNALS]
        self._sides: dict[str, Esr] = {}
        self._informer = Informer("reward")
        self._answers = Answers()

    @property
    def takes(self) -> bool:
        """Whether the levels are known, so that the novelty of a rated prompt is of use."""
        return self._count >= self._config.reward_reference

    def observe(
        self, identity: str, reward: float, index: int, corrected: bool, novelty: float | None, text: str
    ) -> list[Found]:
        """One reward and the exchange count at its arrival; what it completes. Rewards outside [0, 1] are ignored.

        ``novelty``: rank of its prompt among the reference, None where there is none.
        """
        if not 0.0 <= reward <= 1.0 or not self._cap.admit(identity, index):
            return []
        found = self._rates(index)
        found += [
            Found(AlarmKind.REWARD, name, False, {"signal": "reward", "level": self._informer.level, "value": reward})
            for name in self._informer.update(reward)
        ]
        values = {"reward_fall": reward, "correction_rise": float(corrected), "reward_rise": reward}
        if not self.takes:
            self._learn(values)
            return found
        self._answers.append(reward, novelty, corrected, text)
        for signal in SIGNALS:
            side = self._sides.get(signal.name)
            if side is not None and side.update(values[signal.name]):
                found.append(Found(signal.kind, side.name, signal.primary, self._evidence(signal, side)))
                del self._sides[signal.name]
        return found

    def _evidence(self, signal: Signal, side: Esr) -> Evidence:
        usual = {s.name: sums[0] / self._count for s, sums in zip(SIGNALS, self._sums, strict=True)}
        numbers: Evidence = {
            "signal": signal.name,
            "direction": side.side,
            "usual": usual[signal.name],
            "p0": side.level,
            "e": side.statistic,
            "threshold": side.threshold,
            "rewards": side.events,
        }
        if not signal.primary:
            return numbers
        why = self._answers.explain(usual["reward_fall"])
        return {
            **numbers,
            "cause": why.cause,
            "since": why.since,
            "familiar_share": why.familiar_share,
            "corrected_share": why.corrected_share,
            "terms": list(why.words),
        }

    def _rates(self, index: int) -> list[Found]:
        """The share of exchanges that are rated, told to people: a silent feedback route looks like contentment."""
        self._rated += 1
        passed = index - self._rated_from
        if passed < _RATE_EVERY:
            return []
        rate, self._rated, self._rated_from = self._rated / passed, 0, index
        return [
            Found(
                AlarmKind.FEEDBACK, name, False, {"signal": "feedback_rate", "level": self._rate.level, "value": rate}
            )
            for name in self._rate.update(rate)
        ]

    def _learn(self, values: dict[str, float]) -> None:
        self._count += 1
        for signal, sums in zip(SIGNALS, self._sums, strict=True):
            sums[0] += values[signal.name]
            sums[1] += values[signal.name] ** 2
        if not self.takes:
            return
        for signal, (total, squares) in zip(SIGNALS, self._sums, strict=True):
            mean = total / self._count
            variance = max(squares / self._count - mean * mean, 0.25 / self._count)
            errors, clumping = self._config.reward_errors, self._config.reward_clumping
            level = cautious_level(mean, variance, self._count, signal.side, errors, clumping)
            threshold = signal.divisor * self._config.events_between_false_alarms
            self._sides[signal.name] = Esr(signal.side, level, threshold)

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        return {
            "count": self._count,
            "sums": [list(sums) for sums in self._sums],
            "sides": {name: side.dump() for name, side in self._sides.items()},
            "cap": self._cap.dump(),
            "informer": self._informer.dump(),
            "rate": [self._rated, self._rated_from, self._rate.dump()],
            "answers": self._answers.dump(),
        }

    @classmethod
    def load(cls, config: WatchConfig, stored: dict[str, Any]) -> RewardWatch:
        """Inverse of ``dump``."""
        watch = cls(config)
        watch._count = stored["count"]
        watch._sums = [list(sums) for sums in stored["sums"]]
        watch._sides = {name: Esr.load(side) for name, side in stored["sides"].items()}
        watch._cap.load(stored["cap"])
        watch._informer = Informer.load(stored["informer"])
        watch._rated, watch._rated_from = stored["rate"][:2]
        watch._rate = Informer.load(stored["rate"][2])
        watch._answers = Answers.load(stored["answers"])
        return watch
