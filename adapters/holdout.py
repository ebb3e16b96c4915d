"""Hold-outs: questions that only measure. Whose they are is settled before anything is selected.

An identity is held out by a hash of its name that never changes: no person's words are on both sides, in this cycle or
a later one. Within the held identities the newest exchanges come first, and the labels pass the same cap and agreement
as what is learnt from, among the held identities alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.decisions import Book, Role
from adapters.examples import Example, unjudged
from adapters.stages.agreement import Agreement
from adapters.stages.dedupe import Dedupe
from adapters.stages.doubt import Doubt
from adapters.stages.identity_age import IdentityAge
from adapters.stages.identity_cap import IdentityCap
from adapters.stages.stage import Context, Reason, lot, newest_first
from adapters.stages.token_check import TokenCheck
from streams.events import Message

_FOR_GOOD = 0
"""Seed of the identity split: another one in another cycle would let a trained-on person measure."""


@dataclass(frozen=True, slots=True)
class Question:
    """One hold-out question: what was asked, what is expected, what was served and by which version."""

    exchange_id: str
    identity: str
    prompt: str
    messages: tuple[Message, ...]
    expected: str
    reply: str
    version: str
    labelled: bool
    """True when a user said what is right; False where an uncontradicted reply stands for it."""


def is_held(identity: str, share: float) -> bool:
    """Whether this identity's exchanges only measure. The same answer for ever, for a given share."""
    return lot(_FOR_GOOD, "holdout", identity) < share


def agreed_claims(claims: Sequence[Example], context: Context, book: Book) -> list[Example]:
    """The trustworthy claims among those of the held identities: aged, not repeated, capped and agreed upon."""
    cap = IdentityCap(context.policy.holdout_identity_cap)
    return book.through([TokenCheck(), IdentityAge(), Dedupe(), cap, Agreement()], claims, context)


def _question(example: Example) -> Question:
    return Question(
        exchange_id=example.exchange_id,
        identity=example.identity,
        prompt=example.prompt,
        messages=example.messages,
        expected=example.target or example.reply,
        reply=example.reply,
        version=example.version,
        labelled=example.target is not None,
    )


def _fill(
    candidates: Sequence[Example], order: Sequence[int], size: int, cap: int, role: Role, book: Book
) -> list[Example]:
    """The first candidates in `order`, up to `size` in all and `cap` an identity; all are written into the book."""
    taken: dict[str, int] = {}
    chosen: list[Example] = []
    for example in (candidates[i] for i in order):
        reason = Reason.SELECTED
        if taken.get(example.identity, 0) >= cap:
            reason = Reason.IDENTITY_CAP
        elif len(chosen) >= size:
            reason = Reason.HOLDOUT_FULL
        else:
            taken[example.identity] = taken.get(example.identity, 0) + 1
            chosen.append(example)
        book.put(example.exchange_id, role if reason is Reason.SELECTED else "out", "hold_out", reason)
    return chosen


def suspects(traffic: Sequence[Example], agreed: Sequence[Example]) -> frozenset[str]:
    """Exchanges that tell what has changed: those in the slice, and those soundly corrected."""
    in_slice = {e.exchange_id for e in traffic if e.in_slice}
    return frozenset(in_slice | {e.exchange_id for e in agreed if e.target_kind == "correction"})


def hold_out(
    held: Sequence[Example], context: Context, book: Book
) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """(old, new) questions from the exchanges of the held identities; everything is written into the book.

    New: in the slice, with an agreed claim. Old: outside it, confirmed replies first, then agreed corrections, then
    uncontradicted replies where the traffic around them is not in doubt, the champion's own before those of others; the
    newest first each time.
    """
    policy = context.policy
    agreed = agreed_claims([e for e in held if e.target is not None], context, book)
    new = [e for e in agreed if context.is_new(e)]
    sound = [e for e in agreed if not context.is_new(e)]
    judged = {e.exchange_id for e in agreed}
    silent = [unjudged(e) for e in held if not (e.in_slice or e.contradicted or e.exchange_id in judged)]
    silent = book.through([Doubt(held, suspects(held, agreed))], silent, context)
    old = [*sound, *silent]
    rank = [0 if e.confirmed else 1 if e.target is not None else 2 + (not context.is_own(e)) for e in old]
    by_rank = sorted(newest_first(old), key=lambda i: rank[i])
    cap = policy.holdout_identity_cap
    chosen_old = _fill(old, by_rank, policy.holdout_old_max, cap, "holdout_old", book)
    chosen_new = _fill(new, newest_first(new), policy.holdout_new_max, cap, "holdout_new", book)
    for e in held:
        if e.target is None and (e.contradicted or e.in_slice):
            reason = Reason.CONTRADICTED if e.contradicted else Reason.IN_SLICE_UNLABELLED
            book.put(e.exchange_id, "out", "hold_out", reason)
    return tuple(map(_question, chosen_old)), tuple(map(_question, chosen_new))
