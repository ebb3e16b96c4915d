"""Recorded requests that are sent again to a candidate, for soak and shadow, and the port that answers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from deploy.driver_errors import ControlRefused, DriverError, UnknownModel, Unreachable
from streams.events import SYSTEM_ROLES, Exchange, Sampling

AWAY: Final = (Unreachable, UnknownModel, ControlRefused)
"""Errors that say nothing about a request: the replica was restarted, or has not the candidate again yet."""
Messages = Sequence[dict[str, str]]
_SPOKEN: Final = SYSTEM_ROLES | {"user", "assistant"}
"""Roles whose turns are text alone."""


class Replier(Protocol):
    """Answers as one version."""

    def reply(
        self,
        version: str,
        messages: Messages,
        max_tokens: int = 64,
        sampling: Sampling | None = None,
        *,
        must_be_finite: bool = False,
    ) -> str:
        """The reply text, greedy without ``sampling``. Raises the driver's errors."""
        ...

    def wait_until_quiet(self) -> None:
        """Return when the replica has room for work that is not traffic, or after a bounded wait."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """What a candidate is asked."""

    messages: Messages
    max_tokens: int
    """That the reply may take; the sampling may say fewer."""
    sampling: Sampling | None = None
    """As the client asked the champion; None, and greedy, where that is not recorded."""

    @property
    def drawn(self) -> bool:
        """Whether another reply may come when it is asked again."""
        return self.sampling is not None and self.sampling.temperature != 0.0


def again(exchange: Exchange, max_tokens: int) -> Request:
    """The request of an exchange, with a reply of ``max_tokens`` at most."""
    return Request([m.model_dump() for m in exchange.messages], max_tokens, exchange.sampling)


def answered(exchange: Exchange) -> bool:
    """Whether an exchange can be sent again: it was served, its text is still here, and no turn of it is a tool's: such
    a turn names the call that it answers, which is not kept, and a server refuses it without.
    """
    spoken = bool(exchange.messages) and all(m.role in _SPOKEN for m in exchange.messages)
    return exchange.status < 400 and spoken and bool(exchange.completion.strip())


def fault_of(error: DriverError) -> str:
    """The outcome of a request without a reply, as it is counted."""
    return "away" if isinstance(error, AWAY) else "failed"
