"""What can go wrong between us and a log, typed by whose fault it is. Bad events raise nothing: they become dead
letters."""

from __future__ import annotations


class StreamsError(Exception):
    """Base of everything this room raises."""


class LogUnavailable(StreamsError):
    """The peer's fault: the log cannot be reached or refuses us. ``peer`` names it, the message says what to do."""

    def __init__(self, peer: str, problem: str, remedy: str) -> None:
        super().__init__(f"log {peer}: {problem}. {remedy}")
        self.peer = peer
        self.problem = problem
        self.remedy = remedy


class TopicMissing(LogUnavailable):
    """A topic is not there, and reading or writing never creates one: that is an act of its own (``ensure_topics``)."""


class LogFileUnusable(LogUnavailable):
    """This machine's fault: the SQLite file cannot be opened, read or written."""


class LogMisconfigured(StreamsError):
    """The user's fault: the ``log`` section cannot be used as it is written (unreadable password file, no such
    mechanism)."""
