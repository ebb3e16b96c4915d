"""Each stage alone: whom it keeps, whom it drops, and in the order given."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from adapters.examples import Example
from adapters.policy import SelectionPolicy
from adapters.stages.agreement import Agreement
from adapters.stages.class_balance import ClassBalance
from adapters.stages.cluster_cap import ClusterCap
from adapters.stages.dedupe import Dedupe
from adapters.stages.doubt import Doubt
from adapters.stages.identity_age import IdentityAge
from adapters.stages.identity_cap import IdentityCap, cap_for
from adapters.stages.replay_share import ReplayShare, replay_size
from adapters.stages.stage import Context, Dropped, Kept, Reason, Stage
from adapters.stages.token_check import TokenCheck
from streams.events import Trust
from tests.adapters.samples import example


def context(known: dict[str, int] | None = None, **policy: object) -> Context:
    return Context(SelectionPolicy.model_validate(policy), 7, known or {})


def kept(stage: Stage, claims: Sequence[Example], where: Context) -> list[int]:
    """Numbers of the exchanges that stay; checks that the outcomes follow the claims' order."""
    outcomes = stage.apply(claims, where)
    assert [o.example.exchange_id for o in outcomes] == [c.exchange_id for c in claims]
    return [int(o.example.exchange_id[1:]) for o in outcomes if isinstance(o, Kept)]


STAGES: list[Stage] = [
    TokenCheck(),
    IdentityAge(),
    Dedupe(),
    IdentityCap(),
    Agreement(),
    ClusterCap(),
    ClassBalance(),
    Doubt([example(1)], {"x000001"}),
    ReplayShare(0),
]


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)
def test_every_stage_takes_nothing_and_one_claim(stage: Stage) -> None:
    assert stage.apply([], context()) == []
    assert len(stage.apply([example(1, target="t")], context())) == 1


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)
def test_every_stage_gives_the_same_outcomes_twice(stage: Stage) -> None:
    claims = [example(i, f"text {i % 7}", identity=f"i{i % 5}", target=f"t{i % 3}") for i in range(60)]
    assert stage.apply(claims, context()) == stage.apply(claims, context())


def test_token_check_weighs_by_trust_and_drops_bare_ids() -> None:
    claims = [
        example(1, target="t"),
        example(2, target="t", trust=Trust.PRODUCER),
        example(3, target="t", trust=Trust.BARE),
    ]
    where = context(producer_weight=0.5)
    outcomes = TokenCheck().apply(claims, where)
    assert [o.example.weight for o in outcomes if isinstance(o, Kept)] == [1.0, 0.5]
    assert outcomes[2] == Dropped(claims[2], Reason.NO_TRUST)
    assert kept(TokenCheck(), claims, context(bare_weight=0.1)) == [1, 2, 3]


def test_identity_age_counts_the_exchanges_of_the_identity() -> None:
    claims = [example(1, identity="old", target="t"), example(2, identity="young", target="t")]
    assert kept(IdentityAge(), claims, context({"old": 3, "young": 2}, identity_age=3)) == [1]
    assert kept(IdentityAge(), claims, context({"old": 3, "young": 2}, identity_age=2)) == [1, 2]


def test_dedupe_keeps_the_newest_of_one_identity_and_both_of_two() -> None:
    claims = [
        example(1, "cancel my gift card please", identity="a", target="t"),
        example(2, "Cancel my gift card, please!", identity="a", target="u"),
        example(3, "cancel my gift card please", identity="b", target="t"),
        example(4, "where is the train to the sea", identity="a", target="t"),
    ]
    assert kept(Dedupe(), claims, context()) == [2, 3, 4]


def test_identity_cap_keeps_the_newest_and_a_flood_does_not_raise_it() -> None:
    flood = [example(i, identity="flood", target="t") for i in range(2000)]
    crowd = [example(2000 + i, identity=f"i{i}", target="t") for i in range(10)]
    left = kept(IdentityCap(), [*flood, *crowd], context())
    assert left == [1997, 1998, 1999, *range(2000, 2010)]
    assert kept(IdentityCap(cap=1), [*flood[:4], *crowd[:2]], context()) == [3, 2000, 2001]


@pytest.mark.parametrize(("claims", "cap"), [(10, 3), (350, 4), (500, 5), (100_000, 5)])
def test_the_cap_is_the_smaller_of_share_and_number_but_never_below_the_floor(claims: int, cap: int) -> None:
    assert cap_for(SelectionPolicy(), claims) == cap


def test_agreement_believes_what_others_say_of_the_like() -> None:
    crowd = [example(i, f"cancel my gift card number {i}", identity=f"c{i}", target="gone") for i in range(6)]
    liar = example(10, "cancel my gift card number 9", identity="liar", target="buy more")
    alone = example(11, "zebra quartz vortex", identity="lonely", target="gone")
    assert kept(Agreement(), [*crowd, liar, alone], context()) == [0, 1, 2, 3, 4, 5]


def test_agreement_ignores_what_an_identity_says_to_itself_and_counts_it_once_for_others() -> None:
    echo = [example(i, f"cancel my gift card number {i}", identity="liar", target="buy more") for i in range(5)]
    assert kept(Agreement(), echo, context()) == []
    victim = example(9, "cancel my gift card number 9", identity="someone", target="buy more")
    assert kept(Agreement(), [*echo, victim], context(agreement_support=2)) == []


def test_agreement_refuses_a_claim_that_most_others_contradict() -> None:
    crowd = [example(i, f"cancel my gift card number {i}", identity=f"c{i}", target="gone") for i in range(8)]
    colluders = [
        example(20 + i, f"cancel my gift card number {50 + i}", identity=f"l{i}", target="buy more") for i in range(2)
    ]
    assert kept(Agreement(), [*crowd, *colluders], context()) == list(range(8))
    assert kept(Agreement(), [*crowd, *colluders], context(agreement_ratio=0.0)) == [*range(8), 20, 21]


def test_agreement_compares_claims_without_case_spacing_and_full_stops() -> None:
    claims = [
        example(1, "cancel my gift card", identity="a", target="Gone."),
        example(2, "cancel the gift card", identity="b", target=" gone"),
    ]
    assert kept(Agreement(), claims, context()) == [1, 2]


def test_cluster_cap_bounds_one_wording_from_many_identities() -> None:
    script = [example(i, "cancel my gift card", identity=f"i{i}", target="t") for i in range(50)]
    words = "abcdefghijklmnopqrstuvwxyz"
    others = [example(100 + i, f"{words[i] * 5} {words[-i - 1] * 4}", identity="x", target="t") for i in range(20)]
    assert kept(ClusterCap(), [*script, *others], context()) == [*range(45, 50), *range(100, 120)]


def test_class_balance_cuts_a_flood_and_spares_rare_answers() -> None:
    sizes = {"flood": 200, "a": 60, "b": 50, "c": 55, "d": 45}
    claims: list[Example] = []
    for target, size in sizes.items():
        claims += [example(len(claims) + i, identity=f"i{i}", target=target) for i in range(size)]
    claims += [example(1000 + i, target=f"rare {i}") for i in range(30)]
    outcomes = ClassBalance().apply(claims, context(class_ratio=2.0))
    left = [o.example.target for o in outcomes if isinstance(o, Kept)]
    assert left.count("flood") == 120
    assert all(left.count(t) == n for t, n in sizes.items() if t != "flood")
    assert sum((t or "").startswith("rare") for t in left) == 30


def test_doubt_falls_on_unjudged_replies_amid_suspect_traffic() -> None:
    suspects = [example(i, f"use voucher {i} in the shop", identity=f"s{i}") for i in range(12)]
    others = [example(100 + i, f"book a flight number {i}", identity=f"o{i}", in_slice=False) for i in range(12)]
    missed = example(200, "use voucher 77 in the shop", identity="m", in_slice=False)
    judged = example(201, "use voucher 78 in the shop", identity="n", target="r", kind="confirmed", in_slice=False)
    stage = Doubt([*suspects, *others, missed, judged], {e.exchange_id for e in suspects})
    assert kept(stage, [*others, missed, judged], context()) == [*range(100, 112), 201]


def test_replay_share_takes_confirmed_replies_first_and_no_more_than_its_share() -> None:
    claims = [example(i, reply="r", target="r", kind="confirmed") if i < 5 else example(i) for i in range(40)]
    where = context(replay_min=0, replay_max=12, replay_per_new=2.0)
    assert len(kept(ReplayShare(5), claims, where)) == 10
    assert kept(ReplayShare(5), claims, where)[:5] == [0, 1, 2, 3, 4]
    assert [replay_size(where.policy, n) for n in (0, 3, 100)] == [0, 6, 12]
