"""Thousands of damaged adapters, none accepted: torn, zeroed, flipped, swapped, and resealed with bad content."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters.base_shape import BaseShape
from adapters.file_checks import CONFIG_NAME, WEIGHTS_NAME, AdapterRejected, check_adapter
from adapters.manifest import MANIFEST_NAME
from adapters.tensor_file import encode
from tests.adapters.samples import random_tensors, sign, write_adapter, write_base

BYTE_MUTANTS = 3000
SEALED_MUTANTS = 600


def damaged(raw: bytes, rng: random.Random) -> tuple[str, bytes]:
    """One way to damage bytes, by name; always other bytes than before."""
    at = rng.randrange(len(raw))
    match rng.choice(("flip", "cut", "zero", "insert", "swap", "repeat", "empty")):
        case "flip":
            changed = bytearray(raw)
            changed[at] ^= 1 << rng.randrange(8)
            return "flip", bytes(changed)
        case "cut":
            return "cut", raw[:at]
        case "zero":
            end = min(len(raw), at + rng.randrange(1, len(raw)))
            return "zero", raw[:at] + bytes(end - at) + raw[end:]
        case "insert":
            return "insert", raw[:at] + rng.randbytes(rng.randrange(1, 64)) + raw[at:]
        case "swap":
            return "swap", raw[at:] + raw[:at]
        case "repeat":
            return "repeat", raw + raw[at:]
        case _:
            return "empty", b""


def spoilt(base: BaseShape, rng: random.Random) -> tuple[str, dict[str, NDArray[np.float32]]]:
    """Tensors that are wrong although whoever wrote them sealed them."""
    tensors: dict[str, NDArray[np.float32]] = dict(random_tensors(base, rng.randrange(10**6)))
    name = rng.choice(sorted(tensors))
    array = tensors[name]
    flat = rng.randrange(array.size)
    kind = rng.choice(("nan", "inf", "huge", "zero", "drop", "rename", "narrow", "wide", "extra", "transpose"))
    if kind in ("nan", "inf"):
        array.flat[flat] = float(kind)
    elif kind == "huge":
        array *= 1e6
    elif kind == "zero":
        array *= 0.0
    elif kind == "drop":
        del tensors[name]
    elif kind == "rename":
        tensors[name.replace("layers", "blocks")] = tensors.pop(name)
    elif kind == "narrow":
        tensors[name] = array[:-1]
    elif kind == "wide":
        tensors[name] = np.hstack([array, array])
    elif kind == "extra":
        tensors["base_model.model.lm_head.lora_A.weight"] = array
    else:
        tensors[name] = array.T.copy()
    return kind, tensors


@pytest.mark.slow
def test_no_damaged_file_is_accepted(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    folder = tmp_path / "adapter"
    write_adapter(folder, base)
    rng = random.Random(7)
    names = (WEIGHTS_NAME, CONFIG_NAME, MANIFEST_NAME)
    sound = {name: (folder / name).read_bytes() for name in names}
    refused: Counter[str] = Counter()
    for number in range(BYTE_MUTANTS):
        name = names[number % 3]
        kind, mutant = damaged(sound[name], rng)
        if mutant == sound[name]:
            continue  # zeros over zeros: no damage was done
        (folder / name).write_bytes(mutant)
        with pytest.raises(AdapterRejected):
            check_adapter(folder, base)
            pytest.fail(f"mutant {number} accepted: {kind} of {name}")
        refused[f"{name} {kind}"] += 1
        (folder / name).write_bytes(sound[name])
    assert check_adapter(folder, base)
    assert len(refused) == 21 and refused.total() > 0.95 * BYTE_MUTANTS


@pytest.mark.slow
def test_no_wrong_content_is_accepted_though_it_is_sealed(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    folder = tmp_path / "adapter"
    write_adapter(folder, base)
    rng = random.Random(11)
    refused: Counter[str] = Counter()
    for number in range(SEALED_MUTANTS):
        kind, tensors = spoilt(base, rng)
        (folder / WEIGHTS_NAME).write_bytes(encode(tensors))
        sign(folder, base)
        with pytest.raises(AdapterRejected):
            check_adapter(folder, base)
            pytest.fail(f"mutant {number} accepted: {kind}")
        refused[kind] += 1
    assert len(refused) == 10


def test_one_sound_adapter_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    one, other = tmp_path / "one", tmp_path / "other"
    write_adapter(one, base)
    write_adapter(other, base, random_tensors(base, seed=5))
    shutil.copy(other / WEIGHTS_NAME, one / WEIGHTS_NAME)
    with pytest.raises(AdapterRejected, match="digest"):
        check_adapter(one, base)
