"""The one place where a test waits: poll a condition until it holds or a deadline passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.01
"""Seconds between two looks: short beside every deadline, long beside the cost of a look."""


def wait_until(predicate: Callable[[], T], deadline_s: float, what: str) -> T:
    """The first truthy result of ``predicate``; raises AssertionError naming ``what`` after ``deadline_s`` seconds.

    The condition is looked at once more after the deadline, so that a slow machine cannot fail a condition that holds.
    """
    until = time.monotonic() + deadline_s
    while True:
        last_look = time.monotonic() >= until
        result = predicate()
        if result:
            return result
        if last_look:
            raise AssertionError(f"waited {deadline_s:g} s for {what}; the last look gave {result!r}")
        time.sleep(POLL_S)


async def wait_until_async(predicate: Callable[[], Awaitable[T]], deadline_s: float, what: str) -> T:
    """``wait_until`` for an event loop: awaits the predicate and yields to the loop between two looks."""
    until = time.monotonic() + deadline_s
    while True:
        last_look = time.monotonic() >= until
        result = await predicate()
        if result:
            return result
        if last_look:
            raise AssertionError(f"waited {deadline_s:g} s for {what}; the last look gave {result!r}")
        await asyncio.sleep(POLL_S)
