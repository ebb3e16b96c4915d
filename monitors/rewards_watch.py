"""Rewards of a deployment against their usual level: e-SR both ways, river's detectors beside it."""

from __future__ import annotations

from typing import Any

from monitors.alarms import Evidence
from monitors.detectors.esr import Esr, Side, cautious_level
from monitors.detectors.informers import Informer
from monitors.identity_cap import IdentityCap
from monitors.watch_config import WatchConfig

Found = tuple[str, bool, Evidence]
"""Detector, whether it is primary, evidence."""


class RewardWatch:
    """Learns the level from the first ``reward_reference`` counted rewards, then watches.

    A fall is primary. A rise asks for no training; it is told to people, since feedback that suddenly turns good may
    be made. Each side has its alarm once, until ``rebase``.
    """

    def __init__(self, config: WatchConfig) -> None:
        self._config = config
        self._cap = IdentityCap(config.identity_cap, config.identity_window)
        self.rebase()

    def rebase(self) -> None:
        """Learn the level anew: another version answers."""
        self._count, self._sum, self._squares = 0, 0.0, 0.0
        self._sides: list[Esr] = []
        self._informer = Informer("reward")

    def observe(self, identity: str, reward: float, index: int) -> list[Found]:
        """One reward and the exchange count at its arrival; what it completes. Rewards outside [0, 1] are ignored."""
        if not 0.0 <= reward <= 1.0 or not self._cap.admit(identity, index):
            return []
        found: list[Found] = [
            (name, False, {"signal": "reward", "level": self._informer.level, "value": reward})
            for name in self._informer.update(reward)
        ]
        if self._count < self._config.reward_reference:
            self._learn(reward)
            return found
        for side in list(self._sides):
            if side.update(reward):
                evidence: Evidence = {
                    "direction": side.side,
                    "usual": self._sum / self._count,
                    "p0": side.level,
                    "e": side.statistic,
                    "threshold": side.threshold,
                    "rewards": side.events,
                }
                found.append((side.name, side.side == "fall", evidence))
                self._sides.remove(side)
        return found

    def _learn(self, reward: float) -> None:
        self._count += 1
        self._sum += reward
        self._squares += reward * reward
        if self._count == self._config.reward_reference:
            mean = self._sum / self._count
            variance = max(self._squares / self._count - mean * mean, 0.25 / self._count)
            sides: tuple[Side, Side] = ("fall", "rise")
            # Half of the budget belongs to the rewards, and half of that to each side.
            threshold = 4.0 * self._config.events_between_false_alarms
            for side in sides:
                level = cautious_level(
                    mean, variance, self._count, side, self._config.reward_errors, self._config.reward_clumping
                )
                self._sides.append(Esr(side, level, threshold))

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        return {
            "count": self._count,
            "sum": self._sum,
            "squares": self._squares,
            "sides": [side.dump() for side in self._sides],
            "cap": self._cap.dump(),
            "informer": self._informer.dump(),
        }

    @classmethod
    def load(cls, config: WatchConfig, stored: dict[str, Any]) -> RewardWatch:
        """Inverse of ``dump``."""
        watch = cls(config)
        watch._count, watch._sum, watch._squares = stored["count"], stored["sum"], stored["squares"]
        watch._sides = [Esr.load(side) for side in stored["sides"]]
        watch._cap.load(stored["cap"])
        watch._informer = Informer.load(stored["informer"])
        return watch
