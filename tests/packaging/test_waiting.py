"""The one place where tests wait, tested."""

from __future__ import annotations

import pytest

from tests.waiting import wait_until, wait_until_async


def test_returns_the_first_truthy_result() -> None:
    answers = iter([0, 0, 7, 8])
    assert wait_until(lambda: next(answers), 5.0, "a number") == 7


def test_names_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match=r"waited 0.02 s for the broker; the last look gave None"):
        wait_until(lambda: None, 0.02, "the broker")


def test_looks_once_even_with_no_time_left() -> None:
    assert wait_until(lambda: "there", 0.0, "what is there")


def test_async_form_awaits_the_predicate() -> None:
    import asyncio

    answers = iter([None, "ready"])

    async def ask() -> str | None:
        return next(answers)

    assert asyncio.run(wait_until_async(ask, 5.0, "an answer")) == "ready"
