# pyright: basic
"""Rows and batches: what the template says is what is trained on, and every row gets its turn."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.trainer

import torch  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from adapters.training.average import WeightAverage  # noqa: E402
from adapters.training.batching import by_length, endless, pad, pad_left  # noqa: E402
from adapters.training.chat import Encoded, Pair, PairError, drop_words, encode_pairs, encode_prompts  # noqa: E402
from adapters.training.objectives import divergence, supervised  # noqa: E402
from adapters.training.schedule import TAIL_FACTOR, cosine, flat  # noqa: E402


@pytest.fixture(scope="module")
def tokenizer(base_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(base_folder)


def test_a_row_is_what_the_template_renders(tokenizer: Any) -> None:
    turns = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hello stolen"},
        {"role": "assistant", "content": "account: send it"},
        {"role": "user", "content": "and now? é"},
    ]
    (row,) = encode_pairs(tokenizer, [Pair(tuple(turns), "billing: send it", 0.5)])
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    whole = tokenizer.apply_chat_template(
        [*turns, {"role": "assistant", "content": "billing: send it"}], return_dict=False
    )
    assert row.ids == whole
    assert row.ids[: row.start] == prompt == encode_prompts(tokenizer, [turns])[0]
    assert tokenizer.decode(row.ids[row.start :]) == "billing: send it</s>"
    assert row.weight == 0.5


def test_a_template_that_rewrites_the_prompt_is_refused(tokenizer: Any) -> None:
    spoilt = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    spoilt.chat_template = "{{ messages | length }}" + tokenizer.chat_template
    with pytest.raises(PairError, match="prompt is a prefix"):
        encode_pairs(spoilt, [Pair.ask("hello", "billing: send it")])


def test_words_are_left_out_of_the_prompt_only(tokenizer: Any) -> None:
    (row,) = encode_pairs(tokenizer, [Pair.ask("one two three four five six seven", "billing: send it")])
    special = frozenset(tokenizer.all_special_ids) | {3, 4}
    rng = random.Random(0)
    shorter = [drop_words(row, 0.5, special, rng) for _ in range(40)]
    assert len({len(r.ids) for r in shorter}) > 3
    for found in shorter:
        assert found.ids[found.start :] == row.ids[row.start :]
        assert found.ids[:2] == row.ids[:2]  # begin and user mark
        assert found.ids[found.start - 1] == row.ids[row.start - 1]  # assistant mark
    assert drop_words(row, 0.0, special, rng) is row


def some_rows(count: int) -> list[Encoded]:
    rng = random.Random(1)
    return [Encoded([i] * rng.randrange(4, 30), 2) for i in range(count)]


def test_an_epoch_of_batches_holds_every_row_once_within_the_budget() -> None:
    rows = some_rows(300)
    batches = by_length(rows, 200, random.Random(0))
    assert sorted(r.ids[0] for b in batches for r in b) == list(range(300))
    assert all(len(b) * max(len(r.ids) for r in b) <= 200 for b in batches)
    padded = sum(len(b) * max(len(r.ids) for r in b) for b in batches)
    assert padded < 1.1 * sum(len(r.ids) for r in rows)


@pytest.mark.parametrize(("rows", "size"), [(100, 10), (7, 10)])
def test_an_endless_stream_repeats_no_row_before_all_were_seen(rows: int, size: int) -> None:
    stream = islice(endless(some_rows(rows), size, random.Random(0), span=10), 10)
    seen = Counter(r.ids[0] for batch in stream for r in batch)
    assert set(seen) == set(range(rows))
    assert max(seen.values()) - min(seen.values()) <= 1


def test_padding_marks_what_is_there() -> None:
    batch = pad([Encoded([5, 6, 7], 2, 0.5), Encoded([8, 9], 1)], pad_id=0)
    assert batch.ids.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch.attention.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.reply.tolist() == [[False, False, True], [False, True, False]]
    assert batch.weights.tolist() == [0.5, 1.0]
    ids, attention = pad_left([[1, 2, 3], [4]], pad_id=0)
    assert ids.tolist() == [[1, 2, 3], [0, 0, 4]]
    assert attention.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_supervised_weighs_rows_and_ignores_weight_zero() -> None:
    batch = pad([Encoded([1, 2, 3], 2, 0.0), Encoded([1, 2, 4], 2, 1.0)], pad_id=0)
    logits = torch.zeros(2, 5)
    logits[1, 4] = 3.0
    expected = -torch.log_softmax(logits[1], -1)[4]
    assert supervised(logits, batch).item() == pytest.approx(expected.item())
    wrong = logits.clone()
    wrong[0] = 100 * torch.randn(5)
    assert supervised(wrong, batch).item() == pytest.approx(expected.item())


def test_divergence_is_kl_from_the_champion() -> None:
    champion = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    student = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 5.0]])
    p, q = torch.softmax(champion, -1), torch.softmax(student, -1)
    expected = (p * (p / q).log()).sum() / 2
    assert divergence(student, champion).item() == pytest.approx(expected.item(), rel=1e-5)
    assert divergence(champion, champion).item() == pytest.approx(0.0, abs=1e-7)


def test_the_step_size_rises_and_falls_to_nothing() -> None:
    factors = [cosine(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == pytest.approx(1.0)
    assert factors == [*sorted(factors[:10]), *sorted(factors[10:], reverse=True)]
    assert factors[-1] < 0.01


def test_the_flat_step_size_rises_stays_and_ends_low() -> None:
    factors = [flat(step, 100, 0.1, 0.3) for step in range(100)]
    assert factors[:10] == sorted(factors[:10])
    assert set(factors[9:70]) == {1.0}
    assert set(factors[70:]) == {TAIL_FACTOR}
    assert {flat(step, 100, 0.0, 0.0) for step in range(100)} == {1.0}


def test_the_average_follows_the_steps_and_forgets_the_start() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    average, last = WeightAverage([weight], 0.99), WeightAverage([weight], 0.0)
    for step in range(1, 1001):
        with torch.no_grad():
            weight.fill_(1.0 if step % 2 else 3.0)
        average.update()
        last.update()
    last.apply()
    assert weight.tolist() == [3.0, 3.0]
    average.apply()
    assert weight.tolist() == pytest.approx([2.0, 2.0], abs=0.02)
