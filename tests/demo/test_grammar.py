"""The grammar: large enough, split as promised, and the same for the same seed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from daemon.demo.world.build import build_world
from daemon.demo.world.grammar import HELD_OUT, Grammar, load_grammar, put_aside
from daemon.demo.world.grammar_world import GrammarWorld
from daemon.demo.world.questions import Split, WorldError
from daemon.demo.world.speech import Speaker
from daemon.demo.world.wording import choose, mistype, paraphrase

GRAMMAR = load_grammar()
SPLITS: tuple[Split, ...] = ("base", "live", "test")


def test_the_shipped_grammar_has_the_size_it_promises() -> None:
    assert 8 <= len(GRAMMAR.desks) <= 10
    speaker = Speaker(GRAMMAR, 0)
    for desk, intents in GRAMMAR.desks.items():
        assert 6 <= len(intents) <= 12
        for intent in intents:
            assert speaker.shapes(desk, intent) >= 25
    replies = [rules.reply for intents in GRAMMAR.desks.values() for rules in intents.values()]
    assert len(set(replies)) == len(replies)


def test_three_of_ten_frames_cores_and_fillers_are_put_aside() -> None:
    pieces = put_aside(GRAMMAR, 7)
    frames = [piece for listed in pieces.frames.values() for piece in listed]
    cores = [piece for listed in pieces.cores.values() for _, piece in listed]
    fillers = [piece for listed in pieces.fillers.values() for piece in listed]
    for listed in (frames, cores, fillers):
        share = sum(piece.tests_only for piece in listed) / len(listed)
        assert share == pytest.approx(HELD_OUT, abs=0.03)


def plain(seed: int) -> GrammarWorld:
    """Two desks only: quick."""
    desks = {desk: GRAMMAR.desks[desk] for desk in ("billing", "insurance")}
    return GrammarWorld(GRAMMAR.model_copy(update={"desks": desks}), ["insurance"], seed)


def marked() -> Grammar:
    """A grammar in which each piece has a word of its own, so that a sentence tells what it was made of."""
    frames = [f"frame{i}x {{do}} end" for i in range(10)]
    intents = {f"i{n}": {"reply": f"r{n}", "do": [f"core{n}{i}x {{slot}}" for i in range(10)]} for n in range(3)}
    return Grammar.model_validate(
        {
            "new": "b",
            "frames": {"do": frames, "say": [], "ask": []},
            "fillers": {"slot": [f"filler{i}x" for i in range(10)]},
            "desks": {"a": intents, "b": intents},
            "paraphrases": {},
            "noise": {"paraphrase": 0.0, "typo": 0.0},
        }
    )


def test_what_is_put_aside_is_heard_in_tests_only() -> None:
    grammar = marked()
    pieces = put_aside(grammar, 5)
    listed = [core for (desk, _), cores in pieces.cores.items() if desk == "b" for _, core in cores]
    cores = {core.text.split()[0] for core in listed if core.tests_only}
    others = {p.text.split()[0] for p in (*pieces.frames["do"], *pieces.fillers["slot"]) if p.tests_only}
    speaker, rng = Speaker(grammar, 5), random.Random(0)
    said = {split: [set(speaker.say("b", f"i{i % 3}", rng, split).split()) for i in range(600)] for split in SPLITS}
    for split in ("base", "live"):
        assert not any(words & (cores | others) for words in said[split])
    assert all(words & (cores | others) for words in said["test"])
    # cores come from the whole list in tests: three of ten are new
    assert sum(bool(words & cores) for words in said["test"]) / 600 == pytest.approx(0.3, abs=0.06)


@pytest.mark.slow
def test_base_live_and_test_texts_never_meet() -> None:
    world = plain(0)
    rng = random.Random(0)
    base = {text for text, _ in world.base_pairs()}
    live = {world.ask("billing", rng).text for _ in range(500)}
    tests = {q.text for q in world.tests("billing", 500, seed=0)}
    anchors = {text for text, _ in world.anchor_pairs(["billing"], 100, seed=0)}
    assert len(tests) == 500
    assert len(anchors) == 100
    assert not base & live
    assert not tests & (base | live | anchors)
    assert not base & anchors


@pytest.mark.slow
def test_the_base_hears_the_new_desk_without_an_answer() -> None:
    world = plain(0)
    assert all(reply.startswith("billing: ") for _, reply in world.base_pairs())
    assert sum("policy" in line or "claim" in line for line in world.base_lines()) > 500


def test_a_question_has_one_answer_that_the_oracle_repeats() -> None:
    world = plain(0)
    question = world.ask("insurance", random.Random(5))
    assert question.right in world.replies("insurance")
    assert world.oracle(question.text) == question.right
    assert world.desk_of(question.text) == "insurance"


@pytest.mark.slow
def test_the_same_seed_is_the_same_world_whatever_was_asked_before() -> None:
    one, two = plain(3), plain(3)
    one.tests("insurance", 50, seed=9)
    assert one.base_pairs() == two.base_pairs()
    assert one.base_lines() == two.base_lines()
    assert one.tests("insurance", 50, seed=1) == two.tests("insurance", 50, seed=1)
    assert one.base_pairs() != plain(4).base_pairs()


@pytest.mark.slow
def test_options_are_checked() -> None:
    world = build_world(None, None, seed=0, new_desks=2)
    assert world.new_desks[0] == GRAMMAR.new
    assert len(set(world.new_desks)) == 2
    with pytest.raises(WorldError, match=r"no desk of the grammar.*billing"):
        build_world(None, "cards", seed=0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"new": "nowhere"}, "`new` must be one of the desks"),
        ({"frames": {"do": ["{do}"], "say": ["{say}"], "ask": ["{ask}"]}}, "at least two frames"),
        ({"fillers": {"day": ["monday", "tuesday"]}}, "fillers are"),
        ({"verses": []}, "verses"),
    ],
)
def test_a_grammar_that_cannot_be_spoken_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "grammar.yaml"
    path.write_text(json.dumps(marked().model_dump() | change), "utf-8")
    with pytest.raises(WorldError, match=said):
        load_grammar(path)


def test_wording_changes_words_and_nothing_else() -> None:
    rng = random.Random(0)
    assert {choose("(a|b|) x", rng) for _ in range(50)} == {"a x", "b x", " x"}
    assert paraphrase("how do i pay", {"how do i": ["how can i"]}, rng) == "how can i pay"
    assert paraphrase("show doing", {"how do": ["never"]}, rng) == "show doing"
    for _ in range(50):
        slip = mistype("parcel 12 is at", rng)
        assert slip != "parcel 12 is at" or "rr" in slip or slip.startswith("parcel")
        assert slip.endswith(" 12 is at")
    assert mistype("to me", rng) == "to me"
