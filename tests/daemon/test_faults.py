"""Errors of every room have one meaning for a shell; bugs of ours have none."""

from __future__ import annotations

import pytest

from daemon.fault_map import as_fault
from daemon.faults import ConfigError, Fault, MachineFault, PeerRefused, Refused, Unreachable
from daemon.store import StoreUnavailable
from deploy import driver_errors
from streams.errors import LogFileUnusable, LogMisconfigured, LogUnavailable, TopicMissing


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (ConfigError("x"), ConfigError, 2),
        (LogMisconfigured("x"), ConfigError, 2),
        (LogUnavailable("k:1", "p", "r"), Unreachable, 3),
        (TopicMissing("k:1", "p", "r"), Unreachable, 3),
        (LogFileUnusable("/log.db", "p", "r"), MachineFault, 1),
        (driver_errors.Unreachable("x"), Unreachable, 3),
        (driver_errors.LoraDisabled("start it with --enable-lora"), PeerRefused, 4),
        (driver_errors.RankTooLarge("x"), PeerRefused, 4),
        (StoreUnavailable("x"), MachineFault, 1),
        (PermissionError(13, "Permission denied", "/f"), MachineFault, 1),
    ],
)
def test_each_error_has_its_exit_code_and_keeps_its_message(error: Exception, kind: type[Fault], code: int) -> None:
    fault = as_fault(error)
    assert fault is not None
    assert (type(fault), fault.exit_code) == (kind, code)
    assert str(error) in str(fault)


def test_a_servers_refusal_keeps_its_named_reason() -> None:
    fault = as_fault(driver_errors.LoraDisabled("start it with --enable-lora"))
    assert isinstance(fault, Refused) and fault.reason == "lora_disabled"


def test_a_bug_is_no_fault() -> None:
    assert as_fault(KeyError("x")) is None
