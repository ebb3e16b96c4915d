"""JSON lines on standard error, one event each, with the rollout's id; never what a person wrote."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal

import structlog

Level = Literal["debug", "info", "warning", "error"]
WITHHELD: Final = frozenset(
    {"messages", "prompt", "completion", "correction", "comment", "text", "token", "authorization", "payload", "body"}
)
"""Keys that could carry text of users or secrets: their values never reach a line, at any level."""


def withhold(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace values that may be text of users by their length."""
    for key in WITHHELD & event.keys():
        value = event[key]
        event[key] = f"withheld ({len(value)} characters)" if isinstance(value, str) else "withheld"
    return event


class _Stderr(logging.Handler):
    """Writes to whatever standard error is now, as the other half does."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        print(self.format(record), file=sys.stderr, flush=True)


def configure(level: Level = "info", as_json: bool = True) -> None:
    """Set up logging of the process; idempotent. ``as_json=False`` gives lines for a person at a terminal."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        withhold,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = _Stderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    # These tell of every request and every run of a job; what matters of them is in our own lines.
    for noisy, least in (
        ("httpx", "WARNING"),
        ("uvicorn.access", "WARNING"),
        ("kafka", "WARNING"),
        ("apscheduler", "ERROR"),
    ):
        logging.getLogger(noisy).setLevel(least)


def get(name: str) -> Any:
    """A logger whose lines carry ``room=name``; bind ``rollout`` with ``bind_rollout``."""
    return structlog.get_logger(room=name)


def bind_rollout(rollout: str | None) -> None:
    """Put the active rollout's id on all later lines of this thread or task; None takes it off."""
    if rollout is None:
        structlog.contextvars.unbind_contextvars("rollout")
    else:
        structlog.contextvars.bind_contextvars(rollout=rollout)
