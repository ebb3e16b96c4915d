# pyright: basic
"""The base: learns its own desks, knows nothing else, loads like any model, and is the same for the same seed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.trainer

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from adapters.base_shape import read_base_shape  # noqa: E402
from adapters.training.tiny_base import TextUnusable, main, read_pairs  # noqa: E402
from tests.adapters.training.replies import share_right  # noqa: E402
from tests.adapters.training.toy import NEW, OLD, SMALL, asked, toy_base  # noqa: E402


@pytest.mark.slow
def test_it_answers_what_it_was_taught_and_not_what_it_only_read(base_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base_folder)
    tokenizer = AutoTokenizer.from_pretrained(base_folder)
    assert share_right(model, tokenizer, asked(OLD, 60, 9)) > 0.95
    assert share_right(model, tokenizer, asked(NEW, 60, 9)) == 0.0


def test_the_folder_is_an_ordinary_one(base_folder: Path) -> None:
    config = json.loads((base_folder / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["head_dim"] in (32, 64)
    assert config["tie_word_embeddings"]
    generation = json.loads((base_folder / "generation_config.json").read_text("utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(base_folder)
    assert generation["eos_token_id"] == config["eos_token_id"] == tokenizer.eos_token_id
    assert generation["bos_token_id"] == config["bos_token_id"] == tokenizer.bos_token_id
    assert generation["pad_token_id"] == config["pad_token_id"] == tokenizer.pad_token_id
    assert "<|assistant|>" in tokenizer.chat_template
    text = "Any text, 100 % of it: naïve – Ω\n"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert read_base_shape(base_folder).layers == 2


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights() -> None:
    brief = SMALL.__class__(shape=SMALL.shape, tokens=6_000, batch_tokens=512)
    one, two, other = (toy_base(seed, brief)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


@pytest.mark.slow
def test_the_process_tells_its_progress_in_json_and_saves(tmp_path: Path) -> None:
    pairs, lines = tmp_path / "pairs.jsonl", tmp_path / "lines.txt"
    rows = [json.dumps({"prompt": p, "reply": r}) for p, r in asked(OLD, 40, 0)]
    pairs.write_text("\n".join(rows), "utf-8")
    lines.write_text("what is covered\n", "utf-8")
    command = [sys.executable, "-m", "adapters.training.tiny_base", "--pairs", str(pairs), "--lines", str(lines)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "base"), "--threads", "1"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[-1]["done"] is True
    progress = [row["step"] / row["steps"] for row in told if "step" in row]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    AutoModelForCausalLM.from_pretrained(tmp_path / "base")


def test_text_that_cannot_be_used_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "a", "reply": "b"}\n{"prompt": "a"}\n', "utf-8")
    with pytest.raises(TextUnusable, match=r"pairs\.jsonl:2"):
        read_pairs(path)
    assert main(["--pairs", str(path), "--lines", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "pairs.jsonl:2" in capsys.readouterr().err
    path.write_text('["a", "b"]\n', "utf-8")
    assert read_pairs(path) == [("a", "b")]
