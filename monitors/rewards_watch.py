"""Rewards of a deployment against their usual level: e-SR on rewards and corrections, river's detectors beside it.

Answers that change while the questions stay are invisible in prompts and replies: they show here or nowhere.
"""

from __future__ import annotations

from typing import Any, Final

from monitors.alarms import AlarmKind, Evidence
from monitors.answers import Answers
from monitors.detectors.informers import Informer
from monitors.feedback_rate import FeedbackRate
from monitors.identity_cap import IdentityCap
from monitors.level import Level
from monitors.self_starting import SelfStarting
from monitors.signals import Found, Signal
from monitors.watch_config import WatchConfig

SIGNALS: Final = (
    Signal("reward_fall", "fall", AlarmKind.REWARD, True, 4.0),
    Signal("correction_rise", "rise", AlarmKind.FEEDBACK, True, 4.0),
    # More praise asks for no training. It is told to people, since feedback that suddenly turns good may be made.
    Signal("reward_rise", "rise", AlarmKind.REWARD, False, 4.0),
)
"""Half of the budget belongs to the rewards, and half of that to each primary signal."""


class RewardWatch:
    """Learns the levels from the first ``reward_reference`` counted rewards, over ``reference_span_s`` at least, then
    watches, and goes on learning until ``reward_known`` of them. Levels follow the hour of the day where the first
    rewards span one, and from a week on that of the week.

    Each signal has its alarm once, until ``rebase``.
    """

    def __init__(self, config: WatchConfig) -> None:
        self._config = config
        self._cap = IdentityCap(config.identity_cap, config.identity_window)
        self._rate = FeedbackRate(config.reference_span_s)
        self._levels = {signal.name: Level() for signal in SIGNALS}
        self.rebase()

    def rebase(self) -> None:
        """Learn the levels anew: another version answers."""
        self._known = False
        for level in self._levels.values():
            level.forget()
        self._sides: dict[str, SelfStarting] = {}
        self._informer = Informer("reward")
        self._answers = Answers()
        self._rate.forget_version()

    @property
    def takes(self) -> bool:
        """Whether the levels are known, so that the novelty of a rated prompt is of use."""
        return self._known

    @property
    def learned(self) -> int:
        """Rewards that the usual level is known from."""
        return self._levels["reward_fall"].count

    def exchanged(self, version: str, index: int, at: float | None = None) -> list[Found]:
        """One exchange whose reward would count here, and how many came so far: feedback may have stopped."""
        return _rated(self._rate.exchanged(index, at, version))

    def observe(
        self,
        identity: str,
        reward: float,
        index: int,
        corrected: bool,
        novelty: float | None,
        text: str,
        at: float | None = None,
        version: str | None = None,
    ) -> list[Found]:
        """One reward and the exchange count at its arrival; what it completes. Rewards outside [0, 1] are ignored.

        ``novelty``: rank of its prompt among the reference, None where there is none; ``at``: when it was asked;
        ``version``: who answered, None where nobody knows.
        """
        if not 0.0 <= reward <= 1.0 or not self._cap.admit(identity, index):
            return []
        found = _rated(self._rate.update(index, at, version))
        values = {"reward_fall": reward, "correction_rise": float(corrected), "reward_rise": reward}
        usually = self._levels["reward_fall"].offset(at)
        # Where the clock matters nothing is told before it is known: an evening would look like a change.
        if self._levels["reward_fall"].season_known or not self._config.reference_span_s:
            found += self._inform(reward, usually)
        if not self._known:
            self._learn(values, at)
            return found
        self._answers.append(reward - usually, novelty, corrected, text)
        for signal in SIGNALS:
            side = self._sides.get(signal.name)
            if side is not None and side.update(values[signal.name], at):
                found.append(Found(signal.kind, side.esr.name, signal.primary, self._evidence(signal, side)))
                del self._sides[signal.name]
        return found

    def _evidence(self, signal: Signal, side: SelfStarting) -> Evidence:
        esr = side.esr
        numbers: Evidence = {
            "signal": signal.name,
            "direction": esr.side,
            "usual": self._levels[signal.name].mean,
            "known_from": self._levels[signal.name].count,
            "p0": esr.level,
            "e": esr.statistic,
            "threshold": esr.threshold,
            "rewards": esr.events,
        }
        if not signal.primary:
            return numbers
        why = self._answers.explain(self._levels["reward_fall"].mean)
        return {
            **numbers,
            "cause": why.cause,
            "since": why.since,
            "familiar_share": why.familiar_share,
            "corrected_share": why.corrected_share,
            "terms": list(why.words),
        }

    def _inform(self, reward: float, offset: float) -> list[Found]:
        names = self._informer.update(reward - offset)
        evidence: Evidence = {"signal": "reward", "level": self._informer.level, "value": reward}
        return [Found(AlarmKind.REWARD, name, False, evidence) for name in names]

    def _learn(self, values: dict[str, float], at: float | None) -> None:
        config = self._config
        for name, level in self._levels.items():
            level.append(values[name], at)
        if not all(
            x.count >= config.reward_reference and x.spans(config.reference_span_s) for x in self._levels.values()
        ):
            return
        self._known = True
        for signal in SIGNALS:
            level = self._levels[signal.name]
            level.settle(config.reward_clumping)
            self._sides[signal.name] = SelfStarting(signal, level, config)

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        return {
            "known": self._known,
            "levels": {name: level.dump() for name, level in self._levels.items()},
            "sides": {name: side.dump() for name, side in self._sides.items()},
            "cap": self._cap.dump(),
            "informer": self._informer.dump(),
            "rate": self._rate.dump(),
            "answers": self._answers.dump(),
        }

    @classmethod
    def load(cls, config: WatchConfig, stored: dict[str, Any]) -> RewardWatch:
        """Inverse of ``dump``."""
        watch = cls(config)
        watch._known = stored["known"]
        watch._levels = {name: Level.load(level, config.reward_clumping) for name, level in stored["levels"].items()}
        watch._sides = {
            signal.name: SelfStarting.load(signal, watch._levels[signal.name], config, stored["sides"][signal.name])
            for signal in SIGNALS
            if signal.name in stored["sides"]
        }
        watch._cap.load(stored["cap"])
        watch._informer = Informer.load(stored["informer"])
        watch._rate = FeedbackRate.load(config.reference_span_s, stored["rate"])
        watch._answers = Answers.load(stored["answers"])
        return watch


def _rated(told: list[tuple[str, Evidence]]) -> list[Found]:
    """What the share of rated exchanges tells people."""
    return [Found(AlarmKind.FEEDBACK, name, False, evidence) for name, evidence in told]
