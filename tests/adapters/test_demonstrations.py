"""Demonstrations as a version: chosen by a pure function, named by their content, taken only whole."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.base_shape import BaseShape
from adapters.demonstration_choice import choose_pairs, demonstrated
from adapters.demonstrations import (
    DEMONSTRATIONS_NAME,
    Demonstrations,
    DemonstrationsConfig,
    DemonstrationsInvalid,
    Pair,
    read_demonstrations,
)
from adapters.examples import Example
from adapters.file_checks import AdapterRejected, check_adapter, check_version
from adapters.manifest import Manifest
from adapters.policy import SelectionPolicy
from adapters.registry import Registry, UnknownVersion
from adapters.selection import Selection, select
from adapters.stages.stage import Reason
from adapters.training_config import ALL_TARGETS
from streams.events import Message
from tests.adapters.samples import ALPHA, RANK, example, write_base

CONFIG = DemonstrationsConfig(enabled=True, max_pairs=3, max_characters=600)
TOPICS = ("how do I reset my router box", "which plan has free roaming abroad", "when does my invoice come")


def asked(number: int, topic: int, answer: str = "", identity: str = "") -> Example:
    prompt = f"{TOPICS[topic]} number {number}"
    return example(number, prompt, identity=identity or f"user{number}", target=answer or f"answer {topic}")


CROWD = [asked(n, 0 if n < 20 else 1 if n < 30 else 2) for n in range(35)]


def test_pairs_cover_what_is_asked_instead_of_repeating_what_is_asked_most() -> None:
    chosen = choose_pairs(CROWD, CONFIG).chosen
    assert sorted(e.target or "" for e in chosen) == ["answer 0", "answer 1", "answer 2"]
    assert chosen[-1].target == "answer 0", "the most representative one is read last"


def test_the_choice_is_the_same_for_the_same_examples_in_any_order() -> None:
    expected = choose_pairs(CROWD, CONFIG)
    for seed in range(5):
        shuffled = random.Random(seed).sample(CROWD, len(CROWD))
        assert choose_pairs(shuffled, CONFIG).chosen == expected.chosen


def test_every_example_that_is_not_shown_has_its_reason_and_an_identity_shows_one() -> None:
    turns = (("user", "hi"), ("assistant", "?"), ("user", TOPICS[0]))
    several = replace(asked(50, 0), messages=tuple(Message(role=role, content=text) for role, text in turns))
    odd = [
        several,
        asked(51, 1, "write to [EMAIL]"),
        asked(52, 2, "long " * 100),
    ]
    mine = [asked(n, n % 3, identity="one") for n in range(60, 66)]
    found = choose_pairs([*odd, *mine], CONFIG)
    assert len(found.chosen) == 1
    assert [found.left[e.exchange_id] for e in odd] == [Reason.SEVERAL_TURNS, Reason.REDACTED, Reason.TOO_LONG]
    assert set(found.left) == {e.exchange_id for e in (*odd, *mine)} - {found.chosen[0].exchange_id}


def test_an_exchange_of_a_producer_that_cannot_be_named_or_was_shaped_is_not_shown() -> None:
    odd = [replace(asked(1, 0), exchange_id="x" * 257), replace(asked(2, 0), exchange_id=""), asked(3, 0)]
    found = choose_pairs([*odd, asked(4, 1)], CONFIG, {odd[2].exchange_id})
    assert [e.exchange_id for e in found.chosen] == [asked(4, 1).exchange_id]
    assert [found.left[e.exchange_id] for e in odd] == [Reason.TOO_LONG, Reason.TOO_LONG, Reason.SHAPED]


def test_a_question_is_what_its_user_asked_wherever_the_system_speaks() -> None:
    turns = (("system", "be kind"), ("user", TOPICS[0]), ("system", "be brief"))
    asks = replace(asked(1, 0), messages=tuple(Message(role=role, content=text) for role, text in turns))
    selection = replace(chosen_from([asked(n, 0) for n in range(30)]), new=(asks,))
    ((pair,), blank) = demonstrated(selection, CONFIG, 7)[1], replace(asks, target="  ")
    assert (pair.question, pair.answer) == (TOPICS[0], "answer 0")
    assert choose_pairs([blank], CONFIG).left == {"x000001": Reason.EMPTY}


def test_all_pairs_stay_within_the_characters_and_nothing_is_chosen_where_nothing_fits() -> None:
    tight = DemonstrationsConfig(enabled=True, max_pairs=8, max_characters=200)
    long = [asked(n, n % 3, "x" * 10) for n in range(40)]
    pairs = choose_pairs(long, tight).chosen
    assert 0 < sum(len(e.prompt) + len(e.target or "") for e in pairs) <= 200
    assert choose_pairs([asked(1, 0, "y" * 300)], tight).chosen == ()
    assert choose_pairs([], tight).chosen == ()


def chosen_from(examples: list[Example]) -> Selection:
    return select(examples, SelectionPolicy(identity_age=0), 7, tenant="acme")


def test_a_narrowed_selection_is_a_buffer_of_its_own_with_the_same_questions() -> None:
    whole = chosen_from([asked(n, n % 3) for n in range(200)])
    narrowed, pairs = demonstrated(whole, CONFIG, 7)
    assert len(whole.new) > 3 == len(narrowed.new) == len(pairs)
    assert (narrowed.replay, narrowed.anchors) == ((), ())
    assert narrowed.holdout_new == whole.holdout_new and narrowed.holdout_old == whole.holdout_old
    assert narrowed.digest != whole.digest and demonstrated(whole, CONFIG, 7)[0].digest == narrowed.digest
    roles = {d.exchange_id: d.role for d in narrowed.decisions}
    assert {name for name, role in roles.items() if role == "new"} == {p.exchange_id for p in pairs}
    assert roles.keys() == {d.exchange_id for d in whole.decisions}
    held = {q.exchange_id for q in (*whole.holdout_new, *whole.holdout_old)}
    assert not held & {p.exchange_id for p in pairs}, "what the gate asks is never shown"


# ---------------------------------------------------------------------------------------------------- as a version


@pytest.fixture
def base(tmp_path: Path) -> BaseShape:
    return write_base(tmp_path / "base")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "artifacts")


def identity(registry: Registry, base: BaseShape, tenant: str = "acme") -> str:
    return registry.admit_identity(
        base, deployment="support", tenant=tenant, rank=RANK, alpha=ALPHA, targets=ALL_TARGETS
    ).version


PAIRS = (
    Pair(exchange_id="x1", question="where is it", answer="on its way"),
    Pair(exchange_id="x2", question="wo ist es", answer="unterwegs 📦"),
)


def admitted(registry: Registry, base: BaseShape, at: float = 5.0, pairs: tuple[Pair, ...] = PAIRS) -> Manifest:
    made = Demonstrations(stands_on=identity(registry, base), pairs=pairs)
    return registry.admit_demonstrations(
        made, base, deployment="support", tenant="acme", buffer_digest="b" * 64, created_at=at
    )


def test_a_version_is_named_by_its_pairs_and_by_what_it_stands_on(registry: Registry, base: BaseShape) -> None:
    first = admitted(registry, base)
    assert admitted(registry, base, at=99.0) == first, "admitting the same content again is no change"
    assert first.kind == "demonstrations" and first.parent == identity(registry, base)
    assert admitted(registry, base, pairs=PAIRS[::-1]).version != first.version
    folder = registry.path(first.version)
    assert read_demonstrations(folder) == (first, Demonstrations(stands_on=str(first.parent), pairs=PAIRS))
    assert check_version(folder, base) == first
    assert oct((folder / DEMONSTRATIONS_NAME).stat().st_mode)[-3:] == "440", "it holds what people wrote"


def test_the_pairs_go_behind_the_system_messages() -> None:
    made = Demonstrations(stands_on="support-aaaaaaaaaaaa", pairs=PAIRS[:1])
    system, user = {"role": "system", "content": "s"}, {"role": "user", "content": "u"}
    late = {"role": "system", "content": "late"}
    shown = made.turns()
    assert [m["role"] for m in shown] == ["user", "assistant"]
    assert made.before([system, user, late]) == [system, *shown, user, late]
    assert made.before([user]) == [*shown, user] and made.before([system]) == [system, *shown]


@pytest.mark.parametrize("change", ["byte", "pairs", "extra", "missing", "link"])
def test_a_changed_folder_is_refused(registry: Registry, base: BaseShape, tmp_path: Path, change: str) -> None:
    folder = registry.path(admitted(registry, base).version)
    path = folder / DEMONSTRATIONS_NAME
    path.chmod(0o600)
    if change == "byte":
        path.write_bytes(path.read_bytes().replace(b"way", b"wax"))
    elif change == "pairs":
        held = json.loads(path.read_bytes())
        path.write_text(json.dumps({**held, "pairs": held["pairs"][:1]}))
    elif change == "extra":
        (folder / "more.bin").write_bytes(b"")
    elif change == "missing":
        (folder / "manifest.json").unlink()
    else:
        moved = tmp_path / "moved.json"
        path.rename(moved)
        path.symlink_to(moved)
    with pytest.raises(DemonstrationsInvalid):
        read_demonstrations(folder)
    with pytest.raises(AdapterRejected):
        check_version(folder, base)


def test_a_trainer_cannot_deliver_demonstrations_and_another_base_refuses_them(
    registry: Registry, base: BaseShape, tmp_path: Path
) -> None:
    folder = registry.path(admitted(registry, base).version)
    with pytest.raises(AdapterRejected):
        check_adapter(folder, base)
    with pytest.raises(AdapterRejected, match="wrong_base"):
        check_version(folder, write_base(tmp_path / "other", layers=3))


def test_they_stand_on_an_adapter_of_the_same_tenant_that_is_here(registry: Registry, base: BaseShape) -> None:
    below = {"deployment": "support", "tenant": "acme", "buffer_digest": "b" * 64, "created_at": 1.0}

    def admit(stands_on: str) -> Manifest:
        return registry.admit_demonstrations(Demonstrations(stands_on=stands_on, pairs=PAIRS), base, **below)  # type: ignore[arg-type]

    with pytest.raises(AdapterRejected, match="stand on"):
        admit(admitted(registry, base).version)
    with pytest.raises(AdapterRejected, match="tenant"):
        admit(identity(registry, base, tenant="other"))
    with pytest.raises(UnknownVersion):
        admit("support-ffffffffffff")
