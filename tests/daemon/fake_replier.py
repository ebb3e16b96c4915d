"""A candidate behind the port of soak, shadow and gate."""

from __future__ import annotations

from collections.abc import Callable

from daemon.mirrored import Messages, Request
from deploy.driver_errors import DriverError
from monitors.metrics import Metrics
from streams.events import Sampling

Say = Callable[[str], str]


class FakeReplier:
    """Answers by a function of the last message, fails where it is told to, and remembers what it was asked."""

    def __init__(self, say: Say = lambda _text: "fine", error: DriverError | None = None) -> None:
        self.say, self.error = say, error
        self.fails_on: frozenset[str] = frozenset()
        """Messages that ``error`` is for; none: it is for all."""
        self.requests: list[Request] = []
        self.versions: set[str] = set()
        self.finite: set[bool] = set()
        self.quiet = 0

    @property
    def asked(self) -> list[str]:
        """The last message of each request."""
        return [one.messages[-1]["content"] for one in self.requests]

    def reply(
        self,
        version: str,
        messages: Messages,
        max_tokens: int = 64,
        sampling: Sampling | None = None,
        *,
        must_be_finite: bool = False,
    ) -> str:
        text = messages[-1]["content"]
        self.requests.append(Request(messages, max_tokens, sampling))
        self.versions.add(version)
        self.finite.add(must_be_finite)
        if self.error is not None and text in (self.fails_on or {text}):
            raise self.error
        return self.say(text)

    def wait_until_quiet(self) -> None:
        self.quiet += 1


def mirrored(metrics: Metrics, purpose: str, outcome: str) -> float:
    """How many requests of a purpose came out so."""
    labels = {"purpose": purpose, "outcome": outcome}
    return metrics.registry.get_sample_value("homeostat_mirrored_requests_total", labels) or 0.0
