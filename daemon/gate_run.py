"""The gate's evidence: a candidate answers the hold-outs through one replica, by version name, beside the champion.

The champion's recorded replies are used where it was the champion that gave them; elsewhere it answers again.
Requests are tagged as internal (never captured as traffic), at most two at a time, and wait while the replica is
busy. Generation stops early once the candidate is surely worse on old traffic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from adapters.examples import normalise
from monitors.gate import Behaviour, Cause, GateConfig, GateEvidence, Nll, PairedCounts, ReplyMix, surely_below

CONCURRENCY: Final = 2
CHUNK: Final = 40
LEAST_TO_STOP: Final = 120
"""Old pairs before generation may stop early; a candidate that is surely worse by then needs no thousand."""
Kind = Literal["old", "new"]


class Replier(Protocol):
    """Answers as one version, greedily."""

    def reply(self, version: str, messages: Sequence[dict[str, str]]) -> str:
        """The reply text. Raises the driver's errors."""
        ...

    def wait_until_quiet(self) -> None:
        """Return when the replica has room for work that is not traffic, or after a bounded wait."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """One held-out prompt."""

    kind: Kind
    messages: tuple[dict[str, str], ...]
    expected: str
    recorded: str | None
    """The champion's recorded reply; None when somebody else served it."""


def read_holdout(path: Path, same: Collection[str]) -> list[Question]:
    """Hold-outs that the selection wrote beside the buffer, JSON Lines.

    ``same``: versions that answer as the champion does (the base and the identity version are one).
    """
    questions: list[Question] = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            questions.append(
                Question(
                    kind=row["side"],
                    messages=tuple(row["messages"]),
                    expected=row["expected"],
                    recorded=row["reply"] if row["version"] in same else None,
                )
            )
    return questions


def gather(
    questions: Sequence[Question],
    replier: Replier,
    champion: str,
    candidate: str,
    cause: Cause,
    nll: Nll | None,
    config: GateConfig,
    progress: Callable[[int, int], None],
    trained: bool = True,
) -> GateEvidence:
    """Ask, compare, count. ``trained``: whether the candidate has weights of its own. Raises what the replier raises:
    no evidence is not a verdict.
    """
    pairs: dict[Kind, list[tuple[bool, bool]]] = {"old": [], "new": []}
    replies: list[tuple[str, str]] = []
    done = 0

    def ask(question: Question) -> tuple[Question, str, str]:
        theirs = question.recorded
        if theirs is None:
            theirs = replier.reply(champion, question.messages)
        return question, theirs, replier.reply(candidate, question.messages)

    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="gate") as pool:
        for chunk in _interleaved(questions):
            replier.wait_until_quiet()
            for question, theirs, ours in pool.map(ask, chunk):
                expected = normalise(question.expected)
                pairs[question.kind].append((normalise(theirs) == expected, normalise(ours) == expected))
                if question.kind == "old":
                    replies.append((theirs, ours))
            done += len(chunk)
            progress(done, len(questions))
            old = PairedCounts.of(pairs["old"])
            if old.n >= LEAST_TO_STOP and surely_below(old, -config.old_margin, config.alpha):
                break
    return GateEvidence(
        cause=cause,
        old=PairedCounts.of(pairs["old"]),
        new=PairedCounts.of(pairs["new"]),
        behaviour=_behaviour(replies),
        nll=nll,
        trained=trained,
    )


def _interleaved(questions: Sequence[Question]) -> Iterator[list[Question]]:
    """Chunks, old traffic first: forgetting is what fails most, and it fails soonest."""
    ordered = [q for q in questions if q.kind == "old"] + [q for q in questions if q.kind == "new"]
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def _behaviour(replies: Sequence[tuple[str, str]]) -> Behaviour | None:
    if not replies:
        return None
    return Behaviour(
        champion=ReplyMix.of([theirs for theirs, _ in replies]), candidate=ReplyMix.of([ours for _, ours in replies])
    )
