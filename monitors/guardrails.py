"""Guardrails of a rollout: events that must not be the candidate's more often than chance.

Each guardrail counts the first event of its kind per session and per identity: errors clump in sticky arms, and one
broken client must not speak for all. The counted events go into ``owner.update``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from streams.events import Exchange

Event = Literal["error", "slow_first_token", "slow_reply"]


@dataclass(frozen=True, slots=True)
class GuardrailSpec:
    """One kind of event, its tolerated rate ratio and, for the slow ones, the fixed bound."""

    name: str
    event: Event
    ratio: float = 1.0
    """Largest tolerated rate ratio canary to control."""
    tau_s: float | None = None
    """Seconds to the first token, or seconds per output token; fixed before the canary. Needed by the slow events."""

    def __post_init__(self) -> None:
        if self.event != "error" and not (self.tau_s is not None and 0.0 < self.tau_s < math.inf):
            raise ValueError(f"guardrail {self.name}: {self.event} needs tau_s > 0 seconds, got {self.tau_s}")


def happened(spec: GuardrailSpec, exchange: Exchange) -> bool:
    """Whether the exchange is such an event.

    A failing candidate that was retried on the champion is an error although the client saw none.
    """
    match spec.event:
        case "error":
            return exchange.status >= 500 or any(a.status >= 500 for a in exchange.attempts)
        case "slow_first_token":
            return exchange.first_token_s is not None and exchange.first_token_s > (spec.tau_s or math.inf)
        case "slow_reply":
            pace = seconds_per_token(exchange)
            return pace is not None and pace > (spec.tau_s or math.inf)


def seconds_per_token(exchange: Exchange) -> float | None:
    """Seconds per output token after the first one (the whole reply where it was not streamed); None without counts.

    Kept apart from the time to the first token, else the length of the replies leaks into latency.
    """
    tokens = exchange.completion_tokens
    if not tokens or exchange.completed_at < exchange.dispatched_at:
        return None
    whole = exchange.completed_at - exchange.dispatched_at
    if exchange.first_token_s is None or tokens < 2:
        return whole / tokens
    return max(whole - exchange.first_token_s, 0.0) / (tokens - 1)


def tau_from(values: Sequence[float], least: int = 2000, quantile: float = 0.95) -> float | None:
    """A bound from the control's own past: its 95th percentile; None with fewer than ``least`` finite values."""
    finite = sorted(v for v in values if math.isfinite(v))
    if len(finite) < max(least, 1):
        return None
    return finite[min(int(quantile * len(finite)), len(finite) - 1)]


@dataclass(frozen=True, slots=True)
class FirstEvents:
    """Sessions and identities that have been counted; bounded, and full means that nothing more is counted."""

    sessions: frozenset[str] = frozenset()
    identities: frozenset[str] = frozenset()
    most: int = 10_000

    def admit(self, session: str, identity: str) -> tuple[FirstEvents, bool]:
        """The state after an event, and whether the event is the first of its session and identity."""
        known = session in self.sessions or identity in self.identities
        if known or len(self.sessions) >= self.most:
            return self, False
        return FirstEvents(self.sessions | {session}, self.identities | {identity}, self.most), True
