"""Errors by whose fault they are, and the exit code that each has for a person's shell.

0 done    1 failed (ours, or this machine's)    2 usage (the command line or the config)
3 unreachable (a peer does not answer)          4 refused (a peer, or a rule, says no)
"""

from __future__ import annotations

from typing import Final, Literal, get_args

Refusal = Literal[
    "reason_needed",
    "unknown_version",
    "denied_version",
    "not_denied",
    "not_now",
    "nothing_to_abort",
    "no_active_rollout",
    "wrong_phase",
    "mode_observe",
    "nothing_to_roll_back",
    "no_rollback_target",
    "target_not_resident",
    "suspended_examples",
    "nothing_to_compare",
    "unknown_override",
    "bad_override",
    "config_exists",
]
"""Rules of ours that say no."""
REFUSALS: Final[frozenset[str]] = frozenset(get_args(Refusal))
"""The same as a set; docs/reasons.md says what each means."""


class Fault(Exception):
    """Base. The message says what was expected, what came and what to do; it needs no traceback beside it."""

    exit_code = 1


class MachineFault(Fault):
    """This machine refuses: a port is taken, a folder may not be written, a file is missing."""


class ConfigError(Fault):
    """The user's config or command line cannot be used as it is."""

    exit_code = 2


class Unreachable(Fault):
    """A peer does not answer."""

    exit_code = 3


class Refused(Fault):
    """A rule says no; ``reason`` names which, in snake case."""

    exit_code = 4

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason: str = reason


class PeerRefused(Refused):
    """A peer says no, for a reason of its own."""

    def __init__(self, reason: str, message: str) -> None:
        Fault.__init__(self, message)
        self.reason = reason
