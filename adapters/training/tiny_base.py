# pyright: basic
"""`python -m adapters.training.tiny_base`: train the demo's base model as a process of its own.

Writes a Hugging Face folder and says on stdout how far it is, one JSON object a line:
`{"step": 12, "steps": 700, "loss": 3.21, "seconds": 1.9}`, at the end `{"done": true, "steps": ..., "seconds": ...}`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

TELL_EVERY = 10  # steps between two progress lines


class TextUnusable(ValueError):
    """A training file that cannot be read as what it should be; the message names the line."""


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """(prompt, reply) from JSON lines: objects with `prompt` and `reply`, or arrays of two. Raises `TextUnusable`."""
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            prompt, reply = (row["prompt"], row["reply"]) if isinstance(row, dict) else row
        except (ValueError, KeyError, TypeError) as error:
            raise TextUnusable(
                f'{path}:{number}: expected {{"prompt": ..., "reply": ...}}, got {line[:80]!r}'
            ) from error
        pairs.append((str(prompt), str(reply)))
    if not pairs:
        raise TextUnusable(f"{path}: expected at least one pair, got an empty file")
    return pairs


def read_lines(path: Path) -> list[str]:
    """The lines that are not blank."""
    return [line.strip() for line in path.read_text("utf-8").split("\n") if line.strip()]


def parser() -> argparse.ArgumentParser:
    """The options of the process."""
    p = argparse.ArgumentParser(prog="python -m adapters.training.tiny_base", description=__doc__)
    p.add_argument("--pairs", type=Path, required=True, help="JSON lines with prompt and reply")
    p.add_argument("--lines", type=Path, required=True, help="prompts without replies, one a line")
    p.add_argument("--out", type=Path, required=True, help="folder to write the model into")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=2, help="torch threads; another number gives another model")
    return p


def main(argv: list[str] | None = None) -> int:
    """Train and save; 2 with one line on stderr where the text or the folder cannot be used."""
    options = parser().parse_args(argv)
    try:
        pairs, lines = read_pairs(options.pairs), read_lines(options.lines)
        options.out.mkdir(parents=True, exist_ok=True)
    except (OSError, TextUnusable) as error:
        print(error, file=sys.stderr)
        return 2
    # Read by OpenMP when torch is imported. Passive: on a busy machine, threads that spin for each other take three
    # times the processor's time for the same work.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ["OMP_WAIT_POLICY"] = "passive"
    import torch

    from adapters.training.tiny_model import save
    from adapters.training.tiny_training import train_tiny

    torch.set_num_threads(options.threads)
    began = time.monotonic()
    steps_done = 0

    def told(step: int, steps: int, loss: float) -> None:
        nonlocal steps_done
        steps_done = step
        if step % TELL_EVERY == 0 or step in (1, steps):
            seconds = round(time.monotonic() - began, 2)
            print(json.dumps({"step": step, "steps": steps, "loss": round(loss, 4), "seconds": seconds}), flush=True)

    model, tokenizer = train_tiny(pairs, lines, options.seed, told)
    save(model, tokenizer, options.out)
    print(json.dumps({"done": True, "steps": steps_done, "seconds": round(time.monotonic() - began, 2)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
