"""What Prometheus sees of the gateway. Labels come from the config and from fixed sets, never from a client."""

from __future__ import annotations

from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")


class Counters:
    """All series of one gateway; one object per registry."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._requests = Counter(
            "homeostat_gateway_requests_total",
            "Requests to an alias, by arm (none outside a rollout) and class of the status.",
            ("deployment", "arm", "status"),
            registry=registry,
        )
        self._duration = Histogram(
            "homeostat_gateway_request_seconds",
            "From arrival to the last byte of the reply.",
            ("deployment", "arm"),
            buckets=SECONDS,
            registry=registry,
        )
        self._first_token = Histogram(
            "homeostat_gateway_first_token_seconds",
            "From arrival to the first byte of a streamed reply.",
            ("deployment", "arm"),
            buckets=SECONDS,
            registry=registry,
        )
        self.faults = Counter(
            "homeostat_gateway_faults_total",
            "Failures of the gateway itself, by the place where they happened; the request passed untouched.",
            ("place",),
            registry=registry,
        )
        self.fallbacks = Counter(
            "homeostat_gateway_fallbacks_total",
            "Requests that were tried again elsewhere: a failing candidate on control, a missing champion on the base.",
            ("reason",),
            registry=registry,
        )
        self.demonstrations = Counter(
            "homeostat_gateway_demonstrations_total",
            "Requests to a version that shows examples: with them (inserted), or answered without (not_chat, "
            "asks_for_prompt, refused).",
            ("outcome",),
            registry=registry,
        )
        self.feedback = Counter(
            "homeostat_gateway_feedback_total", "Feedback by what became of it.", ("result",), registry=registry
        )
        self.dropped = Counter(
            "homeostat_gateway_dropped_total",
            "Events that did not reach the log, by reason.",
            ("reason",),
            registry=registry,
        )
        self.refused = Counter(
            "homeostat_gateway_refused_total", "Requests to what is not open to clients.", ("what",), registry=registry
        )
        self.epoch = Gauge("homeostat_gateway_route_epoch", "Epoch of the routes in force.", registry=registry)
        self.off = Gauge("homeostat_gateway_off", "1 while the off-switch is there.", registry=registry)
        self._by_arm: dict[tuple[str, str], tuple[Histogram, Histogram]] = {}
        self._by_status: dict[tuple[str, str, str], Counter] = {}

    def served(self, deployment: str, arm: str, status: int, seconds: float, first_token_s: float | None) -> None:
        """Count one finished request. ``status`` 499: the client left before the end."""
        klass = CLASSES[min(max(status // 100, 1), 5) - 1]
        key = (deployment, arm, klass)
        counter = self._by_status.get(key)
        if counter is None:
            counter = self._by_status[key] = self._requests.labels(*key)
        counter.inc()
        pair = self._by_arm.get(key[:2])
        if pair is None:
            pair = self._by_arm[key[:2]] = (self._duration.labels(*key[:2]), self._first_token.labels(*key[:2]))
        pair[0].observe(seconds)
        if first_token_s is not None:
            pair[1].observe(first_token_s)


_default: list[Counters] = []


def shared_counters() -> Counters:
    """The one set of series of this process's default registry, which the server's own ``/metrics`` shows."""
    if not _default:
        _default.append(Counters())
    return _default[0]
