"""From labelled rows to desks: which labels belong together, which desks are new, what goes to base, live and test."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from daemon.demo.world.corpus_files import Row, Rows
from daemon.demo.world.questions import WorldError, reply_text

LABELS_PER_DESK = 10  # aim when labels without a group are dealt
LIVE_SHARE = 0.2  # of an old desk's training rows: what users ask; the base is trained on the rest
MIN_NEW_TESTS = 300  # distinct questions that measure the new desk
MIN_OLD_TESTS = 1000  # distinct questions that measure the old desks
MIN_NEW_LIVE = 200  # distinct questions of the new desk that users can ask and correct
MAX_TEXT = 600  # characters; longer rows would not fit into the model's context with the reply


@dataclass(frozen=True, slots=True)
class Cards:
    """Rows as dealt: texts with their replies by desk."""

    base: dict[str, list[tuple[str, str]]]
    live: dict[str, list[tuple[str, str]]]
    test: dict[str, list[tuple[str, str]]]
    new_desks: tuple[str, ...]


def deal(rows: Rows, new: str | None, new_count: int, seed: int) -> Cards:
    """Deal a corpus into desks and parts. Raises `WorldError` where it has too few groups or questions.

    Without groups, labels in order of their names are dealt in blocks. The new desk is `new`, else the last by name;
    with `new_count` above one, the next from the end. Texts with two labels, and test texts that occur in training,
    are left out. A new or old side that has too few test questions takes the rest out of what users would have asked.
    """
    rows = _clean(_grouped(rows))
    desks = sorted({row.group for row in rows.train})
    new_desks = _new_desks(desks, new, new_count)
    train, test = _by_desk(rows.train), _by_desk(rows.test)
    base: dict[str, list[tuple[str, str]]] = {}
    live: dict[str, list[tuple[str, str]]] = {}
    for desk in desks:
        rng = random.Random(f"{seed}/{desk}")
        held, rest = _take(train[desk], 1.0 if desk in new_desks else LIVE_SHARE, rng)
        live[desk], base[desk] = held, rest
    parts = {desk: test.get(desk, []) for desk in desks}
    old_desks = [desk for desk in desks if desk not in new_desks]
    for desk in new_desks:
        _fill([desk], live, parts, MIN_NEW_TESTS, seed)
        if len(live[desk]) < MIN_NEW_LIVE:
            raise _too_small(f"the new desk {desk!r}", MIN_NEW_TESTS + MIN_NEW_LIVE, train, test, desk)
    _fill(old_desks, live, parts, MIN_OLD_TESTS, seed)
    if sum(len(parts[desk]) for desk in old_desks) < MIN_OLD_TESTS:
        raise _too_small("the old desks together", MIN_OLD_TESTS, train, test, *old_desks)
    return Cards(base, live, parts, new_desks)


def _grouped(rows: Rows) -> Rows:
    """Rows that all have a group: their own, or a block of labels where the corpus has none at all."""
    if any(row.group for row in rows.train):
        named = {row.label: row.group for row in rows.train if row.group}
        return Rows(
            [row for row in rows.train if row.group],
            [Row(r.text, r.label, r.group or named.get(r.label, "")) for r in rows.test if r.group or r.label in named],
        )
    labels = sorted({row.label for row in rows.train})
    count = max(2, min(10, round(len(labels) / LABELS_PER_DESK)))
    desk_of = {label: f"desk {1 + i * count // len(labels)}" for i, label in enumerate(labels)}
    if count >= 10:  # so that the last by name is the last
        desk_of = {label: f"desk {int(desk.split()[1]):02d}" for label, desk in desk_of.items()}
    known = [row for row in rows.test if row.label in desk_of]
    return Rows(
        [Row(r.text, r.label, desk_of[r.label]) for r in rows.train],
        [Row(r.text, r.label, desk_of[r.label]) for r in known],
    )


def _clean(rows: Rows) -> Rows:
    """Each text once; none with two labels, none too long, none of the test part in the training part."""
    meanings: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in (*rows.train, *rows.test):
        meanings[row.text.lower()].add((row.group, row.label))
    labels = {(row.group, row.label) for row in rows.train}

    def once(part: Iterable[Row], seen: set[str]) -> list[Row]:
        kept: list[Row] = []
        for row in part:
            key = row.text.lower()
            fits = len(row.text) <= MAX_TEXT and len(meanings[key]) == 1 and (row.group, row.label) in labels
            if fits and key not in seen:
                seen.add(key)
                kept.append(row)
        return kept

    seen: set[str] = set()
    test = once(rows.test, seen)
    return Rows(once(rows.train, seen), test)


def _new_desks(desks: Sequence[str], new: str | None, count: int) -> tuple[str, ...]:
    if len(desks) <= count:
        raise WorldError(
            f"--corpus: expected at least {count + 1} groups, got {len(desks)} ({', '.join(desks)}); one is the new "
            "desk, the others are what the base knows"
        )
    if new is None:
        return tuple(reversed(desks[-count:]))
    if new not in desks:
        raise WorldError(f"--new {new!r} is no group of this corpus; its groups are: {', '.join(desks)}")
    return (new, *[desk for desk in reversed(desks) if desk != new][: count - 1])


def _by_desk(rows: Iterable[Row]) -> dict[str, list[tuple[str, str]]]:
    out: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        out[row.group].append((row.text, reply_text(row.group, row.label)))
    return out


Pairs = list[tuple[str, str]]


def _take(pairs: Pairs, share: float, rng: random.Random) -> tuple[Pairs, Pairs]:
    """(`share` of the pairs of each reply, at least one; the rest), both shuffled."""
    by_reply: defaultdict[str, Pairs] = defaultdict(list)
    for pair in pairs:
        by_reply[pair[1]].append(pair)
    taken: Pairs = []
    rest: Pairs = []
    for group in by_reply.values():
        rng.shuffle(group)
        count = len(group) if share >= 1 else max(1, round(share * len(group)))
        taken += group[:count]
        rest += group[count:]
    rng.shuffle(taken)
    rng.shuffle(rest)
    return taken, rest


def _fill(desks: Sequence[str], live: dict[str, Pairs], test: dict[str, Pairs], wanted: int, seed: int) -> None:
    """Move live questions into the test part until it has `wanted` in all, at most half of each reply's."""
    missing = wanted - sum(len(test[desk]) for desk in desks)
    if missing <= 0:
        return
    spare: list[tuple[str, tuple[str, str]]] = []
    for desk in desks:
        half, _ = _take(live[desk], 0.5, random.Random(f"{seed}/{desk}/fill"))
        spare += [(desk, pair) for pair in half]
    random.Random(f"{seed}/fill").shuffle(spare)
    moved: defaultdict[str, Pairs] = defaultdict(list)
    for desk, pair in spare[:missing]:
        moved[desk].append(pair)
    for desk, pairs in moved.items():
        gone = set(pairs)
        live[desk] = [pair for pair in live[desk] if pair not in gone]
        test[desk] = test[desk] + pairs


def _too_small(what: str, wanted: int, train: dict[str, Pairs], test: dict[str, Pairs], *desks: str) -> WorldError:
    sizes = Counter({desk: len(train.get(desk, [])) + len(test.get(desk, [])) for desk in {*train, *test}})
    listed = ", ".join(f"{desk} ({n})" for desk, n in sizes.most_common())
    trained, tested = (sum(len(part.get(desk, [])) for desk in desks) for part in (train, test))
    return WorldError(
        f"--corpus: expected some {wanted} distinct questions of {what} to measure with, got {tested} test texts (and "
        f"{trained} training texts, most of which the base needs); groups by size: {listed}; "
        "choose a larger one with --new, or give more text"
    )
