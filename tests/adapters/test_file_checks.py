"""Every way in which an adapter can be unfit is refused with its own reason, and a sound one is not."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.base_shape import BaseShape, BaseUnusable, read_base_shape
from adapters.file_checks import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    AdapterRejected,
    CheckLimits,
    RejectReason,
    check_adapter,
    update_rms,
)
from adapters.manifest import MANIFEST_NAME
from adapters.tensor_file import encode
from tests.adapters.samples import random_tensors, sign, write_adapter, write_base

Change = Callable[[Path, BaseShape], None]
FIRST = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture
def base(tmp_path: Path) -> BaseShape:
    return write_base(tmp_path / "base")


@pytest.fixture
def folder(tmp_path: Path, base: BaseShape) -> Path:
    write_adapter(tmp_path / "adapter", base)
    return tmp_path / "adapter"


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_sound_adapter_passes(tmp_path: Path, base: BaseShape, dtype: str) -> None:
    manifest = write_adapter(tmp_path / "sound", base, dtype=dtype)
    assert check_adapter(tmp_path / "sound", base) == manifest


# ---------------------------------------------------------------- damage that the digests must notice


def truncated(folder: Path, base: BaseShape) -> None:
    path = folder / WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[:-100])


def half_zeroed(folder: Path, base: BaseShape) -> None:
    path = folder / WEIGHTS_NAME
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2] + bytes(len(raw) - len(raw) // 2))


def flipped(folder: Path, base: BaseShape) -> None:
    path = folder / WEIGHTS_NAME
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)


def other_config(folder: Path, base: BaseShape) -> None:
    path = folder / CONFIG_NAME
    path.write_text(path.read_text() + " ")


@pytest.mark.parametrize("damage", [truncated, half_zeroed, flipped, other_config])
def test_changed_bytes_are_noticed_by_the_digest(folder: Path, base: BaseShape, damage: Change) -> None:
    damage(folder, base)
    with pytest.raises(AdapterRejected) as caught:
        check_adapter(folder, base)
    assert caught.value.reason is RejectReason.DIGEST


# ------------------------------------------------- what is wrong although the manifest says that it is meant


def with_tensor(name: str, change: Callable[[Any], Any]) -> Change:
    def apply(folder: Path, base: BaseShape) -> None:
        tensors = random_tensors(base)
        tensors[name] = change(tensors[name])
        (folder / WEIGHTS_NAME).write_bytes(encode(tensors))
        sign(folder, base)

    return apply


def spoil(value: float) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array[1, 1] = value
        return array

    return change


def renamed(old: str, new: str) -> Change:
    def apply(folder: Path, base: BaseShape) -> None:
        tensors = {name.replace(old, new): t for name, t in random_tensors(base).items()}
        (folder / WEIGHTS_NAME).write_bytes(encode(tensors))
        sign(folder, base)

    return apply


def missing_layer(folder: Path, base: BaseShape) -> None:
    tensors = {n: t for n, t in random_tensors(base).items() if "layers.1." not in n}
    (folder / WEIGHTS_NAME).write_bytes(encode(tensors))
    sign(folder, base)


def zero_everywhere(folder: Path, base: BaseShape) -> None:
    tensors = {n: t * ("lora_A" in n) for n, t in random_tensors(base).items()}
    (folder / WEIGHTS_NAME).write_bytes(encode(tensors))
    sign(folder, base)


def integers(folder: Path, base: BaseShape) -> None:
    full = (folder / WEIGHTS_NAME).read_bytes()
    length = int.from_bytes(full[:8], "little")
    header = json.loads(full[8 : 8 + length])
    header[f"{FIRST}.lora_A.weight"]["dtype"] = "I32"
    text = json.dumps(header).encode()
    (folder / WEIGHTS_NAME).write_bytes(len(text).to_bytes(8, "little") + text + full[8 + length :])
    sign(folder, base)


def pickled(folder: Path, base: BaseShape) -> None:
    (folder / WEIGHTS_NAME).write_bytes(pickle.dumps({"weights": [1.0]}))
    sign(folder, base)


def config_with(**fields: Any) -> Change:
    def apply(folder: Path, base: BaseShape) -> None:
        path = folder / CONFIG_NAME
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))
        sign(folder, base)

    return apply


def wrong_base(folder: Path, base: BaseShape) -> None:
    sign(folder, base, base_digest="0" * 64)


CASES: list[tuple[str, Change, RejectReason]] = [
    ("nan", with_tensor(f"{FIRST}.lora_A.weight", spoil(float("nan"))), RejectReason.NON_FINITE),
    ("inf", with_tensor(f"{FIRST}.lora_B.weight", spoil(float("inf"))), RejectReason.NON_FINITE),
    ("hidden size", with_tensor(f"{FIRST}.lora_A.weight", lambda a: a[:, :-1]), RejectReason.SHAPE),
    ("transposed", with_tensor(f"{FIRST}.lora_A.weight", lambda a: a.T.copy()), RejectReason.SHAPE),
    ("rank", with_tensor(f"{FIRST}.lora_B.weight", lambda b: np.hstack([b, b])), RejectReason.SHAPE),
    ("prefix", renamed("base_model.model.model", "base_model.model"), RejectReason.NAMES),
    ("lm_head", renamed("layers.1.mlp.up_proj", "lm_head"), RejectReason.LM_HEAD),
    ("missing layer", missing_layer, RejectReason.NAMES),
    ("one silent", with_tensor(f"{FIRST}.lora_B.weight", lambda b: b * 0), RejectReason.NO_EFFECT),
    ("all silent", zero_everywhere, RejectReason.NO_EFFECT),
    ("too strong", with_tensor(f"{FIRST}.lora_B.weight", lambda b: b * 1e4), RejectReason.NORM),
    ("overflow", with_tensor(f"{FIRST}.lora_B.weight", lambda b: b * 0 + 3e38), RejectReason.NORM),
    ("integers", integers, RejectReason.DTYPE),
    ("pickle", pickled, RejectReason.PICKLE),
    ("auto_map", config_with(auto_map={"AutoModel": "x.Y"}), RejectReason.AUTO_MAP),
    ("nested auto_map", config_with(loftq_config={"a": [{"auto_map": "x"}]}), RejectReason.AUTO_MAP),
    ("modules_to_save", config_with(modules_to_save=["lm_head"]), RejectReason.MODULES_TO_SAVE),
    ("lm_head target", config_with(target_modules=["q_proj", "lm_head"]), RejectReason.LM_HEAD),
    ("regex target", config_with(target_modules=".*"), RejectReason.CONFIG),
    ("dora", config_with(use_dora=True), RejectReason.CONFIG),
    ("rslora", config_with(use_rslora=True), RejectReason.CONFIG),
    ("unknown switch", config_with(brand_new_feature={"on": True}), RejectReason.CONFIG),
    ("rank pattern", config_with(rank_pattern={"q_proj": 8}), RejectReason.CONFIG),
    ("other method", config_with(peft_type="IA3"), RejectReason.CONFIG),
    ("config rank", config_with(r=8), RejectReason.CONFIG),
    ("config alpha", config_with(lora_alpha=float("nan")), RejectReason.CONFIG),
    ("huge rank", config_with(r=1024), RejectReason.RANK),
    ("wrong base", wrong_base, RejectReason.WRONG_BASE),
]


@pytest.mark.parametrize(("change", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_unfit_content_is_refused_though_its_digests_are_right(
    folder: Path, base: BaseShape, change: Change, reason: RejectReason
) -> None:
    change(folder, base)
    with pytest.raises(AdapterRejected) as caught:
        check_adapter(folder, base)
    assert caught.value.reason is reason


# -------------------------------------------------------------------------------- what is in the folder


def linked_file(folder: Path) -> None:
    target = folder.parent / "elsewhere"
    (folder / WEIGHTS_NAME).rename(target)
    (folder / WEIGHTS_NAME).symlink_to(target)


def extra_pickle(folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({}))


def extra_code(folder: Path) -> None:
    (folder / "modeling.py").write_text("import os")


def subfolder(folder: Path) -> None:
    (folder / "deeper").mkdir()


def no_weights(folder: Path) -> None:
    (folder / WEIGHTS_NAME).unlink()


def no_manifest(folder: Path) -> None:
    (folder / MANIFEST_NAME).unlink()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (linked_file, RejectReason.SYMLINK),
        (extra_pickle, RejectReason.PICKLE),
        (extra_code, RejectReason.UNEXPECTED_FILE),
        (subfolder, RejectReason.UNEXPECTED_FILE),
        (no_weights, RejectReason.MISSING_FILE),
        (no_manifest, RejectReason.MISSING_FILE),
    ],
)
def test_folders_that_hold_anything_else_are_refused(
    folder: Path, base: BaseShape, change: Callable[[Path], None], reason: RejectReason
) -> None:
    change(folder)
    with pytest.raises(AdapterRejected) as caught:
        check_adapter(folder, base)
    assert caught.value.reason is reason


def test_a_linked_or_absent_folder_is_refused(tmp_path: Path, folder: Path, base: BaseShape) -> None:
    os.symlink(folder, tmp_path / "link")
    for path, reason in ((tmp_path / "link", RejectReason.SYMLINK), (tmp_path / "none", RejectReason.FOLDER)):
        with pytest.raises(AdapterRejected) as caught:
            check_adapter(path, base)
        assert caught.value.reason is reason


def test_limits_of_rank_and_size_hold(folder: Path, base: BaseShape) -> None:
    for limits, reason in (
        (CheckLimits(max_rank=2), RejectReason.RANK),
        (CheckLimits(max_bytes=99), RejectReason.TOO_LARGE),
    ):
        with pytest.raises(AdapterRejected) as caught:
            check_adapter(folder, base, limits)
        assert caught.value.reason is reason


def test_the_size_of_an_update_is_that_of_the_product() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(3, 20)).astype(np.float32), rng.normal(size=(11, 3)).astype(np.float32)
    product = b.astype(np.float64) @ a.astype(np.float64)
    assert update_rms(a, b) == pytest.approx(float(np.sqrt(np.mean(product**2))), rel=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["BertModel"]}, "BertModel"),
        ({"hidden_size": "many"}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
    ],
)
def test_a_base_that_cannot_be_adapted_says_why(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_base(tmp_path / "base")
    path = tmp_path / "base" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BaseUnusable, match=message):
        read_base_shape(tmp_path / "base")


def test_a_base_without_weights_or_folder_says_why(tmp_path: Path) -> None:
    write_base(tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").unlink()
    with pytest.raises(BaseUnusable, match="safetensors"):
        read_base_shape(tmp_path / "base")
    with pytest.raises(BaseUnusable, match="none"):
        read_base_shape(tmp_path / "none")


def test_the_base_digest_changes_with_the_weights_and_the_tokenizer(tmp_path: Path) -> None:
    first = write_base(tmp_path / "base")
    (tmp_path / "base" / "README.md").write_text("no part of the model")
    assert read_base_shape(tmp_path / "base").digest == first.digest
    (tmp_path / "base" / "tokenizer.json").write_text("{}")
    assert read_base_shape(tmp_path / "base").digest != first.digest
