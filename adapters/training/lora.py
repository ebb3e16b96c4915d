# pyright: basic
"""Training an adapter: supervised on what users corrected or confirmed, held to the champion on everything else.

Each step draws a batch of new examples and one of replayed exchanges, and takes one AdamW step on

    cross-entropy(targets of the new)  +  kl_weight * KL(champion || student)(recorded replies of the replay)

The champion is asked anew with the same words left out of the prompt, so that it teaches on many variants of few
recordings (with the whole prompt it would teach to be sure where it is not: on real text that costs three points on
what is kept). What becomes the version is the average of the steps' weights. A part of the replay is never trained on:
on it the likelihood of the champion's replies is measured, before and after.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adapters.buffer import Row
from adapters.job import FailureReason
from adapters.manifest import FingerprintItem
from adapters.produce import JobFailed, Progress, Task, Trained
from adapters.training.average import WeightAverage
from adapters.training.batching import endless, pad
from adapters.training.chat import Encoded, Pair, PairError, drop_words, encode_pairs
from adapters.training.fingerprint import Print, fingerprint
from adapters.training.objectives import divergence, supervised
from adapters.training.schedule import flat
from adapters.training.scoring import mean_nll
from adapters.training.student import Student
from adapters.training_config import TrainingConfig

HELD_REPLAY = 128  # replayed rows that only measure
HELD_SHARE = 0.1  # of the replay, where that is fewer
SHOWN = 20  # steps over which reported losses are averaged

Told = Callable[[int, int, Mapping[str, float]], None]
"""Called after each step with steps done, steps in all, and the newest losses; may raise to end the training."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Token rows: `new` with targets, `replay` with the champion's replies, `held` of the latter only to measure."""

    new: list[Encoded]
    replay: list[Encoded]
    held: list[Encoded]
    too_long: int


def train(task: Task, progress: Progress) -> Trained:
    """Train the adapter that a job asks for (see `adapters.produce.Train`). Raises `JobFailed`."""
    job, buffer = task.job, task.buffer
    if job.config.threads:
        torch.set_num_threads(job.config.threads)
    try:
        student = Student(Path(job.base_dir), task.champion, job.config, job.seed)
    except (OSError, ValueError) as error:
        raise JobFailed(FailureReason.BASE_UNUSABLE, f"cannot load {job.base_dir}: {type(error).__name__}") from error
    pairs = [_pair(row) for row in buffer.new]
    anchored = [_pair(row) for row in (*buffer.replay, *buffer.anchors)]
    try:
        return train_adapter(student, pairs, anchored, job.config, job.seed, progress)
    except PairError as error:
        raise JobFailed(FailureReason.BUFFER_UNUSABLE, str(error)) from error


def train_adapter(
    student: Student, new: Sequence[Pair], replay: Sequence[Pair], config: TrainingConfig, seed: int, told: Told
) -> Trained:
    """Train `student` on pairs and give its tensors, fingerprint and metrics; the same for the same arguments.

    Raises `PairError` where nothing of `new` can be trained on, and whatever `told` raises.
    """
    began = time.monotonic()
    rng = random.Random(seed)
    rows = _rows(student, new, replay, config, rng)
    if not rows.new:
        raise PairError(f"expected new rows of at most {config.max_tokens} tokens, got none in {len(new)} examples")
    metrics: dict[str, float] = {
        "new_rows": len(rows.new),
        "replay_rows": len(rows.replay),
        "rows_too_long": rows.too_long,
    }
    if rows.held:
        metrics["nll_champion"] = _held_nll(student, rows.held, champion=True)
    metrics |= _fit(student, rows, config, rng, told)
    student.model.eval()
    if rows.held:
        metrics["nll_candidate"] = _held_nll(student, rows.held, champion=False)
    prompts = [row.ids[: row.start] for row in rng.sample(rows.new, len(rows.new))]
    prints = fingerprint(student, prompts, config.fingerprint_prompts, config.fingerprint_tokens)
    metrics["train_seconds"] = time.monotonic() - began
    return Trained(student.tensors(), [_item(p) for p in prints], metrics)


def _fit(student: Student, rows: Rows, config: TrainingConfig, rng: random.Random, told: Told) -> dict[str, float]:
    """The steps themselves; leaves the average in the student, gives the last losses."""
    optimizer = torch.optim.AdamW(
        student.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )
    average = WeightAverage(student.parameters, config.average_decay)
    news = endless(rows.new, config.new_per_step, rng)
    replays = endless(rows.replay, config.replay_per_step, rng) if rows.replay and config.replay_per_step else None
    recent: dict[str, deque[float]] = {"loss_new": deque(maxlen=SHOWN), "loss_kl": deque(maxlen=SHOWN)}
    student.model.train()
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * flat(step, config.steps, config.warmup_share, config.tail_share)
        batch = _batch(student, next(news), config, rng)
        loss = supervised(student.reply_logits(batch), batch)
        recent["loss_new"].append(float(loss.detach()))
        if replays is not None:
            batch = _batch(student, next(replays), config, rng)
            champion = student.champion_logits(batch)
            distance = divergence(student.reply_logits(batch), champion)
            recent["loss_kl"].append(float(distance.detach()))
            loss = loss + config.kl_weight * distance
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters, config.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update()
        told(step + 1, config.steps, _means(recent))
    average.apply()
    return _means(recent)


def _rows(
    student: Student, new: Sequence[Pair], replay: Sequence[Pair], config: TrainingConfig, rng: random.Random
) -> Rows:
    """Encode and sort out: too long rows are left out, rows of weight 0 too, and a part of the replay is held."""
    encoded = [row for row in encode_pairs(student.tokenizer, new) if row.weight > 0]
    replayed = encode_pairs(student.tokenizer, replay)
    fits = [row for row in encoded if len(row.ids) <= config.max_tokens]
    old = [row for row in replayed if len(row.ids) <= config.max_tokens]
    rng.shuffle(old)
    held = min(HELD_REPLAY, int(HELD_SHARE * len(old)))
    too_long = len(encoded) - len(fits) + len(replayed) - len(old)
    return Rows(fits, old[held:], old[:held], too_long)


def _batch(student: Student, rows: Sequence[Encoded], config: TrainingConfig, rng: random.Random) -> Any:
    dropped = [drop_words(row, config.word_dropout, student.special_ids, rng) for row in rows]
    return pad(dropped, student.pad_id).to(student.device)


def _held_nll(student: Student, held: Sequence[Encoded], champion: bool) -> float:
    logits_of = student.champion_logits if champion else student.reply_logits
    return mean_nll(logits_of, held, student.pad_id, student.device)


def _means(recent: Mapping[str, deque[float]]) -> dict[str, float]:
    return {name: sum(values) / len(values) for name, values in recent.items() if values}


def _pair(row: Row) -> Pair:
    return Pair(tuple({"role": m.role, "content": m.content} for m in row.messages), row.target, row.weight)


def _item(found: Print) -> FingerprintItem:
    return FingerprintItem(
        prompt_ids=found.prompt,
        expected_ids=found.adapter.ids,
        expected_logprobs=found.adapter.logprobs,
        base_ids=found.base.ids,
        base_logprobs=found.base.logprobs,
    )
