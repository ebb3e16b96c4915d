"""Examples: an exchange joined with its feedback, as selection sees it.

The *claim* of an example is the text that its feedback argues for: the correction that a user wrote, or the reply that
a user confirmed. Selection decides which claims may be learnt from; it never looks at who would like to be believed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from streams.events import Exchange, Feedback, FeedbackKind, Message, Trust

TargetKind = Literal["correction", "confirmed"]

MAX_ANCHORS = 500
"""An anchor file is a reminder, not a training set: more than this and its owner is asked to choose."""

_STRONGEST_FIRST = (Trust.TOKEN, Trust.PRODUCER, Trust.BARE)

CONFIRMED_AT = 0.75
"""Reward in [0, 1] from which a reply counts as confirmed: an up-vote is 1, four of five stars are 0.75."""


class AnchorsInvalid(ValueError):
    """The operator's anchor file cannot be used; the message names the line and what it should have been."""


@dataclass(frozen=True, slots=True)
class Example:
    """One recorded exchange, with what its feedback claims."""

    exchange_id: str
    session: str
    identity: str
    """Whom caps count (a salted hash)."""
    tenant: str
    prompt: str
    """The newest user text: what similarity looks at."""
    messages: tuple[Message, ...]
    reply: str
    """What was served, by `version`."""
    target: str | None
    target_kind: TargetKind | None
    reward: float | None
    """In [0, 1]; None when there was no feedback."""
    reward_version: str
    version: str
    at: float
    """Wall-clock seconds at which the exchange arrived."""
    in_slice: bool
    """Whether the prompt belongs to the slice of traffic that raised the alarm."""
    trust: Trust | None = None
    """Trust class of the feedback that made the claim; None without feedback."""
    weight: float = 1.0
    """Training weight, in [0, 1]; the token check sets it by the trust class."""
    identity_exchanges: int = 0
    """Exchanges of this identity that the store knew before this one; those given to selection count too."""

    @property
    def confirmed(self) -> bool:
        """Someone said that this reply was right."""
        return self.target_kind == "confirmed"

    @property
    def contradicted(self) -> bool:
        """Someone said that this reply was wrong, so it is never replayed or expected."""
        return self.target_kind == "correction" or (self.reward is not None and self.reward < CONFIRMED_AT)


@dataclass(frozen=True, slots=True)
class Anchor:
    """One of the operator's own reference examples: a prompt and the reply that must stay right."""

    prompt: str
    reply: str

    @property
    def anchor_id(self) -> str:
        """`anchor-` and 16 hex digits of the content."""
        return "anchor-" + hashlib.sha256(f"{self.prompt}\0{self.reply}".encode()).hexdigest()[:16]


def unjudged(example: Example) -> Example:
    """The exchange as if nobody had said anything about it: only the champion's own reply counts."""
    return replace(example, target=None, target_kind=None, reward=None)


def normalise(text: str) -> str:
    """What two texts must share to be the same claim: words in order, without case, outer punctuation or spacing."""
    return " ".join(word.strip(".,;:!?\"'()[]") for word in text.casefold().split()).strip()


def example_of(
    exchange: Exchange,
    feedbacks: Sequence[Feedback],
    reward: float | None,
    reward_version: str,
    *,
    in_slice: bool,
    identity_exchanges: int = 0,
) -> Example:
    """The example that an exchange and its counted feedback make.

    A correction that says the same as the reply confirms it. A reward of at least `CONFIRMED_AT` without a correction
    makes the reply itself the target. The newest correction wins.
    """
    corrections = [f for f in feedbacks if f.kind is FeedbackKind.CORRECTION and f.correction and f.correction.strip()]
    newest = max(corrections, key=lambda f: (f.sent_at, f.feedback_id), default=None)
    target: str | None = None
    kind: TargetKind | None = None
    source = newest
    if newest is not None and newest.correction is not None:
        same = normalise(newest.correction) == normalise(exchange.completion)
        target, kind = (exchange.completion, "confirmed") if same else (newest.correction.strip(), "correction")
    elif reward is not None:
        source = min(feedbacks, key=lambda f: _STRONGEST_FIRST.index(f.trust), default=None)
        if reward >= CONFIRMED_AT and exchange.completion.strip():
            target, kind = exchange.completion, "confirmed"
    return Example(
        exchange_id=exchange.exchange_id,
        session=exchange.session,
        identity=exchange.identity,
        tenant=exchange.tenant,
        prompt=exchange.prompt,
        messages=exchange.messages,
        reply=exchange.completion,
        target=target,
        target_kind=kind,
        reward=reward,
        reward_version=reward_version,
        version=exchange.version,
        at=exchange.received_at,
        in_slice=in_slice,
        trust=source.trust if source is not None else None,
        identity_exchanges=identity_exchanges,
    )


def _anchor(line: str, number: int, path: Path) -> Anchor:
    expected = f'{path}:{number}: expected {{"prompt": text, "reply": text}}'
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise AnchorsInvalid(f"{expected}, got something that is not JSON ({error.msg})") from error
    if not isinstance(row, dict):
        raise AnchorsInvalid(f"{expected}, got {type(row).__name__}")
    fields = cast("dict[str, Any]", row)
    prompt, reply = fields.get("prompt"), fields.get("reply")
    if not (isinstance(prompt, str) and isinstance(reply, str) and prompt.strip() and reply.strip()):
        raise AnchorsInvalid(f"{expected} with two texts that are not empty, got the fields {sorted(fields)}")
    return Anchor(prompt, reply)


def read_anchors(path: Path, limit: int = MAX_ANCHORS) -> tuple[Anchor, ...]:
    """The operator's anchor file, JSON Lines of `{"prompt", "reply"}`, at most `limit` of them.

    Raises AnchorsInvalid naming the line, and OSError when the file cannot be read.
    """
    anchors: dict[str, Anchor] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                anchor = _anchor(line, number, path)
                anchors[anchor.anchor_id] = anchor
            if len(anchors) > limit:
                raise AnchorsInvalid(f"{path}: expected at most {limit} anchors, got more; keep the most telling ones")
    return tuple(anchors.values())
