"""Selection as a whole: what it learns from, what it refuses, and that the hold-outs stay clean."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import lru_cache

import pytest

from adapters.examples import Anchor, Example
from adapters.holdout import is_held
from adapters.selection import Selection, SelectionPolicy, select
from tests.adapters.samples import Scenario, example, scenario

POLICY = SelectionPolicy(identity_age=2)


@lru_cache(maxsize=4)
def world(seed: int) -> Scenario:
    return scenario(seed)


@lru_cache(maxsize=4)
def chosen(seed: int) -> Selection:
    return select(world(seed).examples, POLICY, seed, tenant="acme")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_keeps_right_corrections_and_refuses_wrong_ones(seed: int) -> None:
    truth, selection = world(seed).right, chosen(seed)
    mine = [e for e in world(seed).examples if not is_held(e.identity, POLICY.holdout_share)]
    offered = [e for e in mine if e.target_kind == "correction"]
    right = {e.exchange_id for e in offered if e.target == truth[e.exchange_id]}
    learnt = {e.exchange_id for e in selection.new}
    wrong = [e for e in selection.new if e.target != truth[e.exchange_id]]
    assert len(offered) - len(right) > len(right), "most corrections offered are wrong, or the test proves nothing"
    assert len(right & learnt) >= 0.85 * len(right)
    assert len(wrong) <= 0.04 * len(selection.new)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_hostile_identity_poisons_no_hold_out(seed: int) -> None:
    it, selection = world(seed), chosen(seed)
    for questions in (selection.holdout_old, selection.holdout_new):
        assert sum(q.exchange_id in it.hostile for q in questions) <= POLICY.holdout_identity_cap
    wrong = sum(q.expected != it.right[q.exchange_id] for q in selection.holdout_new)
    assert len(selection.holdout_new) >= 120
    assert wrong <= 0.05 * len(selection.holdout_new)


@pytest.mark.slow
def test_the_hostile_identity_poisons_no_hold_out_it_belongs_to() -> None:
    held = next(name for name in (f"hostile-{i}" for i in range(100)) if is_held(name, POLICY.holdout_share))
    it = world(1)
    moved = [replace(e, identity=held) if e.identity == "hostile" else e for e in it.examples]
    selection = select(moved, POLICY, 1)
    assert not any(e.exchange_id in it.hostile for e in selection.new)
    assert sum(q.exchange_id in it.hostile for q in selection.holdout_old) <= POLICY.holdout_identity_cap
    assert sum(q.exchange_id in it.hostile for q in selection.holdout_new) <= POLICY.holdout_identity_cap
    wrong = sum(q.expected != it.right[q.exchange_id] for q in selection.holdout_new)
    assert wrong <= 0.05 * len(selection.holdout_new)


@pytest.mark.slow
def test_what_the_slice_missed_is_neither_replayed_nor_expected() -> None:
    it, selection = world(1), chosen(1)
    missed = {e.exchange_id for e in it.examples if e.exchange_id in it.new_desk and not e.in_slice}
    assert len(missed) > 150
    assert sum(e.exchange_id in missed for e in selection.replay) <= 0.005 * len(selection.replay)
    taught_wrong = [
        q for q in selection.holdout_old if q.exchange_id in missed and q.expected != it.right[q.exchange_id]
    ]
    assert len(taught_wrong) <= 0.005 * len(selection.holdout_old)


@pytest.mark.slow
def test_every_exchange_has_one_decision_and_nobody_is_on_both_sides() -> None:
    it, selection = world(2), chosen(2)
    assert [d.exchange_id for d in selection.decisions] == sorted(e.exchange_id for e in it.examples)
    assert sum(selection.counts.values()) == len(it.examples)
    roles = {d.exchange_id: d.role for d in selection.decisions}
    assert all(roles[e.exchange_id] == "new" for e in selection.new)
    assert all(roles[e.exchange_id] == "replay" for e in selection.replay)
    assert all(roles[q.exchange_id] == "holdout_old" for q in selection.holdout_old)
    assert all(roles[q.exchange_id] == "holdout_new" for q in selection.holdout_new)
    assert sum(r != "out" for r in roles.values()) == sum(
        map(len, (selection.new, selection.replay, selection.holdout_old, selection.holdout_new))
    )
    trained = {e.identity for e in (*selection.new, *selection.replay)}
    measured = {q.identity for q in (*selection.holdout_old, *selection.holdout_new)}
    assert trained and measured and not trained & measured


@pytest.mark.slow
def test_the_same_whatever_the_order_and_repetition_of_the_examples() -> None:
    shuffled = [*world(3).examples, *world(3).examples[:500]]
    random.Random(0).shuffle(shuffled)
    assert select(shuffled, POLICY, 3, tenant="acme").digest == chosen(3).digest


@pytest.mark.slow
def test_selection_off_takes_all_feedback_and_replays_nothing_but_measures_the_same() -> None:
    it = world(1)
    off = select(it.examples, POLICY.model_copy(update={"enabled": False}), 1, anchors=[Anchor("a", "b")])
    asked = {q.exchange_id for q in (*off.holdout_old, *off.holdout_new)}
    claims = [e for e in it.examples if e.target and e.exchange_id not in asked]
    assert {e.exchange_id for e in off.new} == {e.exchange_id for e in claims}
    assert sum(e.exchange_id in it.hostile for e in off.new) > 100
    assert off.replay == () and off.anchors == ()
    assert off.holdout_old == chosen(1).holdout_old and off.holdout_new == chosen(1).holdout_new


def test_other_tenants_suspended_and_empty_exchanges_are_out_with_their_reason() -> None:
    given = [
        example(1, tenant="other", target="t"),
        example(2, target="t"),
        example(3, prompt="  ", target="t"),
        example(4, reply=" ", reward=1.0),
    ]
    selection = select(given, POLICY, 0, tenant="acme", excluded={"x000002"})
    assert [d.reason for d in selection.decisions] == ["wrong_tenant", "excluded", "empty", "empty"]
    assert selection.shortfall(POLICY) == "too_few_new"


def people(count: int) -> list[str]:
    """Identities of the training side."""
    return [n for n in (f"p{i}" for i in range(10 * count)) if not is_held(n, POLICY.holdout_share)][:count]


def test_without_a_slice_agreed_corrections_are_what_is_new_and_the_rest_is_replayed() -> None:
    names = people(40)
    corrected = [example(i, f"change the pin of card {i}", identity=names[i], target="at a desk") for i in range(20)]
    other = [example(20 + i, f"open a window in room {i}", identity=names[20 + i], reply="done") for i in range(20)]
    selection = select([*corrected, *other], POLICY, 0)
    assert {e.exchange_id for e in selection.new} == {e.exchange_id for e in corrected}
    assert {e.exchange_id for e in selection.replay} == {e.exchange_id for e in other}


def test_confirmed_replies_are_replayed_first_and_denied_ones_never() -> None:
    names = people(60)
    policy = POLICY.model_copy(update={"replay_min": 20, "replay_per_new": 0.0})
    given = [_said(i, n) for i, n in enumerate(names)]
    given.append(example(100, "something else entirely", identity=names[0], in_slice=True))
    selection = select(given, policy, 0)
    assert {e.exchange_id for e in selection.replay} == {e.exchange_id for e in given[:60] if e.confirmed}
    assert all(e.target is None for e in selection.replay)
    denied = {d.exchange_id: d.reason for d in selection.decisions if d.reason == "contradicted"}
    assert set(denied) == {e.exchange_id for e in given if e.reward == 0.0}


def _said(i: int, identity: str) -> Example:
    """Confirmed, denied and unjudged in turn."""
    prompt = f"open window number {i}"
    if i % 3 == 0:
        return example(i, prompt, identity=identity, reply="done", target="done", kind="confirmed", in_slice=False)
    return example(i, prompt, identity=identity, reply="done", reward=0.0 if i % 3 == 1 else None, in_slice=False)


def test_the_digest_names_content_policy_and_seed() -> None:
    given = [example(i, identity=f"i{i}", target="same") for i in range(8)]
    one = select(given, POLICY, 1)
    assert one.digest == select(given, POLICY, 1).digest
    assert one.digest != select(given, POLICY, 2).digest
    assert one.digest != select(given, POLICY.model_copy(update={"class_ratio": 9.0}), 1).digest
    changed = [*given[:-1], replace(given[-1], target="other")]
    assert one.digest != select(changed, POLICY, 1).digest or not one.new


@pytest.mark.slow
def test_what_another_version_said_is_replayed_only_where_users_confirmed_it_and_expected_last() -> None:
    it = world(1)
    half = [replace(e, version="support-older") if i % 2 else e for i, e in enumerate(it.examples)]
    versions = {e.exchange_id: e.version for e in half}
    champion = next(e.version for e in half if e.version != "support-older")
    all_said, own = select(half, POLICY, 1), select(half, POLICY, 1, own=frozenset({champion}))

    def foreign(selection: Selection) -> set[str]:
        return {e.exchange_id for e in selection.replay if versions[e.exchange_id] != champion}

    confirmed = {e.exchange_id for e in half if e.confirmed}
    assert len(foreign(all_said) - confirmed) > 100
    assert foreign(own) <= confirmed
    assert sum(d.reason == "other_version" for d in own.decisions) > 100
    assert {e.exchange_id for e in own.new} == {e.exchange_id for e in all_said.new}

    labelled = sum(q.labelled for q in all_said.holdout_old)
    few = POLICY.model_copy(update={"holdout_old_max": labelled + 40})
    silent, first = (
        [q.version for q in select(half, few, 1, own=names).holdout_old if not q.labelled]
        for names in (None, frozenset({champion}))
    )
    assert len(silent) == len(first) == 40
    assert set(first) == {champion} != set(silent)
