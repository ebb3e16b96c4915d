"""The base model of a world: trained once by the trainer's environment, then taken from a cache by content."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import orjson

from daemon.demo.children import ChildFailed
from daemon.demo.documents import Json, number

CODE = ("tiny_*.py", "batching.py", "chat.py", "schedule.py")
"""Modules that train the base, below adapters/training."""
RECORD = "demo_base.json"
"""Beside the model: how long its training took."""


@dataclass(frozen=True, slots=True)
class Base:
    """A trained base."""

    folder: Path
    seconds: float
    """What its training took, also when it comes from the cache."""
    cached: bool


def cache_root(project: Path) -> Path:
    """``HOMEOSTAT_CACHE``, else ``.cache/homeostat`` of the checkout, else of the home folder."""
    if named := os.environ.get("HOMEOSTAT_CACHE"):
        return Path(named)
    return (project if (project / "pyproject.toml").exists() else Path.home()) / ".cache" / "homeostat"


def content_key(files: Sequence[Path], seed: int) -> str:
    """Names the base by everything that it is made of: training text, seed, and the code that trains it."""
    digest = hashlib.sha256(str(seed).encode())
    for path in files:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def training_code(project: Path) -> list[Path]:
    """Source files whose change makes another base."""
    folder = project / "adapters" / "training"
    return sorted(path for pattern in CODE for path in folder.glob(pattern))


async def trained_base(
    python: Path, project: Path, pairs: Path, lines: Path, seed: int, told: Callable[[float, str], None]
) -> Base:
    """The base for these pairs and lines; ``told`` gets progress in [0, 1] and a word. Raises ChildFailed.

    The model is written beside its place and renamed at the end: an interrupted training leaves nothing to trust.
    """
    place = cache_root(project) / f"base-{content_key([pairs, lines, *training_code(project)], seed)}"
    record = place / RECORD
    with suppress(OSError, orjson.JSONDecodeError, KeyError):
        return Base(place, float(orjson.loads(record.read_bytes())["seconds"]), True)
    draft = place.with_name(f"{place.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    await _train(python, project, pairs, lines, draft, seed, told)
    seconds = time.monotonic() - began
    (draft / RECORD).write_bytes(orjson.dumps({"seconds": round(seconds, 2), "seed": seed}))
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)
    return Base(place, seconds, False)


async def _train(
    python: Path, project: Path, pairs: Path, lines: Path, out: Path, seed: int, told: Callable[[float, str], None]
) -> None:
    argv = [str(python), "-m", "adapters.training.tiny_base", "--pairs", str(pairs), "--lines", str(lines)]
    argv += ["--out", str(out), "--seed", str(seed)]
    errors = out.with_name(out.name + ".log")
    with errors.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=project, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        assert process.stdout is not None
        try:
            async for raw in process.stdout:
                with suppress(orjson.JSONDecodeError, TypeError, ValueError):
                    told(*progress(orjson.loads(raw)))
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if code != 0:
        raise ChildFailed(f"training the base ended with code {code}:\n{errors.read_text(errors='replace')[-2000:]}")
    errors.unlink()


def progress(row: object) -> tuple[float, str]:
    """Fraction done and a word from one progress line. Raises TypeError, ValueError for another kind of line."""
    if not isinstance(row, dict):
        raise TypeError("not a progress line")
    fields = cast("Json", row)
    step, steps, loss = number(fields, "step"), number(fields, "steps"), number(fields, "loss")
    if step is None or not steps:
        raise ValueError("not a progress line")
    return step / steps, "" if loss is None else f"loss {loss:.2f}"
