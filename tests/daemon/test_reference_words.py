"""What is not watched yet, and what a short reference takes for drift, in words for status and why."""

from __future__ import annotations

from daemon.cli import output
from daemon.explain.reference_words import document, notes
from monitors.coverage import Coverage

DAY = 86_400.0


def test_a_reference_of_a_day_needs_no_words() -> None:
    assert notes(Coverage("watching", 1500, 1500, DAY, DAY, 300, 300, True)) == ()
    assert "monitors    watching\n" in output.status({"monitors": document(_at("watching", DAY))})


def test_a_shorter_one_is_said_where_people_look() -> None:
    said = "the reference covers 3 h: a daily cycle can look like this; monitors.reference_span_s"
    seen = _at("suspected", 3.0 * 3600.0)
    assert notes(seen) == (said,)
    assert f"monitors    suspected; {said}\n" in output.status({"monitors": document(seen)})


def test_while_it_is_learned_it_is_said_what_is_not_watched() -> None:
    prompts, rewards = notes(Coverage("warming", 640, 1500, 7200.0, DAY, 120, 300, False))
    assert prompts == "prompts are not watched yet: the reference has 640 of 1,500 over 2 h of 24 h"
    assert rewards == "rewards are not watched yet: their usual level has 120 of 300 and 24 h"
    (prompts,) = notes(Coverage("warming", 640, 1500, 7200.0, 0.0, 300, 300, True))
    assert prompts == "prompts are not watched yet: the reference has 640 of 1,500"


def _at(phase: str, covers_s: float) -> Coverage:
    return Coverage(phase, 1500, 1500, covers_s, DAY, 300, 300, True)  # pyright: ignore[reportArgumentType]
