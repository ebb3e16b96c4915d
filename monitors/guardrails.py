"""Guardrails of a rollout: events that must not be the candidate's more often than chance.

Errors and slow replies are what an operator would look at. Refusals, safety flags and the mix of behaviour (overlong
replies, broken form, agreement, questions back) are what a candidate may buy its rewards with. Each guardrail counts
the first event of its kind per session and per identity: errors clump in sticky arms, and one broken client must not
speak for all. The counted events go into ``owner.update``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from monitors.phrases import AGREEMENTS, REFUSALS, one_of
from streams.events import Exchange

Event = Literal[
    "error", "slow_first_token", "slow_reply", "flagged", "refusal", "overlong", "malformed", "agreement", "question"
]
BOUNDED: Final = frozenset({"slow_first_token", "slow_reply", "overlong"})
"""Events that are an exceedance of a bound fixed before the canary."""
LEAST_UNSTREAMED: Final = 32
"""Output tokens from which the pace of a reply that was not streamed is taken."""

_OPENING: Final = 200
"""Characters of a reply in which a refusal or an agreement is looked for: that is where they stand."""
QUESTION_MARKS: Final = ("?", "？", "؟")
"""A reply that ends with one of them asks back."""
_CLOSING: Final = " \t\r\n*_)]}\"'»”’🙂😊"
"""What may stand behind the mark that ends a reply."""
_REFUSAL: Final = one_of(REFUSALS.values())
_AGREEMENT: Final = one_of(AGREEMENTS.values())
_JSON: Final = re.compile(r'\{\s*["}]|\[\s*[\[{"]')


@dataclass(frozen=True, slots=True)
class GuardrailSpec:
    """One kind of event, its tolerated rate ratio and, for exceedances, the fixed bound."""

    name: str
    event: Event
    ratio: float = 1.0
    """Largest tolerated rate ratio canary to control."""
    bound: float | None = None
    """Seconds to the first token, seconds per output token, or output tokens; fixed before the canary."""

    def __post_init__(self) -> None:
        if self.event in BOUNDED and not (self.bound is not None and 0.0 < self.bound < math.inf):
            raise ValueError(f"guardrail {self.name}: {self.event} needs a bound above 0, got {self.bound}")


def happened(spec: GuardrailSpec, exchange: Exchange) -> bool:
    """Whether the exchange is such an event.

    A failing candidate that was retried on the champion is an error although the client saw none, and what the
    champion then said is not the candidate's behaviour. Refusals and agreement are told by how replies begin, in
    the languages of ``phrases``.
    """
    if spec.event == "error":
        return failed(exchange)
    if exchange.status >= 400 or failed(exchange):
        return False
    bound = math.inf if spec.bound is None else spec.bound
    match spec.event:
        case "slow_first_token":
            return exchange.first_token_s is not None and exchange.first_token_s > bound
        case "slow_reply":
            pace = seconds_per_token(exchange)
            return pace is not None and pace > bound
        case "overlong":
            return (exchange.completion_tokens or 0) > bound
        case "flagged":
            return exchange.finish_reason == "content_filter"
        case "refusal":
            return _REFUSAL.search(exchange.completion[:_OPENING].lower()) is not None
        case "agreement":
            return _AGREEMENT.match(exchange.completion[:_OPENING].lstrip().lower()) is not None
        case "question":
            return exchange.completion.rstrip(_CLOSING).endswith(QUESTION_MARKS)
        case "malformed":
            return malformed(exchange.completion)


def failed(exchange: Exchange) -> bool:
    """A 5xx of the assigned version; one that was hidden by a retry on the champion counts as well."""
    first = exchange.attempts[0].status if exchange.attempts else exchange.status
    return first >= 500 or exchange.status >= 500


def malformed(completion: str) -> bool:
    """An empty reply, JSON that does not parse, or a code fence that is never closed.

    >>> malformed("  "), malformed('{"a": 1'), malformed('{"a": 1}'), malformed("[1] says so")
    (True, True, False, False)
    """
    text = completion.strip()
    if not text or text.count("```") % 2:
        return True
    if _JSON.match(text) is None:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):  # a thousand opening brackets are no JSON that anybody meant
        return True
    return False


def seconds_per_token(exchange: Exchange) -> float | None:
    """Seconds per output token after the first one; None where it cannot be told.

    Kept apart from the time to the first token, else the length of the replies leaks into latency. A reply that was not
    streamed has only its whole time: it counts from ``LEAST_UNSTREAMED`` tokens on, where the first token is a small
    part of it; a shorter one would look slow because it is short.
    """
    tokens = exchange.completion_tokens
    if not tokens or exchange.completed_at < exchange.dispatched_at:
        return None
    whole = exchange.completed_at - exchange.dispatched_at
    if exchange.first_token_s is None:
        return whole / tokens if tokens >= LEAST_UNSTREAMED else None
    return max(whole - exchange.first_token_s, 0.0) / (tokens - 1) if tokens > 1 else None


def tau_from(values: Sequence[float], least: int = 2000, quantile: float = 0.95) -> float | None:
    """A bound from the control's own past: its 95th percentile; None with fewer than ``least`` finite values."""
    finite = sorted(v for v in values if math.isfinite(v))
    if len(finite) < max(least, 1):
        return None
    return finite[min(int(quantile * len(finite)), len(finite) - 1)]
