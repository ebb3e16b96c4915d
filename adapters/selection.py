"""Selection: from recorded exchanges to a buffer, pure, with the reason of every exchange that is in or out.

recorded exchanges ── usable? ── held identities ── hold-outs (old, new): the gate measures with them
                             └── the others ──┬── claims ── stages ── new: what is learnt
                                              └── the champion's own replies ── stages ── replay: what is kept
the operator's anchors ─────────────────────────────────────────────────────── anchors
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel

from adapters.decisions import Book, Decision
from adapters.examples import Anchor, Example, normalise, unjudged
from adapters.holdout import Question, hold_out, is_held, suspects
from adapters.policy import SelectionPolicy
from adapters.stages.agreement import Agreement
from adapters.stages.class_balance import ClassBalance
from adapters.stages.cluster_cap import ClusterCap
from adapters.stages.dedupe import Dedupe
from adapters.stages.doubt import Doubt
from adapters.stages.identity_age import IdentityAge
from adapters.stages.identity_cap import IdentityCap
from adapters.stages.replay_share import ReplayShare
from adapters.stages.stage import Context, Reason, Stage
from adapters.stages.token_check import TokenCheck
from streams.events import Message

__all__ = ["BALANCED", "BELIEVED", "Selection", "SelectionPolicy", "select"]


@dataclass(frozen=True, slots=True)
class Selection:
    """A buffer and its hold-outs."""

    new: tuple[Example, ...]
    """What is learnt: `target` is the right reply, `weight` scales its loss."""
    replay: tuple[Example, ...]
    """What is kept: `reply` is the champion's own."""
    anchors: tuple[Anchor, ...]
    holdout_old: tuple[Question, ...]
    holdout_new: tuple[Question, ...]
    decisions: tuple[Decision, ...]
    """One for every exchange given, by id."""
    counts: dict[str, int]
    """`role/stage/reason` to exchanges."""
    digest: str
    """Hex SHA-256 of everything above but the counts; names the buffer's folder."""

    def shortfall(self, policy: SelectionPolicy) -> str | None:
        """Why there is too little to train on, as a named reason; None when there is enough."""
        wanted = policy.min_new if policy.enabled else 1
        return "too_few_new" if len(self.new) < wanted else None


BELIEVED: tuple[Stage, ...] = (TokenCheck(), IdentityAge(), Dedupe(), IdentityCap(), Agreement())
"""What a claim must pass to be believed, in this order: the cap before agreement, or a flood agrees with itself."""

BALANCED: tuple[Stage, ...] = (ClusterCap(), ClassBalance())
"""What believed claims pass to be learnt from."""


def select(
    examples: Sequence[Example],
    policy: SelectionPolicy,
    seed: int,
    *,
    tenant: str | None = None,
    anchors: Sequence[Anchor] = (),
    excluded: Collection[str] = (),
    own: frozenset[str] | None = None,
) -> Selection:
    """The buffer and the hold-outs that these recorded exchanges give. Pure; the order of `examples` does not matter.

    Where all are in the slice, nothing tells new traffic from old: then agreed corrections are new, the rest is old.
    `own` names the versions whose replies are the champion's (None: all); what others said is replayed only where users
    confirmed it, and expected last of all.
    `tenant` refuses exchanges of any other; `excluded` are exchange ids that must not be used (suspended or forgotten).
    With `policy.enabled` False every claim is taken as it came, whoever made it, but for the gate's own questions, and
    nothing is replayed; the hold-outs stay what they are, because the gate must not change with what it judges.
    """
    book = Book()
    usable = _usable(sorted(examples, key=lambda e: (e.at, e.exchange_id)), tenant, frozenset(excluded), book)
    sliced = any(not e.in_slice for e in usable)
    if not sliced:
        usable = [replace(e, in_slice=False) for e in usable]
    context = Context(policy, seed, _exchanges_of_identities(usable), sliced, own)
    held = [e for e in usable if is_held(e.identity, policy.holdout_share)]
    mine = [e for e in usable if not is_held(e.identity, policy.holdout_share)]
    old, new_questions = hold_out(held, context, book)
    # People ask the same in the same words. What forgetting is measured with must not have been rehearsed.
    asked = frozenset(normalise(q.prompt) for q in old)
    if policy.enabled:
        learnt = _learn(mine, context, book)
        new, replay = learnt.new, _replay(mine, learnt, context, book, asked)
        kept_anchors = tuple(sorted(anchors, key=lambda a: a.anchor_id))
    else:
        asks = {q.exchange_id for q in (*old, *new_questions)}
        new, replay, kept_anchors = _everything([e for e in usable if e.exchange_id not in asks], book), [], ()
    chosen = (tuple(new), tuple(replay), kept_anchors, old, new_questions)
    return Selection(*chosen, book.decisions(), book.counts(), digest_of(*chosen, policy, seed))


def _usable(examples: Sequence[Example], tenant: str | None, excluded: frozenset[str], book: Book) -> list[Example]:
    seen: set[str] = set()
    usable: list[Example] = []
    for e in examples:
        reason = None
        if e.exchange_id in seen:
            continue
        seen.add(e.exchange_id)
        if tenant is not None and e.tenant != tenant:
            reason = Reason.WRONG_TENANT
        elif e.exchange_id in excluded:
            reason = Reason.EXCLUDED
        elif not e.prompt.strip() or (not e.reply.strip() and e.target is None):
            reason = Reason.EMPTY
        if reason is None:
            usable.append(e)
        else:
            book.put(e.exchange_id, "out", "usable", reason)
    return usable


def _exchanges_of_identities(examples: Sequence[Example]) -> dict[str, int]:
    here = Counter(e.identity for e in examples)
    known: dict[str, int] = {}
    for e in examples:
        known[e.identity] = max(known.get(e.identity, 0), e.identity_exchanges)
    return {identity: max(count, known[identity]) for identity, count in here.items()}


@dataclass(frozen=True, slots=True)
class _Learnt:
    new: list[Example]
    agreed: frozenset[str]
    """Exchange ids whose claim others share."""
    suspects: frozenset[str]
    """Exchange ids in whose neighbourhood an unjudged reply is in doubt."""


def _learn(mine: Sequence[Example], context: Context, book: Book) -> _Learnt:
    """Agreed corrections wherever they are; confirmed replies only in the slice, elsewhere they are replayed."""
    agreed = book.through(BELIEVED, [e for e in mine if e.target is not None], context)
    learnable = [e for e in agreed if e.in_slice or e.target_kind == "correction"]
    new: list[Example] = []
    for e in book.through(BALANCED, learnable, context):
        new.append(e)
        book.put(e.exchange_id, "new", "selected", Reason.SELECTED)
    return _Learnt(new, frozenset(e.exchange_id for e in agreed), suspects(mine, agreed))


def _replay(
    mine: Sequence[Example], learnt: _Learnt, context: Context, book: Book, asked: frozenset[str]
) -> list[Example]:
    """Recorded exchanges whose reply is the champion's own and stands uncontradicted, far from what has changed."""
    candidates: list[Example] = []
    for e in mine:
        if e.contradicted or e.in_slice:
            if e.target is None:
                reason = Reason.CONTRADICTED if e.contradicted else Reason.IN_SLICE_UNLABELLED
                book.put(e.exchange_id, "out", "replay", reason)
        elif normalise(e.prompt) in asked:
            book.put(e.exchange_id, "out", "hold_out", Reason.IN_HOLDOUT)
        elif e.exchange_id in learnt.agreed:
            candidates.append(e)
        elif context.is_own(e):
            candidates.append(unjudged(e))
        else:
            book.put(e.exchange_id, "out", "replay", Reason.OTHER_VERSION)
    cap = IdentityCap(context.policy.replay_identity_cap)
    stages = (cap, Doubt(mine, learnt.suspects), ReplayShare(len(learnt.new)))
    left = book.through(stages, candidates, context)
    for e in left:
        book.put(e.exchange_id, "replay", "selected", Reason.SELECTED)
    return [unjudged(e) for e in left]


def _everything(examples: Sequence[Example], book: Book) -> list[Example]:
    """Selection off: every claim, as it came."""
    for e in examples:
        book.put(e.exchange_id, "new" if e.target is not None else "out", "selection_off", Reason.SELECTION_OFF)
    return [e for e in examples if e.target is not None]


def digest_of(
    new: Sequence[Example],
    replay: Sequence[Example],
    anchors: Sequence[Anchor],
    old_questions: Sequence[Question],
    new_questions: Sequence[Question],
    policy: BaseModel,
    seed: int,
) -> str:
    """Hex SHA-256 of what a selection chose, and by which settings."""
    rows = [
        [[e.exchange_id, e.target, e.weight, _texts(e.messages)] for e in new],
        [[e.exchange_id, e.reply, _texts(e.messages)] for e in replay],
        [[a.prompt, a.reply] for a in anchors],
        [[[q.exchange_id, q.expected, _texts(q.messages)] for q in qs] for qs in (old_questions, new_questions)],
        policy.model_dump(mode="json"),
        seed,
    ]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":"), sort_keys=True).encode()).hexdigest()


def _texts(messages: Sequence[Message]) -> list[list[str]]:
    return [[m.role, m.content] for m in messages]
