"""The safetensors format, read and written without torch: 8 bytes of header length, a JSON header, then the tensors.

Written here rather than imported because the reader is a gate: it must refuse everything that the format does not
oblige us to accept (holes, overlaps, trailing bytes, doubled names), and see bfloat16, which numpy has no type for.
Format: https://github.com/huggingface/safetensors (README, "Format").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

MAX_HEADER_BYTES: Final = 16 * 1024 * 1024
ITEM_SIZE: Final[Mapping[str, int]] = {"F32": 4, "F16": 2, "BF16": 2}
"""Bytes an element, for the dtypes that an adapter may have."""

_STORED: Final[Mapping[str, str]] = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class TensorFileInvalid(ValueError):
    """These bytes are not a safetensors file of float tensors; the message says where."""

    def __init__(self, message: str, *, dtype: bool = False) -> None:
        """`dtype` is True when the format is right and a tensor's type is not."""
        super().__init__(message)
        self.dtype = dtype


@dataclass(frozen=True, slots=True)
class TensorSlot:
    """Where one tensor lies: `begin` and `end` are byte offsets after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class TensorFile:
    """A parsed file: its slots by name, over the raw bytes."""

    slots: Mapping[str, TensorSlot]
    data: memoryview
    """The bytes after the header."""

    def array(self, name: str) -> NDArray[np.float32]:
        """The tensor as float32 (a copy unless it is stored as F32). Raises KeyError."""
        slot = self.slots[name]
        stored = np.frombuffer(self.data[slot.begin : slot.end], dtype=_STORED[slot.dtype]).reshape(slot.shape)
        if slot.dtype == "BF16":
            return (stored.astype(np.uint32) << 16).view(np.float32)
        return stored.astype(np.float32, copy=False)


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise TensorFileInvalid("expected every name once in the header, got one twice")
    return out


def _slot(name: str, entry: object) -> TensorSlot:
    if not isinstance(entry, dict) or set(cast("dict[str, Any]", entry)) != {"dtype", "shape", "data_offsets"}:
        raise TensorFileInvalid(f"{name}: expected exactly dtype, shape and data_offsets")
    fields = cast("dict[str, Any]", entry)
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_SIZE:
        raise TensorFileInvalid(f"{name}: expected one of {', '.join(ITEM_SIZE)}, got dtype {dtype!s:.40}", dtype=True)
    for what, numbers in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in cast("list[Any]", numbers)):
            raise TensorFileInvalid(f"{name}: expected {what} to be whole numbers from 0")
    if len(offsets) != 2 or len(shape) > 8 or offsets[1] - offsets[0] != prod(shape) * ITEM_SIZE[dtype]:
        raise TensorFileInvalid(f"{name}: shape {shape} of {dtype} does not fill the bytes {offsets}")
    return TensorSlot(dtype, tuple(shape), offsets[0], offsets[1])


def parse(raw: memoryview) -> TensorFile:
    """The tensors in these bytes. Raises TensorFileInvalid unless they fill the file without hole or overlap."""
    if len(raw) < 8:
        raise TensorFileInvalid(f"expected at least 8 bytes, got {len(raw)}")
    length = int.from_bytes(raw[:8], "little")
    if length > min(MAX_HEADER_BYTES, len(raw) - 8):
        raise TensorFileInvalid(f"the header claims {length} bytes, the file has {len(raw)}")
    try:
        header: Any = json.loads(bytes(raw[8 : 8 + length]), object_pairs_hook=_no_doubles)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise TensorFileInvalid(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise TensorFileInvalid("the header is not an object")
    entries = cast("dict[str, Any]", header)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or any(not isinstance(v, str) for v in cast("dict[str, Any]", metadata).values()):
        raise TensorFileInvalid("__metadata__: expected texts only")
    slots = {name: _slot(name, entry) for name, entry in entries.items()}
    data = raw[8 + length :]
    end = 0
    for name, slot in sorted(slots.items(), key=lambda item: (item[1].begin, item[1].end)):
        if slot.begin != end:
            raise TensorFileInvalid(f"{name}: expected to begin at byte {end}, begins at {slot.begin}")
        end = slot.end
    if end != len(data):
        raise TensorFileInvalid(f"the tensors end at byte {end}, the file at {len(data)}")
    return TensorFile(slots, data)


def encode(tensors: Mapping[str, NDArray[np.float32]], dtype: str = "F32") -> bytes:
    """A safetensors file of these tensors, in the order of their names; the same tensors give the same bytes.

    Raises ValueError for a dtype that an adapter may not have. BF16 rounds to nearest even.
    """
    if dtype not in ITEM_SIZE:
        raise ValueError(f"expected one of {', '.join(ITEM_SIZE)}, got {dtype}")
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    chunks: list[bytes] = []
    at = 0
    for name in sorted(tensors):
        chunk = _stored(tensors[name], dtype)
        header[name] = {"dtype": dtype, "shape": list(tensors[name].shape), "data_offsets": [at, at + len(chunk)]}
        chunks.append(chunk)
        at += len(chunk)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # readers map the data: keep it aligned
    return b"".join([len(text).to_bytes(8, "little"), text, *chunks])


def _stored(array: NDArray[np.float32], dtype: str) -> bytes:
    values = np.ascontiguousarray(array, dtype="<f4")
    if dtype == "F16":
        return values.astype("<f2").tobytes()
    if dtype == "BF16":
        bits = values.view("<u4")
        rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16
        kept = np.where(np.isnan(values), np.uint32(0x7FC0), rounded)  # rounding must not turn a NaN into infinity
        return kept.astype("<u2").tobytes()
    return values.tobytes()
