"""From exchange and feedback to an example; anchors; buffers on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.buffer import BufferUnusable, read_buffer, write_buffer
from adapters.examples import Anchor, AnchorsInvalid, example_of, normalise, read_anchors
from adapters.selection import Selection, SelectionPolicy, select
from streams.events import Exchange, Feedback, FeedbackKind, Message, Trust
from tests.adapters.samples import example

EXCHANGE = Exchange(
    exchange_id="x1",
    deployment="support",
    tenant="acme",
    session="s1",
    identity="someone",
    messages=(Message(role="system", content="be kind"), Message(role="user", content="where is it?")),
    completion="Shop: parcel.",
    version="support-base",
    received_at=10.0,
    dispatched_at=10.1,
    completed_at=10.2,
    status=200,
)


def said(kind: FeedbackKind, at: float = 11.0, *, trust: Trust = Trust.TOKEN, **fields: object) -> Feedback:
    return Feedback.model_validate(
        {
            "feedback_id": f"f{at}",
            "exchange_id": "x1",
            "deployment": "support",
            "tenant": "acme",
            "kind": kind,
            "trust": trust,
            "sent_at": at,
            **fields,
        }
    )


def test_no_feedback_makes_no_claim() -> None:
    one = example_of(EXCHANGE, [], None, "1", in_slice=True)
    assert (one.target, one.target_kind, one.reward, one.trust) == (None, None, None, None)
    assert one.prompt == "where is it?" and not one.contradicted and not one.confirmed


def test_the_newest_correction_is_the_claim_and_contradicts_the_reply() -> None:
    corrections = [
        said(FeedbackKind.CORRECTION, 12.0, correction=" bank: card ", trust=Trust.PRODUCER),
        said(FeedbackKind.CORRECTION, 11.0, correction="older"),
        said(FeedbackKind.CORRECTION, 13.0, correction="  "),
    ]
    one = example_of(EXCHANGE, corrections, 0.0, "1", in_slice=False)
    assert (one.target, one.target_kind, one.trust) == ("bank: card", "correction", Trust.PRODUCER)
    assert one.contradicted


def test_a_correction_that_says_the_same_confirms() -> None:
    one = example_of(EXCHANGE, [said(FeedbackKind.CORRECTION, correction="shop:  PARCEL")], 1.0, "1", in_slice=False)
    assert (one.target, one.confirmed) == (EXCHANGE.completion, True)


@pytest.mark.parametrize(("reward", "confirmed"), [(1.0, True), (0.75, True), (0.5, False), (0.0, False)])
def test_a_high_reward_confirms_the_reply(reward: float, confirmed: bool) -> None:
    feedback = [said(FeedbackKind.THUMB, value=True, trust=t) for t in (Trust.BARE, Trust.TOKEN)]
    one = example_of(EXCHANGE, feedback, reward, "1", in_slice=False)
    assert one.confirmed is confirmed and one.contradicted is not confirmed
    assert one.trust is Trust.TOKEN


def test_normalising_keeps_words_and_their_order() -> None:
    assert normalise(" Shop:  'Parcel'. ") == normalise("shop parcel!")
    assert normalise("shop parcel") != normalise("parcel shop")


def test_anchors_are_read_once_each(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    row = json.dumps({"prompt": "q", "reply": "a"})
    path.write_text(f"{row}\n\n{row}\n" + json.dumps({"prompt": "q2", "reply": "b", "note": "kept"}) + "\n")
    assert read_anchors(path) == (Anchor("q", "a"), Anchor("q2", "b"))


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", "{}", '{"prompt": "q", "reply": ""}', '{"prompt": 1, "reply": "a"}']
)
def test_anchors_that_cannot_be_used_name_their_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "anchors.jsonl"
    path.write_text('{"prompt": "q", "reply": "a"}\n' + line + "\n")
    with pytest.raises(AnchorsInvalid, match=":2: expected"):
        read_anchors(path)


def test_too_many_anchors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"q{i}", "reply": "a"}) + "\n" for i in range(4)))
    assert len(read_anchors(path, limit=4)) == 4
    with pytest.raises(AnchorsInvalid, match="at most 3"):
        read_anchors(path, limit=3)


def small_selection() -> Selection:
    policy = SelectionPolicy(holdout_share=0.4, identity_age=0, min_new=1)
    given = [
        example(i, f"cancel my voucher {i}\u2028now", identity=f"i{i}", target="gone" if i % 2 else None, in_slice=True)
        for i in range(60)
    ]
    given += [
        example(100 + i, f"find my flight {i}", identity=f"o{i}", reply="soon", in_slice=False) for i in range(60)
    ]
    return select(given, policy, 0, anchors=[Anchor("who are you", "a desk")])


def test_a_buffer_is_read_as_it_was_selected(tmp_path: Path) -> None:
    selection = small_selection()
    folder = write_buffer(tmp_path, selection)
    assert folder.name == selection.digest and write_buffer(tmp_path, selection) == folder
    buffer = read_buffer(folder)
    assert [(r.row_id, r.target, r.weight) for r in buffer.new] == [
        (e.exchange_id, e.target, e.weight) for e in selection.new
    ]
    assert [(r.row_id, r.target) for r in buffer.replay] == [(e.exchange_id, "soon") for e in selection.replay]
    assert buffer.anchors[0].target == "a desk" and buffer.new and buffer.replay
    assert buffer.new[0].messages == selection.new[0].messages
    questions = [json.loads(line) for line in (folder / "holdout.jsonl").read_text().split("\n") if line]
    assert [q["side"] for q in questions].count("old") == len(selection.holdout_old) > 0
    assert [q["expected"] for q in questions if q["side"] == "new"] == ["gone"] * len(selection.holdout_new)


def test_a_damaged_buffer_names_file_and_line(tmp_path: Path) -> None:
    folder = write_buffer(tmp_path, small_selection())
    (folder / "replay.jsonl").write_text('{"id": "x", "messages": [], "target": "t", "weight": 1}\n')
    with pytest.raises(BufferUnusable, match=r"replay\.jsonl:1"):
        read_buffer(folder)
    (folder / "new.jsonl").unlink()
    with pytest.raises(BufferUnusable, match=r"new\.jsonl"):
        read_buffer(folder)
