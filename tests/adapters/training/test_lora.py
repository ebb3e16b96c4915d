# pyright: basic
"""Training an adapter: learns the new, keeps the old, starts from the champion, and tells the truth about itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytestmark = [pytest.mark.trainer, pytest.mark.slow]

import torch  # noqa: E402
from peft import PeftModel  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from adapters import tensor_file  # noqa: E402
from adapters.adapter_config import AdapterConfig, encode_config  # noqa: E402
from adapters.base_shape import read_base_shape  # noqa: E402
from adapters.produce import Trained  # noqa: E402
from adapters.training.batching import pad  # noqa: E402
from adapters.training.chat import Pair, PairError, encode_pairs  # noqa: E402
from adapters.training.fingerprint import Continuation, Print, chosen, greedy  # noqa: E402
from adapters.training.lora import train_adapter  # noqa: E402
from adapters.training.student import Student  # noqa: E402
from adapters.training_config import TrainingConfig  # noqa: E402
from tests.adapters.training.replies import share_right  # noqa: E402
from tests.adapters.training.toy import NEW, OLD, asked  # noqa: E402

CONFIG = TrainingConfig(learning_rate=5e-3, steps=80, new_per_step=12, replay_per_step=16, kl_weight=2.0)
NEW_PAIRS = [Pair.ask(*pair) for pair in asked(NEW, 80, 5)]
REPLAY = [Pair.ask(*pair) for pair in asked(OLD, 120, 6)]


def quiet(_step: int, _steps: int, _metrics: Mapping[str, float]) -> None:
    """Nobody listens."""


def adapted(base: Path, config: TrainingConfig = CONFIG, champion: Path | None = None) -> tuple[Student, Trained]:
    student = Student(base, champion, config, seed=1)
    return student, train_adapter(student, NEW_PAIRS, REPLAY, config, 1, quiet)


@pytest.fixture(scope="module")
def trained(base_folder: Path) -> tuple[Student, Trained]:
    return adapted(base_folder)


@pytest.fixture(scope="module")
def champion(trained: tuple[Student, Trained], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained adapter as a version's folder, written the way the trainer writes it."""
    folder = tmp_path_factory.mktemp("champion")
    (folder / "adapter_model.safetensors").write_bytes(tensor_file.encode(trained[1].tensors))
    config = AdapterConfig(CONFIG.rank, CONFIG.alpha, tuple(sorted(CONFIG.targets)))
    (folder / "adapter_config.json").write_bytes(encode_config(config))
    return folder


def test_it_learns_the_new_and_keeps_the_old(trained: tuple[Student, Trained]) -> None:
    student, _ = trained
    assert share_right(student.model, student.tokenizer, asked(NEW, 60, 9)) > 0.9
    assert share_right(student.model, student.tokenizer, asked(OLD, 60, 9)) > 0.9


def test_without_replay_the_old_is_forgotten(base_folder: Path) -> None:
    student, _ = adapted(base_folder, CONFIG.model_copy(update={"replay_per_step": 0}))
    assert share_right(student.model, student.tokenizer, asked(OLD, 60, 9)) < 0.5


def test_tensors_have_the_names_and_shapes_that_are_served(base_folder: Path, trained: tuple[Student, Trained]) -> None:
    shapes = {name: tensor.shape for name, tensor in trained[1].tensors.items()}
    assert shapes == read_base_shape(base_folder).expected_tensors(CONFIG.rank, CONFIG.targets)
    assert all(np.isfinite(t).all() for t in trained[1].tensors.values())


def test_the_fingerprint_is_what_the_written_adapter_says_and_the_base_does_not(
    base_folder: Path, champion: Path, trained: tuple[Student, Trained]
) -> None:
    items = trained[1].fingerprint
    assert len(items) == CONFIG.fingerprint_prompts
    model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_folder), str(champion)).eval()
    for item in items:
        (ours,) = greedy(model, [item.prompt_ids], len(item.expected_ids), 0, frozenset({2}))
        assert ours.ids == item.expected_ids
        assert ours.logprobs == pytest.approx(item.expected_logprobs, abs=1e-3)
        with model.disable_adapter():
            (base,) = greedy(model, [item.prompt_ids], len(item.base_ids), 0, frozenset({2}))
        assert base.ids == item.base_ids
        assert base.logprobs == pytest.approx(item.base_logprobs, abs=1e-3)
        assert item.base_ids != item.expected_ids
    assert len({tuple(item.expected_ids) for item in items}) == len(NEW)  # one for each reply first


def test_a_sure_reply_that_the_base_gives_too_is_no_proof() -> None:
    same = Print([1], Continuation([7, 8], [-0.01, -0.01]), Continuation([7, 8], [-0.02, -0.01]))
    told = Print([2], Continuation([9, 8], [-0.9, -0.4]), Continuation([7, 8], [-0.1, -0.1]))
    sure = Print([3], Continuation([6, 5], [-0.1, -0.1]), Continuation([7, 8], [-0.1, -0.1]))
    assert chosen([same, told, sure], 2) == [sure, told]
    assert chosen([same], 2) == [same]


def test_metrics_say_what_was_trained_on_and_what_the_old_replies_became(trained: tuple[Student, Trained]) -> None:
    metrics = trained[1].metrics
    assert metrics["new_rows"] == len(NEW_PAIRS)
    assert metrics["replay_rows"] == len(REPLAY) - 12  # a tenth is held out
    assert 0 <= metrics["nll_champion"] < 0.3
    assert metrics["nll_candidate"] < metrics["nll_champion"] + 0.3
    assert metrics["loss_new"] < 0.5


def test_the_same_arguments_give_the_same_adapter(base_folder: Path) -> None:
    brief = CONFIG.model_copy(update={"steps": 4})
    one, two = (adapted(base_folder, brief)[1].tensors for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_warm_start_begins_as_the_champion_and_is_taught_by_it(base_folder: Path, champion: Path) -> None:
    student = Student(base_folder, champion, CONFIG, seed=2)
    batch = pad(encode_pairs(student.tokenizer, NEW_PAIRS[:4]), student.pad_id)
    student.model.eval()
    with torch.no_grad():
        served = student.champion_logits(batch)
        assert torch.allclose(student.reply_logits(batch), served)
        with student.as_base():
            assert not torch.allclose(student.reply_logits(batch), served)
    changed = [Pair.ask(prompt, "account: reset it") for prompt, _ in asked(NEW, 40, 5)]
    train_adapter(student, changed, REPLAY, CONFIG.model_copy(update={"steps": 20}), 2, quiet)
    student.model.eval()
    with torch.no_grad():
        assert torch.allclose(student.champion_logits(batch), served)  # the teacher has not moved
        assert not torch.allclose(student.reply_logits(batch), served)


def test_a_cold_start_begins_as_the_base_and_is_taught_by_the_champion(base_folder: Path, champion: Path) -> None:
    student = Student(base_folder, champion, CONFIG.model_copy(update={"warm_start": False}), seed=2)
    batch = pad(encode_pairs(student.tokenizer, NEW_PAIRS[:4]), student.pad_id)
    student.model.eval()
    with torch.no_grad():
        ours = student.reply_logits(batch)
        assert not torch.allclose(ours, student.champion_logits(batch))
        with student.as_base():
            assert torch.allclose(ours, student.reply_logits(batch))
    assert all(p.requires_grad for p in student.parameters)


def test_pairs_that_leave_nothing_to_learn_are_refused(base_folder: Path) -> None:
    student = Student(base_folder, None, CONFIG, seed=1)
    unlearnt = [Pair.ask("hello stolen", "account: send it", weight=0.0)]
    with pytest.raises(PairError, match="got none in 1 examples"):
        train_adapter(student, unlearnt, REPLAY, CONFIG, 1, quiet)
    with pytest.raises(PairError, match="at most 16 tokens"):
        long = [Pair.ask("hello " * 30, "account: send it")]
        train_adapter(student, long, REPLAY, CONFIG.model_copy(update={"max_tokens": 16}), 1, quiet)


def test_progress_may_end_it(base_folder: Path) -> None:
    class Enough(Exception):
        pass

    def told(step: int, steps: int, metrics: Mapping[str, float]) -> None:
        assert steps == CONFIG.steps
        assert "loss_new" in metrics
        if step == 2:
            raise Enough

    student = Student(base_folder, None, CONFIG, seed=1)
    with pytest.raises(Enough):
        train_adapter(student, NEW_PAIRS, REPLAY, CONFIG, 1, told)
