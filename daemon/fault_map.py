"""Which fault an error of another room is. Apart from ``faults``: the command line need not load those rooms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from daemon.faults import ConfigError, Fault, MachineFault, PeerRefused, Unreachable
from daemon.store.open import StoreError
from deploy import driver_errors
from monitors.encoders import EncoderUnusable
from streams.errors import LogFileUnusable, LogMisconfigured, LogUnavailable

# Errors of other rooms that have a meaning for the shell; all others are ours and show their traceback in the log.
_KNOWN: Final[tuple[tuple[type[Exception], Callable[[str], Fault]], ...]] = (
    (LogMisconfigured, ConfigError),
    (LogFileUnusable, MachineFault),
    (EncoderUnusable, ConfigError),
    (LogUnavailable, Unreachable),
    (StoreError, MachineFault),
    (driver_errors.Unreachable, Unreachable),
    (PermissionError, lambda text: MachineFault(f"no permission: {text}. Give this user access or change `home`.")),
)


def as_fault(error: BaseException) -> Fault | None:
    """The fault that an error of any room is, or None when it is a bug of ours."""
    if isinstance(error, Fault):
        return error
    for kind, make in _KNOWN:
        if isinstance(error, kind):
            return make(str(error))
    if isinstance(error, driver_errors.DriverError):
        return PeerRefused(error.reason, str(error))
    return None
