"""Real text as a world: every layout is read, parts never mix, and a bad folder is explained."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.demo.world.build import build_world
from daemon.demo.world.corpus_desks import MIN_OLD_TESTS, deal
from daemon.demo.world.corpus_files import read_corpus
from daemon.demo.world.questions import DeskWorld, WorldError
from tests.demo.corpora import category_folder, domains_folder, grouped_folder, rows, write_csv

Layout = Callable[[Path], Path]


@pytest.mark.parametrize(
    ("layout", "new", "reply"),
    [
        (grouped_folder, "group-3", "group 3: label 3 0"),
        (domains_folder, "group-3", "group 3: label 3 0"),
        (category_folder, "desk 3", "desk 3: card 0 9"),
    ],
)
def test_each_layout_becomes_desks_with_readable_replies(tmp_path: Path, layout: Layout, new: str, reply: str) -> None:
    world = build_world(layout(tmp_path), None, seed=0)
    assert list(world.new_desks) == [new]  # the last by name
    assert reply in world.replies(new)


def parts_of(world: DeskWorld, desk: str) -> dict[str, set[str]]:
    rng = random.Random(1)
    return {
        "base": {text for text, _ in world.base_pairs()},
        "live": {world.ask(desk, rng).text for _ in range(2000)},
        "test": {q.text for q in world.tests(desk, 10_000, seed=0)},
        "anchors": {text for text, _ in world.anchor_pairs(list(world.old_desks), 500, seed=0)},
    }


@pytest.mark.parametrize("desk", ["group-0", "group-3"])
def test_base_live_test_and_anchors_share_no_text(tmp_path: Path, desk: str) -> None:
    parts = parts_of(build_world(grouped_folder(tmp_path), None, seed=3), desk)
    names = list(parts)
    for i, one in enumerate(names):
        assert parts[one], one
        for other in names[i + 1 :]:
            assert not parts[one] & parts[other], (one, other)


def test_the_base_is_told_the_new_desks_words_but_none_of_its_answers_and_no_test(tmp_path: Path) -> None:
    world = build_world(grouped_folder(tmp_path), None, seed=3)
    assert not set(world.replies("group-3")) & {reply for _, reply in world.base_pairs()}
    lines = set(world.base_lines())
    assert any("topic 3" in line for line in lines)
    assert not lines & parts_of(world, "group-3")["test"]


def test_the_oracle_knows_what_was_issued_and_nothing_else(tmp_path: Path) -> None:
    world = build_world(grouped_folder(tmp_path), None, seed=0)
    question = world.ask("group-1", random.Random(0))
    assert world.oracle(question.text) == question.right
    assert world.desk_of(question.text) == "group-1"
    with pytest.raises(KeyError):
        world.oracle("nobody ever asked this")


def test_a_test_part_that_lacks_a_few_is_filled_to_the_last_question(tmp_path: Path) -> None:
    cards = deal(read_corpus(grouped_folder(tmp_path, groups=5, labels=8, train=60, test=30)), None, 1, 0)
    old = [desk for desk in cards.test if desk not in cards.new_desks]
    assert sum(len(cards.test[desk]) for desk in old) == MIN_OLD_TESTS
    asked = {pair for desk in old for pair in cards.live[desk]}
    assert not asked & {pair for desk in old for pair in cards.test[desk]}


@pytest.mark.slow
def test_a_short_test_part_is_filled_from_what_users_would_have_asked(tmp_path: Path) -> None:
    folder = grouped_folder(tmp_path, groups=6, labels=5, train=400, test=10)
    world = build_world(folder, None, seed=0)
    assert len(world.tests("group-5", 10_000, seed=0)) >= 300
    assert sum(len(world.tests(desk, 10_000, seed=0)) for desk in world.old_desks) >= 1000
    test_parts = [parts_of(world, desk) for desk in ("group-0", "group-5")]
    assert all(not parts["live"] & parts["test"] for parts in test_parts)


def test_a_text_with_two_labels_and_a_test_text_seen_in_training_are_left_out(tmp_path: Path) -> None:
    body = rows(3, 5, 120, "live")
    double = [("the very same words", "label_0_0", "group-0"), ("the very same words", "label_0_1", "group-0")]
    write_csv(tmp_path / "train.csv", ("text", "label", "group"), body + double)
    tests = rows(3, 5, 150, "test")
    write_csv(tmp_path / "test.csv", ("text", "label", "group"), [*tests, body[0]])
    world = build_world(tmp_path, "group-0", seed=0)
    asked = parts_of(world, "group-0")
    assert "the very same words" not in asked["live"] | asked["test"]
    assert body[0][0] not in asked["live"]  # it measures, so nobody is corrected on it
    assert body[0][0] in asked["test"]


@pytest.mark.slow
def test_two_new_desks_and_the_same_world_for_the_same_seed(tmp_path: Path) -> None:
    folder = grouped_folder(tmp_path, groups=5)
    one, two = (build_world(folder, "group-1", seed=4, new_desks=2) for _ in range(2))
    assert list(one.new_desks) == ["group-1", "group-4"]
    assert one.base_pairs() == two.base_pairs()
    assert one.base_lines() == two.base_lines()
    assert one.tests("group-1", 50, seed=1) == two.tests("group-1", 50, seed=1)
    assert one.tests("group-1", 50, seed=1) != one.tests("group-1", 50, seed=2)


def broken(tmp_path: Path, what: str) -> Path:
    match what:
        case "no folder":
            return tmp_path / "absent"
        case "no test file":
            grouped_folder(tmp_path)
            (tmp_path / "test.csv").unlink()
        case "no label column":
            grouped_folder(tmp_path)
            write_csv(tmp_path / "train.csv", ("text", "topic"), [("a", "b")])
        case "no rows":
            grouped_folder(tmp_path)
            write_csv(tmp_path / "train.csv", ("text", "label", "group"), [])
        case "one group":
            grouped_folder(tmp_path, groups=1)
        case "too small":
            grouped_folder(tmp_path, groups=3, labels=3, train=20, test=20)
        case "broken json":
            domains_folder(tmp_path)
            (tmp_path / "domains.json").write_text('["a", "b"]', "utf-8")
        case _:
            raise AssertionError(what)
    return tmp_path


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no folder", "expected a folder"),
        ("no test file", "test.csv is missing"),
        ("no label column", "its first line names: text, topic"),
        ("no rows", "no rows with a text and a label in the train part"),
        ("one group", "expected at least 2 groups, got 1 (group-0)"),
        ("too small", "groups by size: "),
        ("broken json", "domains.json as lists of labels by domain"),
    ],
)
def test_a_folder_that_cannot_be_used_is_explained(tmp_path: Path, what: str, said: str) -> None:
    with pytest.raises(WorldError) as error:
        build_world(broken(tmp_path, what), None, seed=0)
    assert said in str(error.value)


def test_an_unknown_new_group_lists_the_groups(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="group-0, group-1, group-2, group-3"):
        build_world(grouped_folder(tmp_path), "cards", seed=0)
