"""The guardrails of a rollout as a table: what counts, how much of it is tolerated, and its say in the harm evidence.

Harm evidence is a weighted mean of e-processes, so it is one too: reward .4, safety .25, errors .2, latency .15.
Latency is halved between the first token and the pace after it, else the length of the replies leaks in.
Behaviour lies within safety's share and not outside alpha: a candidate that flatters, refuses or rambles is paid for
it by the very rewards that are being tested, and an informer would only tell of it after the promotion. But an honest
candidate changes its behaviour too, that is what it was trained for. So length, form, agreement and questions
back count only outside of the slice that raised the alarm, where nothing was to change; only a rate well above the
control's is harm; and they weigh least (overlong replies alone need an e-value of 1,000 at alpha .05).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final

from deploy.unit_events import Path
from monitors.guardrails import Event, GuardrailSpec
from monitors.owner import OwnerSpec

RAMBLING_TIMES: Final = 2.0
RAMBLING_TOKENS: Final = 32.0
"""A reply is overlong above twice the control's 95th percentile and a sentence more. The right answer to what the
control could not answer may well be longer than anything it says: a bound at the percentile itself would call every
candidate harmful that was trained for a new kind of request.
"""
REWARD_WEIGHT: Final = 0.4
"""The rewards' say in the harm evidence: alone they need an e-value of 50 at alpha .05."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One guardrail: its event, its weight, the tolerated rate ratio and the reason it gives."""

    event: Event
    name: str
    weight: float
    ratio: float
    reason: str
    spares_slice: bool = False
    """True: units in the slice that raised the alarm do not count, because there the candidate is to differ."""

    @property
    def hypothesis(self) -> OwnerSpec:
        """H0: the canary's rate is at most ``ratio`` times the control's."""
        return OwnerSpec(self.ratio)


GUARDS: Final[Mapping[Path, Guard]] = MappingProxyType(
    {
        Path.ERROR: Guard("error", "errors", 0.2, 1.0, "more_errors"),
        Path.FIRST_TOKEN: Guard("slow_first_token", "first_token", 0.075, 1.0, "slower_first_token"),
        Path.PACE: Guard("slow_reply", "pace", 0.075, 1.0, "slower_tokens"),
        Path.FLAG: Guard("flagged", "flags", 0.1, 1.0, "more_safety_flags"),
        Path.REFUSAL: Guard("refusal", "refusals", 0.08, 1.5, "more_refusals"),
        Path.LENGTH: Guard("overlong", "length", 0.02, 3.0, "longer_replies", spares_slice=True),
        Path.FORMAT: Guard("malformed", "format", 0.02, 2.0, "broken_form", spares_slice=True),
        Path.AGREEMENT: Guard("agreement", "agreement", 0.02, 2.0, "more_agreement", spares_slice=True),
        Path.QUESTION: Guard("question", "questions", 0.01, 2.0, "more_questions", spares_slice=True),
    }
)
HYPOTHESES: Final = MappingProxyType({path: guard.hypothesis for path, guard in GUARDS.items()})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What counts as slow or overlong; fixed before the canary. None: that guardrail is off."""

    first_token_s: float | None = None
    token_s: float | None = None
    """Seconds per output token after the first."""
    tokens: float | None = None
    """Output tokens of a reply."""

    @staticmethod
    def rambling(usual: float | None) -> float | None:
        """Output tokens above which a reply is overlong, from the control's 95th percentile; None without one."""
        return None if usual is None else RAMBLING_TIMES * usual + RAMBLING_TOKENS

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Bounds:
        """Inverse of ``to_dict``; what is missing is off."""
        return cls(**{name: stored.get(name) for name in cls.__slots__})

    def specs(self) -> dict[Path, GuardrailSpec]:
        """The guardrails that these bounds let count, by path."""
        bounds = {Path.FIRST_TOKEN: self.first_token_s, Path.PACE: self.token_s, Path.LENGTH: self.tokens}
        return {
            path: GuardrailSpec(guard.name, guard.event, guard.ratio, bounds.get(path))
            for path, guard in GUARDS.items()
            if path not in bounds or bounds[path] is not None
        }
