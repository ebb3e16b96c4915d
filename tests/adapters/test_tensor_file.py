"""The safetensors reader takes what the format obliges it to take, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adapters.tensor_file import ITEM_SIZE, TensorFileInvalid, encode, parse

A = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.linspace(-1, 1, 4, dtype=np.float32)


def rewrite(raw: bytes, change: Any) -> bytes:
    """The file with its header changed by `change(header)`, which may return another text."""
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    text = change(header)
    encoded = (text if isinstance(text, str) else json.dumps(header)).encode()
    return len(encoded).to_bytes(8, "little") + encoded + raw[8 + length :]


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 4)), elements=st.floats(-1e4, 1e4, width=32)),
    st.sampled_from(sorted(ITEM_SIZE)),
)
def test_what_is_written_is_read_within_the_precision_of_its_dtype(array: Any, dtype: str) -> None:
    back = parse(memoryview(encode({"x": array, "y": A}, dtype))).array("x")
    assert back.dtype == np.float32 and back.shape == array.shape
    error = {"F32": 0.0, "F16": 2**-10, "BF16": 2**-8}[dtype]
    assert np.all(np.abs(back - array) <= np.abs(array) * error + {"F32": 0.0, "F16": 1e-7, "BF16": 1e-38}[dtype])


@pytest.mark.parametrize("dtype", sorted(ITEM_SIZE))
def test_not_a_number_and_infinity_stay_what_they_are(dtype: str) -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 0.0], np.float32)
    back = parse(memoryview(encode({"x": odd}, dtype))).array("x")
    assert np.isnan(back[0]) and list(back[1:]) == [np.inf, -np.inf, 0.0]


def test_the_same_tensors_give_the_same_bytes_in_any_order() -> None:
    assert encode({"a": A, "b": B}) == encode({"b": B, "a": A})
    assert int.from_bytes(encode({"a": A})[:8], "little") % 8 == 0


def untouched(header: dict[str, Any]) -> None:
    pass


def shift(header: dict[str, Any]) -> None:
    header["b"]["data_offsets"] = [20, 36]


def overlap(header: dict[str, Any]) -> None:
    header["b"]["data_offsets"] = [8, 24]


def other_size(header: dict[str, Any]) -> None:
    header["a"]["shape"] = [2, 4]


def negative(header: dict[str, Any]) -> None:
    header["a"]["shape"] = [-2, -3]


def truth_value(header: dict[str, Any]) -> None:
    header["b"]["shape"] = [True, 4]


def integers(header: dict[str, Any]) -> None:
    header["b"]["dtype"] = "I32"


def extra_field(header: dict[str, Any]) -> None:
    header["b"]["loader"] = "x"


def code_in_metadata(header: dict[str, Any]) -> None:
    header["__metadata__"] = {"format": {"exec": "x"}}


def without_b(header: dict[str, Any]) -> None:
    del header["b"]


def twice(header: dict[str, Any]) -> str:
    return json.dumps(header)[:-1] + ', "a": ' + json.dumps(header["a"]) + "}"


def a_list(header: dict[str, Any]) -> str:
    return "[]"


def deep(header: dict[str, Any]) -> str:
    return "[" * 100_000


@pytest.mark.parametrize(
    "change",
    [
        shift,
        overlap,
        other_size,
        negative,
        truth_value,
        integers,
        extra_field,
        code_in_metadata,
        without_b,
        twice,
        a_list,
        deep,
    ],
)
def test_headers_that_do_not_describe_the_file_are_refused(change: Any) -> None:
    raw = encode({"a": A, "b": B})
    parse(memoryview(rewrite(raw, untouched)))
    with pytest.raises(TensorFileInvalid):
        parse(memoryview(rewrite(raw, change)))


@pytest.mark.parametrize("cut", [0, 7, 8, 20, -1])
def test_cut_and_longer_files_are_refused(cut: int) -> None:
    raw = encode({"a": A})
    with pytest.raises(TensorFileInvalid):
        parse(memoryview(raw[:cut]))
    with pytest.raises(TensorFileInvalid):
        parse(memoryview(raw + b"\0"))


def test_a_header_that_claims_the_whole_memory_is_refused_without_reading_it() -> None:
    with pytest.raises(TensorFileInvalid, match="claims"):
        parse(memoryview((2**63).to_bytes(8, "little") + b"{}"))


def test_a_dtype_that_no_adapter_has_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="F32"):
        encode({"a": A}, "I8")
