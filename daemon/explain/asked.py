"""What was asked of people for an alarm or a cycle, in words."""

from __future__ import annotations

from datetime import datetime
from types import MappingProxyType
from typing import Final

from daemon.explain.explanation import Remedy
from daemon.label_requests import LabelRequest, load
from daemon.store import Read

LIST: Final = Remedy("homeostat labels", "the exchanges that it would help most to rate")
_FOR: Final = MappingProxyType(
    {
        "training": "labels (corrections or confirmations) to train on",
        "rollout": "rated sessions for a rollout's verdict before its deadline",
        "cause": "ratings that tell the cause of the drift",
    }
)
_ENDS: Final = MappingProxyType(
    {
        "labels_satisfied": "and they came",
        "labels_timed_out": "and {got} came before the deadline",
        "labels_superseded": "and {got} came before a promotion or a newer request made it moot",
        "labels_enough": "there were enough",
    }
)


def notes(read: Read, subject: str) -> tuple[str, ...]:
    """One sentence for each request about an alarm or a cycle."""
    return tuple(_sentence(r) for r in _about(read, subject))


def remedies(read: Read, subject: str) -> tuple[Remedy, ...]:
    """Where to look while a request is open."""
    return (LIST,) if any(r.open for r in _about(read, subject)) else ()


def _about(read: Read, subject: str) -> list[LabelRequest]:
    return [r for r in load(read) if subject in (r.alarm, r.cycle)]


def _sentence(request: LabelRequest) -> str:
    asked = datetime.fromtimestamp(request.asked_at).strftime("%m-%d %H:%M")
    end = _ENDS.get(request.end, "{got} came so far").format(got=request.got)
    return f"It asked for {request.needed} {_FOR[request.verdict]} at {asked} ({request.id}): {end}."
