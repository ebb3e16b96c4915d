"""Why an inference server did not do what was asked; each has a named reason and says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class DriverError(Exception):
    """A peer's fault (or the way to it). ``reason`` is a name for ledgers and metrics."""

    reason = "driver_error"


class Unreachable(DriverError):
    """No answer in time."""

    reason = "unreachable"


class ServerFailed(DriverError):
    """It answered with a 5xx, or with something that is not its wire format."""

    reason = "server_failed"


class NotFinite(DriverError):
    """A reply's log-probabilities are not numbers: the engine computes with NaN or infinity under this version."""

    reason = "not_finite"


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


class UnknownVersion(DriverError):
    """The host's artifacts folder has no such version: the caller's fault, or the artifacts did not arrive."""

    reason = "unknown_version"


class FilesRejected(DriverError):
    """The version's files are not what its manifest says, or do not fit the base: nothing was loaded."""

    reason = "files_rejected"


class StaleRoute(DriverError):
    """A writer with an older epoch than the host holds: it has been overtaken."""

    reason = "stale_route"


class AgentRefused(DriverError):
    """The agent does not accept our token."""

    reason = "agent_refused"


REASONS: Final[Mapping[str, type[DriverError]]] = MappingProxyType(
    {kind.reason: kind for kind in (DriverError, *DriverError.__subclasses__())}
)
"""Every kind by its reason: how an error keeps its kind on the way from an agent on another host."""
