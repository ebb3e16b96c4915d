"""What the monitors compare with, in words: a reference that is still learned, or one that has not seen a day."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from daemon.explain.explanation import span
from monitors.coverage import Coverage, less_than_a_day


def document(coverage: Coverage) -> dict[str, Any]:
    """JSON-able: the numbers, and what a person has to know beside them, if anything."""
    return asdict(coverage) | {"notes": list(notes(coverage))}


def notes(coverage: Coverage) -> tuple[str, ...]:
    """What is not watched yet, and what a short reference takes for drift."""
    said: list[str] = []
    if coverage.phase == "warming":
        # Without a span the time that has passed says nothing.
        wanted = f" over {span(coverage.covers_s)} of {span(coverage.wanted_s)}" if coverage.wanted_s else ""
        so_far = f"{coverage.prompts:,} of {coverage.prompts_wanted:,}"
        said.append(f"prompts are not watched yet: the reference has {so_far}{wanted}")
    elif coverage.short:
        said += [short(coverage.covers_s)]
    if not coverage.rewards_watched:
        wanted = f" and {span(coverage.wanted_s)}" if coverage.wanted_s else ""
        so_far = f"{coverage.rewards:,} of {coverage.rewards_wanted:,}"
        said.append(f"rewards are not watched yet: their usual level has {so_far}{wanted}")
    return tuple(said)


def short(covers_s: float) -> str:
    """Of a reference below a day."""
    return f"the reference covers {span(covers_s)}: a daily cycle can look like this; monitors.reference_span_s"


def of_alarm(evidence: dict[str, Any]) -> tuple[str, ...]:
    """The same of the reference that an alarm was raised against; nothing where it covers a day."""
    covers = evidence.get("reference_s")
    if isinstance(covers, (int, float)) and less_than_a_day(covers):
        return (short(covers),)
    return ()
