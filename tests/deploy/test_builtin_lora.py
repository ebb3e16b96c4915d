# pyright: standard
"""The stacked adapters against peft, and rows against their company in the batch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from deploy.servers.builtin.batch import Batch, Row
from deploy.servers.builtin.engine import Engine, EngineBusy, EngineLimits, admit
from deploy.servers.builtin.lora import Adapter, AdapterNotFound, AdapterUnusable, LoraBank
from deploy.servers.builtin.sampling import Draw, Sampling, choose
from tests.deploy.versions import PROMPTS, TOKENS, continue_greedily, fingerprint
from tests.tiny_base import make_adapter, make_base
from tests.waiting import wait_until

pytestmark = [pytest.mark.trainer, pytest.mark.slow]
NOISE = torch.Generator()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [make_adapter(base, folder / f"a{i}", seed=i, rank=rank) for i, rank in enumerate((8, 4, 16))]


@pytest.fixture
def model(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base).eval()


@pytest.fixture
def bank(model: Any, adapters: list[Path]) -> LoraBank:
    made = LoraBank(model, max_loras=4, max_rank=16)
    for i, path in enumerate(adapters):
        made.add(made.read(f"a{i}", str(path)), [])
    return made


def row(prompt: list[int], adapter: Adapter | None, tokens: int = TOKENS) -> Row:
    sampling = Sampling(temperature=0.0, top_logprobs=0)
    return Row(prompt, adapter, Draw(sampling, NOISE), tokens, frozenset((2,)), 0, None, lambda _: None)


def finish(batch: Batch) -> None:
    with torch.inference_mode():
        while batch.rows:
            batch.step()
            batch.drop_finished()


def test_a_mixed_batch_says_what_peft_says(base: Path, adapters: list[Path], model: Any, bank: LoraBank) -> None:
    batch = Batch(model, bank, pad_id=0)
    rows = {(i, p): row(list(prompt), bank.named[f"a{i}"]) for i in range(3) for p, prompt in enumerate(PROMPTS)}
    plain = [row(list(prompt), None) for prompt in PROMPTS]
    with torch.inference_mode():
        batch.join([*rows.values(), *plain])
    finish(batch)
    for i, path in enumerate(adapters):
        for p, item in enumerate(fingerprint(base, path)):
            found = rows[i, p]
            assert found.tokens == item.expected_ids
            logs = [t.logprob for t in found.logprobs]
            assert logs == pytest.approx(item.expected_logprobs, abs=1e-4)
            assert plain[p].tokens == item.base_ids


def test_rows_that_join_later_and_leave_earlier_change_nothing(model: Any, bank: LoraBank) -> None:
    alone = Batch(model, bank, pad_id=0)
    expected = []
    for i, prompt in enumerate(PROMPTS):
        one = row(list(prompt), bank.named[f"a{i % 3}"])
        with torch.inference_mode():
            alone.join([one])
        finish(alone)
        expected.append(one)
    together = Batch(model, bank, pad_id=0)
    rows = [row(list(prompt), bank.named[f"a{i % 3}"]) for i, prompt in enumerate(PROMPTS)]
    guests = [row(list(prompt), None, tokens=2) for prompt in PROMPTS]
    with torch.inference_mode():
        for one, guest in zip(rows, guests, strict=True):
            together.join([one, guest])
            if together.rows:
                together.step()
                together.drop_finished()
    finish(together)
    for one, other in zip(rows, expected, strict=True):
        assert one.tokens == other.tokens
        assert [t.logprob for t in one.logprobs] == pytest.approx([t.logprob for t in other.logprobs], abs=1e-4)


def test_an_unloaded_adapter_finishes_its_rows(model: Any, bank: LoraBank, adapters: list[Path], base: Path) -> None:
    batch = Batch(model, bank, pad_id=0)
    one = row(list(PROMPTS[0]), bank.named["a1"])
    with torch.inference_mode():
        batch.join([one])
    assert one.adapter is not None
    bank.remove("a1", [one.adapter])
    assert "a1" not in bank.named
    batch.reselect()
    finish(batch)
    assert one.tokens == fingerprint(base, adapters[1])[0].expected_ids


def test_the_base_is_untouched_by_loaded_adapters(model: Any, bank: LoraBank, base: Path) -> None:
    bank.select([None])
    plain = AutoModelForCausalLM.from_pretrained(base).eval()
    assert continue_greedily(model, list(PROMPTS[2])) == continue_greedily(plain, list(PROMPTS[2]))


def damage(source: Path, target: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> Path:
    """A changed copy of an adapter."""
    tensors = load_file(source / "adapter_model.safetensors")
    config = json.loads((source / "adapter_config.json").read_text())
    change(tensors, config)
    target.mkdir()
    save_file(tensors, target / "adapter_model.safetensors")
    (target / "adapter_config.json").write_text(json.dumps(config))
    return target


def _nan(tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    next(iter(tensors.values()))[0, 0] = float("nan")


def _wrong_shape(tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    name = next(n for n in tensors if n.endswith("lora_A.weight"))
    tensors[name] = torch.zeros(8, 7)


def _wrong_prefix(tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    for name in list(tensors):
        tensors[name.replace("base_model.model.", "other.")] = tensors.pop(name)


def _half_missing(tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    del tensors[next(n for n in tensors if n.endswith("lora_B.weight"))]


def _rank_too_large(tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    config["r"] = 64


def _output_layer(tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    tensors["base_model.model.lm_head.lora_A.weight"] = torch.zeros(8, 64)


def _dora(tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    config["use_dora"] = True


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_nan, "NaN"),
        (_wrong_shape, "expected"),
        (_wrong_prefix, "no LoRA weight"),
        (_half_missing, "expected"),
        (_rank_too_large, "greater than max_lora_rank 16"),
        (_output_layer, "no LoRA weight"),
        (_dora, "use_dora"),
    ],
)
def test_unusable_adapters_are_refused(
    bank: LoraBank, adapters: list[Path], tmp_path: Path, change: Any, says: str
) -> None:
    with pytest.raises(AdapterUnusable, match=says):
        bank.read("bad", str(damage(adapters[0], tmp_path / "bad", change)))


def test_truncated_and_missing_files_are_refused(bank: LoraBank, adapters: list[Path], tmp_path: Path) -> None:
    with pytest.raises(AdapterNotFound, match="No adapter found"):
        bank.read("gone", str(tmp_path / "gone"))
    bad = damage(adapters[0], tmp_path / "cut", lambda tensors, config: None)
    data = (bad / "adapter_model.safetensors").read_bytes()
    (bad / "adapter_model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(AdapterUnusable):
        bank.read("cut", str(bad))


def test_places_are_bounded(bank: LoraBank, adapters: list[Path]) -> None:
    bank.add(bank.read("a3", str(adapters[0])), [])
    with pytest.raises(AdapterUnusable, match="--max-loras is 4"):
        bank.add(bank.read("a4", str(adapters[0])), [])


@pytest.mark.parametrize(
    ("waiting", "running", "oldest_s", "expected"),
    [
        (0, 0, 9.0, False),
        (1, 0, 0.0, False),  # in a moment there may be two
        (1, 0, 0.01, True),
        (8, 0, 0.0, True),
        (8, 24, 0.0, True),
        (9, 32, 9.0, False),  # no room
        (2, 30, 0.0, True),  # fills it
    ],
)
def test_admission(waiting: int, running: int, oldest_s: float, expected: bool) -> None:
    assert admit(waiting, running, oldest_s, EngineLimits()) is expected


def test_top_p_keeps_the_likeliest_and_seeds_repeat() -> None:
    logits = torch.log(torch.tensor([[0.6, 0.3, 0.1]])).repeat(200, 1)

    def draw(seed: int, **options: Any) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        rows = [Draw(Sampling(temperature=1.0, **options), generator) for _ in range(200)]
        return choose(logits, rows)[0]

    assert set(draw(0, top_p=0.5)) == {0}
    assert set(draw(0, top_p=0.7)) == {0, 1}
    assert set(draw(0, top_k=2)) == {0, 1}
    assert draw(3) == draw(3) and set(draw(3)) == {0, 1, 2}


def test_an_engine_that_dies_fails_its_rows_and_says_so(model: Any, bank: LoraBank) -> None:
    async def scene() -> None:
        engine = Engine(model, bank, 0, EngineLimits(max_waiting=2), asyncio.get_running_loop())
        failed = asyncio.Event()
        one = row([1, 2, 3], None)
        one.on_end = lambda _: failed.set()
        engine.submit([one])
        with pytest.raises(EngineBusy, match="waiting"):
            engine.submit([row([1], None), row([1], None)])
        engine.call(_die)
        engine.start()
        await asyncio.wait_for(failed.wait(), 10.0)
        assert one.finish == "length"  # a failing call belongs to its caller; the engine goes on
        bad = row([10_000_000], None)
        failed.clear()
        bad.on_end = lambda _: failed.set()
        engine.submit([bad])
        await asyncio.wait_for(failed.wait(), 10.0)
        assert bad.error is not None and engine.alive
        await asyncio.to_thread(engine.stop, 5.0)
        wait_until(lambda: not engine.alive, 5.0, "the thread to end")
        with pytest.raises(EngineBusy, match="ended"):
            engine.submit([one])
        assert engine.call(lambda: 5).result(1.0) == 5

    asyncio.run(scene())


def _die() -> None:
    raise RuntimeError("a call that fails")


def test_a_waiting_row_keeps_its_adapter_when_that_is_unloaded(
    model: Any, bank: LoraBank, base: Path, adapters: list[Path]
) -> None:
    """Between a request and its first step there may be an unload."""

    async def scene() -> Row:
        engine = Engine(model, bank, 0, EngineLimits(gather_s=60.0), asyncio.get_running_loop())
        ended = asyncio.Event()
        one = row(list(PROMPTS[0]), bank.named["a1"])
        one.on_end = lambda _: ended.set()
        engine.submit([one])
        unloading = engine.call(lambda: bank.remove("a1", engine.in_use()))
        engine.start()
        await asyncio.wrap_future(unloading)
        engine.submit([row(list(PROMPTS[1]), bank.named["a0"]) for _ in range(8)])  # enough to be admitted at once
        await asyncio.wait_for(ended.wait(), 10.0)
        await asyncio.to_thread(engine.stop, 5.0)
        return one

    assert asyncio.run(scene()).tokens == fingerprint(base, adapters[1])[0].expected_ids
