# pyright: basic
"""Training one LoRA adapter: from a prepared task to tensors, fingerprint and metrics. Torch lives here."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapters.buffer import Row
from adapters.job import FailureReason
from adapters.produce import JobFailed, Progress, Task, Trained
from adapters.training.batching import pad
from adapters.training.chat import Encoded, Pair, drop_words, encode_pairs, truncate
from adapters.training.fingerprint import fingerprint
from adapters.training.objective import distance_to, reply_logits, reply_tokens, supervised
from adapters.training.schedule import cosine
from adapters.training_config import TrainingConfig

_WINDOW = 12
"""Batches drawn together and sorted by length, so that little is padded."""
_PROBED = 24
"""Prompts tried for the fingerprint."""
_NLL_ROWS = 256


def train_adapter(task: Task, progress: Progress) -> Trained:
    """Train; ``progress`` is called after each step and may raise. Raises JobFailed."""
    config, began = task.job.config, time.monotonic()
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(task.job.seed)
    rng = random.Random(task.job.seed)
    folder = Path(task.job.base_dir)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    new = _rows(tokenizer, task.buffer.new, config)
    kept = _rows(tokenizer, [*task.buffer.replay, *task.buffer.anchors], config)
    if not new:
        raise JobFailed(FailureReason.BUFFER_UNUSABLE, f"no new example is shorter than {config.max_tokens} tokens")
    student, teacher = _models(folder, task.champion, config)
    special = frozenset(tokenizer.all_special_ids)
    _fit(student, teacher, new, kept, config, special, _pad_id(tokenizer), rng, progress, began)
    student.eval()
    sample = rng.sample(kept or new, min(_NLL_ROWS, len(kept or new)))
    prompts = [row.ids[: row.start] for row in rng.sample(new, min(_PROBED, len(new)))]
    tensors = {name: t.detach().float().numpy() for name, t in get_peft_model_state_dict(student).items()}
    return Trained(
        tensors=tensors,
        fingerprint=fingerprint(
            student, prompts, config.fingerprint_prompts, config.fingerprint_tokens, tokenizer.eos_token_id
        ),
        metrics={
            "nll_champion": nll(teacher, sample, _pad_id(tokenizer)),
            "nll_candidate": nll(student, sample, _pad_id(tokenizer)),
            "new_rows": float(len(new)),
            "kept_rows": float(len(kept)),
            "seconds": time.monotonic() - began,
        },
    )


@torch.no_grad()
def nll(model: Any, rows: Sequence[Encoded], pad_id: int, size: int = 64) -> float:
    """Mean negative log-likelihood (nats a token) of the rows' replies."""
    total, tokens = 0.0, 0
    for begin in range(0, len(rows), size):
        batch = pad(rows[begin : begin + size], pad_id)
        losses = torch.nn.functional.cross_entropy(reply_logits(model, batch), reply_tokens(batch), reduction="sum")
        total, tokens = total + float(losses), tokens + int(batch.reply[:, 1:].sum())
    return total / max(tokens, 1)


def _fit(
    student: Any,
    teacher: Any,
    new: Sequence[Encoded],
    kept: Sequence[Encoded],
    config: TrainingConfig,
    special: frozenset[int],
    pad_id: int,
    rng: random.Random,
    progress: Progress,
    began: float,
) -> None:
    parameters = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )
    news = _stream(new, config.new_per_step, rng)
    keeps = _stream(kept, config.replay_per_step, rng) if kept and config.replay_per_step else None
    student.train()
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * cosine(step, config.steps, config.warmup_share)
        batch = pad([drop_words(r, config.word_dropout, special, rng) for r in next(news)], pad_id)
        loss = learnt = supervised(student, batch)
        distance = torch.zeros(())
        if keeps is not None:
            old = pad([drop_words(r, config.word_dropout, special, rng) for r in next(keeps)], pad_id)
            distance = distance_to(teacher, student, old)
            loss = learnt + config.kl_weight * distance
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress(step + 1, config.steps, {"loss": float(learnt.detach()), "kl": float(distance.detach())})
        if time.monotonic() - began > config.max_seconds:
            raise JobFailed(FailureReason.TIMED_OUT, f"expected an end within {config.max_seconds:g} s")


def _stream(rows: Sequence[Encoded], size: int, rng: random.Random) -> Iterator[list[Encoded]]:
    """Batches without end: every row once before any row twice, like lengths together within a window."""
    waiting: list[int] = []
    batches: list[list[Encoded]] = []
    while True:
        if not batches:
            while len(waiting) < size * _WINDOW:
                waiting += rng.sample(range(len(rows)), len(rows))
            window, waiting = waiting[: size * _WINDOW], waiting[size * _WINDOW :]
            window.sort(key=lambda j: len(rows[j].ids))
            batches = [[rows[j] for j in window[i : i + size]] for i in range(0, len(window), size)]
            rng.shuffle(batches)
        yield batches.pop()


def _models(folder: Path, champion: Path | None, config: TrainingConfig) -> tuple[Any, Any]:
    """(student with a trainable adapter, frozen teacher): the champion is the start of one and the whole of the
    other.
    """
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    teacher = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if champion is None:
        lora = LoraConfig(
            r=config.rank, lora_alpha=config.alpha, target_modules=list(config.targets), task_type="CAUSAL_LM"
        )
        return get_peft_model(base, lora), teacher.eval()
    student = PeftModel.from_pretrained(base, str(champion), is_trainable=True)
    return student, PeftModel.from_pretrained(teacher, str(champion)).eval()


def _rows(tokenizer: Any, rows: Sequence[Row], config: TrainingConfig) -> list[Encoded]:
    pairs = [Pair(tuple(m.model_dump() for m in row.messages), row.target, row.weight) for row in rows]
    return truncate(encode_pairs(tokenizer, [p for p in pairs if p.target.strip()]), config.max_tokens)


def _pad_id(tokenizer: Any) -> int:
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)
