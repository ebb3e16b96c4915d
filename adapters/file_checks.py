"""The torch-free check that an adapter's files must pass before anything loads them.

Servers do not check: NaN, a wrong hidden size, a wrong key prefix (no effect at all), missing layers and a foreign base
all load with 200, and safetensors itself notices truncation but neither a zeroed half nor a flipped bit. So: exactly
the files that we know, their digests, then every name, shape, dtype and number in them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adapters import adapter_config, tensor_file
from adapters.adapter_config import AdapterConfigInvalid
from adapters.base_shape import BaseShape, module_name
from adapters.demonstrations import DemonstrationsInvalid, holds_demonstrations, read_demonstrations
from adapters.manifest import MANIFEST_NAME, FileEntry, Manifest, ManifestInvalid, read_manifest
from adapters.tensor_file import TensorFile, TensorFileInvalid

CONFIG_NAME: Final = "adapter_config.json"
WEIGHTS_NAME: Final = "adapter_model.safetensors"
EXPECTED_FILES: Final = frozenset({CONFIG_NAME, WEIGHTS_NAME, MANIFEST_NAME})

_PICKLE_SUFFIXES: Final = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
_PICKLE_STARTS: Final = (b"\x80", b"PK\x03\x04", b"(dp", b"(lp", b"ccopy_reg")
"""What does not parse and begins like this is a pickle. A header's length may begin so too: parse first."""


class RejectReason(StrEnum):
    """Why an adapter is refused. Bounded: it labels a counter."""

    FOLDER = "folder"
    SYMLINK = "symlink"
    UNEXPECTED_FILE = "unexpected_file"
    MISSING_FILE = "missing_file"
    PICKLE = "pickle"
    MANIFEST = "manifest"
    DIGEST = "digest"
    WRONG_BASE = "wrong_base"
    TOO_LARGE = "too_large"
    FORMAT = "format"
    CONFIG = "config"
    AUTO_MAP = "auto_map"
    MODULES_TO_SAVE = "modules_to_save"
    LM_HEAD = "lm_head"
    RANK = "rank"
    NAMES = "names"
    SHAPE = "shape"
    DTYPE = "dtype"
    NON_FINITE = "non_finite"
    NO_EFFECT = "no_effect"
    NORM = "norm"
    DEMONSTRATIONS = "demonstrations"


class AdapterRejected(ValueError):
    """The adapter's files must not be loaded; `reason` is the named reason, the message tells people more."""

    def __init__(self, reason: RejectReason, message: str) -> None:
        """Keep the reason beside the message."""
        super().__init__(f"{reason}: {message}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """What an adapter may be at most."""

    max_rank: int = 512
    """The server's --max-lora-rank where it is known; 512 is the largest that vLLM has."""
    max_bytes: int = 4 * 1024**3
    """Size of the weights file in bytes. 4 GiB: rank 256 on a base of 70 billion parameters."""
    max_delta_rms: float = 0.5
    """Largest root mean square of an element of the update (alpha / rank) B A of one projection. 0.5: 300 steps at the
    largest useful step size give 0.02 to 0.06 on weights of 0.08 to 0.12; this is several times what it updates."""


DEFAULT_LIMITS: Final = CheckLimits()


def check_version(folder: Path, base: BaseShape, limits: CheckLimits = DEFAULT_LIMITS) -> Manifest:
    """The manifest of a folder that is a whole version of any kind, made for this base. Raises AdapterRejected."""
    if not holds_demonstrations(folder):
        return check_adapter(folder, base, limits)
    try:
        manifest, _ = read_demonstrations(folder)
    except DemonstrationsInvalid as error:
        raise AdapterRejected(RejectReason.DEMONSTRATIONS, str(error)) from error
    except OSError as error:
        raise AdapterRejected(RejectReason.FOLDER, f"cannot read {folder}: {error.strerror}") from error
    _check_base(manifest, base)
    return manifest


def check_adapter(folder: Path, base: BaseShape, limits: CheckLimits = DEFAULT_LIMITS) -> Manifest:
    """The manifest of a folder whose files are fit to be loaded on this base.

    Raises AdapterRejected with the first reason found; reads every byte once.
    """
    _check_folder(folder)
    raw = {name: _read(folder / name, limits.max_bytes) for name in sorted(EXPECTED_FILES - {MANIFEST_NAME})}
    try:
        manifest = read_manifest(folder)
    except ManifestInvalid as error:
        raise AdapterRejected(RejectReason.MANIFEST, str(error)) from error
    _check_base(manifest, base)
    _check_digests(manifest, raw)
    config = _check_config(raw[CONFIG_NAME], manifest, limits)
    check_tensors(_parse(raw[WEIGHTS_NAME]), base, config, limits, identity=manifest.kind == "identity")
    return manifest


def _check_base(manifest: Manifest, base: BaseShape) -> None:
    if manifest.base_digest != base.digest:
        raise AdapterRejected(
            RejectReason.WRONG_BASE, f"made for base {manifest.base_digest[:12]}, this base is {base.digest[:12]}"
        )


def _check_folder(folder: Path) -> None:
    try:
        mode = folder.lstat().st_mode
        modes = {p.name: p.lstat().st_mode for p in folder.iterdir()} if stat.S_ISDIR(mode) else {}
    except OSError as error:
        raise AdapterRejected(RejectReason.FOLDER, f"cannot read {folder}: {error.strerror}") from error
    if stat.S_ISLNK(mode) or any(stat.S_ISLNK(m) for m in modes.values()):
        raise AdapterRejected(RejectReason.SYMLINK, f"{folder} is or holds a symbolic link")
    if not stat.S_ISDIR(mode):
        raise AdapterRejected(RejectReason.FOLDER, f"expected a folder at {folder}")
    extra = sorted(n for n, m in modes.items() if n not in EXPECTED_FILES or not stat.S_ISREG(m))
    if extra:
        pickled = any(Path(name).suffix in _PICKLE_SUFFIXES for name in extra)
        raise AdapterRejected(
            RejectReason.PICKLE if pickled else RejectReason.UNEXPECTED_FILE,
            f"expected only {sorted(EXPECTED_FILES)}, found {extra[:3]}",
        )
    missing = sorted(EXPECTED_FILES - modes.keys())
    if missing:
        raise AdapterRejected(RejectReason.MISSING_FILE, f"expected {missing} in {folder}")


def _read(path: Path, limit: int) -> bytes:
    """All bytes, through one descriptor that follows no link: what is hashed is what is parsed."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise AdapterRejected(RejectReason.FOLDER, f"cannot read {path}: {error.strerror}") from error
    if len(raw) > limit:
        raise AdapterRejected(RejectReason.TOO_LARGE, f"{path.name}: expected at most {limit} bytes")
    return raw


def _check_digests(manifest: Manifest, raw: dict[str, bytes]) -> None:
    actual = [FileEntry(path=n, size=len(b), sha256=hashlib.sha256(b).hexdigest()) for n, b in sorted(raw.items())]
    if sorted(manifest.files, key=lambda f: f.path) != actual:
        wrong = [a.path for a in actual if a not in manifest.files] or [f.path for f in manifest.files]
        raise AdapterRejected(RejectReason.DIGEST, f"{wrong} differ from what the manifest of {manifest.version} says")


def _check_config(raw: bytes, manifest: Manifest, limits: CheckLimits) -> adapter_config.AdapterConfig:
    try:
        config = adapter_config.parse_config(raw)
    except AdapterConfigInvalid as error:
        raise AdapterRejected(RejectReason(error.code), str(error)) from error
    if config.rank > limits.max_rank:
        raise AdapterRejected(RejectReason.RANK, f"expected a rank of at most {limits.max_rank}, got {config.rank}")
    if (config.rank, config.alpha, list(config.targets)) != (manifest.rank, manifest.alpha, sorted(manifest.targets)):
        raise AdapterRejected(RejectReason.CONFIG, f"{CONFIG_NAME} and the manifest disagree on rank, alpha or targets")
    return config


def _parse(raw: bytes) -> TensorFile:
    try:
        return tensor_file.parse(memoryview(raw))
    except TensorFileInvalid as error:
        if raw.startswith(_PICKLE_STARTS):
            raise AdapterRejected(RejectReason.PICKLE, f"{WEIGHTS_NAME} is a pickle, not safetensors") from error
        reason = RejectReason.DTYPE if error.dtype else RejectReason.FORMAT
        raise AdapterRejected(reason, f"{WEIGHTS_NAME}: {error}") from error


def check_tensors(
    tensors: TensorFile, base: BaseShape, config: adapter_config.AdapterConfig, limits: CheckLimits, *, identity: bool
) -> None:
    """Names, shapes, dtypes, finiteness, effect and size of the update. Raises AdapterRejected."""
    expected = base.expected_tensors(config.rank, config.targets)
    odd = sorted(tensors.slots.keys() ^ expected.keys())
    if odd:
        reason = RejectReason.LM_HEAD if any("lm_head" in name for name in odd) else RejectReason.NAMES
        raise AdapterRejected(reason, f"expected {len(expected)} tensors, {len(odd)} differ, such as {odd[0]:.120}")
    for name, shape in expected.items():
        if tensors.slots[name].shape != shape:
            raise AdapterRejected(RejectReason.SHAPE, f"{name}: expected {shape}, got {tensors.slots[name].shape}")
    dtypes = {slot.dtype for slot in tensors.slots.values()}
    if len(dtypes) != 1:
        raise AdapterRejected(RejectReason.DTYPE, f"expected one dtype, got {sorted(dtypes)}")
    for target in config.targets:
        for layer in range(base.layers):
            _check_module(tensors, module_name(layer, target), config.alpha / config.rank, limits, identity=identity)


def _check_module(tensors: TensorFile, stem: str, scale: float, limits: CheckLimits, *, identity: bool) -> None:
    a, b = tensors.array(f"{stem}.lora_A.weight"), tensors.array(f"{stem}.lora_B.weight")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise AdapterRejected(RejectReason.NON_FINITE, f"{stem} holds NaN or infinity")
    silent = not a.any() or not b.any()
    if identity and b.any():
        raise AdapterRejected(RejectReason.NO_EFFECT, f"{stem}: an identity's lora_B must be zero")
    if not identity and silent:
        raise AdapterRejected(RejectReason.NO_EFFECT, f"{stem} is all zero: it was not trained, or was lost")
    rms = scale * update_rms(a, b)
    if not rms <= limits.max_delta_rms:
        raise AdapterRejected(
            RejectReason.NORM, f"{stem}: expected an update of at most {limits.max_delta_rms}, got {rms:.3g}"
        )


def update_rms(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Root mean square of the elements of B A, for A [rank, in] and B [out, rank], without forming the product.

    ||B A||_F^2 = trace((B^T B)(A A^T)), in float64.
    """
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    square = float(np.sum((wide_b.T @ wide_b) * (wide_a @ wide_a.T)))
    return float(np.sqrt(max(square, 0.0) / (a.shape[1] * b.shape[0])))
