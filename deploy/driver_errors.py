"""Why an inference server did not do what was asked; each has a named reason and says what to do."""

from __future__ import annotations


class DriverError(Exception):
    """A peer's fault (or the way to it). ``reason`` is a name for ledgers and metrics."""

    reason = "driver_error"


class Unreachable(DriverError):
    """No answer in time."""

    reason = "unreachable"


class ServerFailed(DriverError):
    """It answered with a 5xx, or with something that is not its wire format."""

    reason = "server_failed"


class ControlRefused(DriverError):
    """The control token is missing or wrong, or the gateway is not loaded."""

    reason = "control_refused"


class LoraDisabled(DriverError):
    """The server was started without run-time LoRA."""

    reason = "lora_disabled"


class RankTooLarge(DriverError):
    """The adapter's rank does not fit into the server's slots."""

    reason = "rank_too_large"


class LoadRejected(DriverError):
    """The server looked at the adapter and refused it."""

    reason = "load_rejected"


class UnknownModel(DriverError):
    """The server has no such version."""

    reason = "unknown_model"


class RouteRefused(DriverError):
    """A gateway holds a newer route."""

    reason = "route_refused"
