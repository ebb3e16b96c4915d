"""What each reply shows, told to people: server errors, refusals and surprisal by e-SR, length and latency by ADWIN.

No training mends an error, and a refusal may be right, so nothing here acts, nor takes from the budget of what does.
Which of two versions fails or refuses more is asked by a rollout's guardrails, of sessions at random; this is the
change within one version's time, most of which no rollout sees. Canary and holdback are left out.

Surprisal s (nats a token, where the gateway samples it) is watched as 1 - exp(-s), which lies in [0, 1] and keeps the
order: it rises where the model meets what it does not know, and falls where replies become all alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from monitors.alarms import AlarmKind, Evidence
from monitors.detectors.esr import Esr
from monitors.detectors.informers import Informer
from monitors.guardrails import GuardrailSpec, failed, happened
from monitors.level import Level
from monitors.signals import Found, Signal, armed
from monitors.watch_config import WatchConfig
from streams.events import Exchange

_INFORMERS: Final = {"latency": AlarmKind.LATENCY, "reply_length": AlarmKind.BEHAVIOUR}
RATES: Final[Mapping[str, tuple[Signal, ...]]] = MappingProxyType(
    {
        "errors": (Signal("error_rise", "rise", AlarmKind.BEHAVIOUR, False, 4.0),),
        "refusals": (Signal("refusal_rise", "rise", AlarmKind.BEHAVIOUR, False, 4.0),),
        "surprisal": (
            Signal("surprisal_rise", "rise", AlarmKind.BEHAVIOUR, False, 4.0),
            Signal("surprisal_fall", "fall", AlarmKind.BEHAVIOUR, False, 4.0),
        ),
    }
)
"""Scalar to its signals. All four together tell wrongly as seldom as one budget allows."""
_REFUSED: Final = GuardrailSpec("refusals", "refusal")


class ReplyWatch:
    """Levels are learned from the first ``reference_size`` exchanges, over ``reference_span_s`` at least, with no fewer
    than ``reward_reference`` values each. A signal that has told is silent for ``realarm_events`` exchanges.
    """

    def __init__(self, config: WatchConfig) -> None:
        self._config = config
        self._levels = {scalar: Level() for scalar in RATES}
        self.forget()

    def forget(self) -> None:
        """Learn levels and scales anew: another version answers."""
        self._informers = {name: Informer(name, learns_scale=True) for name in _INFORMERS}
        for level in self._levels.values():
            level.forget()
        self._from: int | None = None
        """Exchange count at which the levels began to be learned."""
        self._sides: dict[str, Esr] = {}
        self._told: dict[str, int] = {}
        """Signal to the exchange count at which it told."""

    def observe(self, exchange: Exchange, index: int) -> list[Found]:
        """One exchange, and how many came so far; what it completes."""
        if not exchange.usual_version:
            return []
        found = self._inform(exchange)
        if self._from is None:
            self._from = index
        at = exchange.received_at
        for scalar, value in _values(exchange).items():
            level = self._levels[scalar]
            if not self._knows(scalar):
                self._learn(scalar, value, at, index)
                continue
            for signal in RATES[scalar]:
                side = self._listening(signal, level, index)
                if side is not None and side.update(value, level.cautious(at, signal.side, self._config.reward_errors)):
                    found.append(self._tell(scalar, signal, index))
        return found

    def _knows(self, scalar: str) -> bool:
        name = RATES[scalar][0].name
        return name in self._sides or name in self._told

    def _listening(self, signal: Signal, level: Level, index: int) -> Esr | None:
        """The signal's detector; None while one that has told is silent, then it begins anew."""
        told = self._told.get(signal.name)
        if told is not None:
            if index - told < self._config.realarm_events:
                return None
            del self._told[signal.name]
            self._sides[signal.name] = armed(signal, level, self._config)
        return self._sides[signal.name]

    def _tell(self, scalar: str, signal: Signal, index: int) -> Found:
        side = self._sides.pop(signal.name)
        self._told[signal.name] = index
        usual = self._levels[scalar].mean
        evidence: Evidence = {
            "signal": scalar,
            "direction": side.side,
            "level": -math.log1p(-min(usual, 1.0 - 1e-9)) if scalar == "surprisal" else usual,
            "p0": side.level,
            "e": side.statistic,
            "threshold": side.threshold,
            "values": side.events,
        }
        return Found(signal.kind, side.name, signal.primary, evidence)

    def _learn(self, scalar: str, value: float, at: float, index: int) -> None:
        config, level = self._config, self._levels[scalar]
        level.append(value, at)
        passed = index - (self._from or 0) + 1
        if passed < config.reference_size or level.count < config.reward_reference:
            return
        if level.span_s >= config.reference_span_s:
            level.settle(config.reward_clumping)
            self._sides |= {signal.name: armed(signal, level, config) for signal in RATES[scalar]}

    def _inform(self, exchange: Exchange) -> list[Found]:
        values = {
            "latency": math.log(max(exchange.latency_s, 1e-3)) if math.isfinite(exchange.latency_s) else math.nan,
            "reply_length": math.log1p(len(exchange.completion)),
        }
        found: list[Found] = []
        for name, informer in self._informers.items():
            for detector in informer.update(values[name]):
                evidence: Evidence = {"signal": name, "level": informer.level, "value": values[name]}
                found.append(Found(_INFORMERS[name], detector, False, evidence))
        return found

    def dump(self) -> dict[str, Any]:
        """JSON-able state."""
        return {
            "informers": {name: informer.dump() for name, informer in self._informers.items()},
            "rates": {
                "from": self._from,
                "levels": {scalar: level.dump() for scalar, level in self._levels.items()},
                "sides": {name: side.dump() for name, side in self._sides.items()},
                "told": dict(self._told),
            },
        }

    @classmethod
    def load(cls, config: WatchConfig, stored: Mapping[str, Any]) -> ReplyWatch:
        """Inverse of ``dump``. A state from before the rates were watched has none: they begin to be learned."""
        watch = cls(config)
        watch._informers = {name: Informer.load(one, learns_scale=True) for name, one in stored["informers"].items()}
        rates = stored.get("rates")
        if rates is not None:
            watch._from = rates["from"]
            watch._levels = {
                scalar: Level.load(level, config.reward_clumping) for scalar, level in rates["levels"].items()
            }
            watch._sides = {name: Esr.load(side) for name, side in rates["sides"].items()}
            watch._told = {name: int(index) for name, index in rates["told"].items()}
        return watch


def _values(exchange: Exchange) -> dict[str, float]:
    """What one exchange says of each scalar; of surprisal only where it was sampled."""
    values = {"errors": float(failed(exchange)), "refusals": float(happened(_REFUSED, exchange))}
    surprisal = exchange.surprisal
    if surprisal is not None and math.isfinite(surprisal):
        values["surprisal"] = -math.expm1(-max(surprisal, 0.0))
    return values
