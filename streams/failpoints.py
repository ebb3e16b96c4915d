"""Named failpoints: places where a test may stop the process or make a step fail, switched on by the environment only.

``HOMEOSTAT_FAILPOINTS="name=action,name2=action"``; actions: ``kill`` (SIGKILL to this process), ``raise``,
``kill_once:FILE`` and ``raise_once:FILE`` (act only if FILE could be created, so that a restarted process passes).
Without the variable a failpoint costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "HOMEOSTAT_FAILPOINTS"


class FailpointError(RuntimeError):
    """Raised by a ``raise`` failpoint; never seen unless a test switched it on."""


def parse(text: str) -> dict[str, str]:
    """Name to action. Raises ValueError naming the entry that has no ``=``."""
    actions: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, separator, action = entry.partition("=")
        if not separator or not action:
            raise ValueError(f"{VARIABLE}: expected name=action, got {entry!r}")
        actions[name] = action
    return actions


_actions: Final = parse(os.environ.get(VARIABLE, ""))


def _first_time(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


def failpoint(name: str) -> None:
    """Do what the environment asks at this point, usually nothing. Raises FailpointError for ``raise`` actions."""
    action = _actions.get(name)
    if action is None:
        return
    verb, _, path = action.partition(":")
    if path and not _first_time(path):
        return
    if verb in ("kill", "kill_once"):
        os.kill(os.getpid(), signal.SIGKILL)
    raise FailpointError(f"failpoint {name}: {action}")
