"""The shape of a base model, read from its config.json, and the digest that ties an adapter to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from adapters.manifest import sha256_file
from adapters.training_config import ALL_TARGETS

SUPPORTED: Final = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
"""Architectures whose projections are the seven that we know, under `model.layers.N`."""

_MLP: Final = ("gate_proj", "up_proj", "down_proj")
_DIGESTED: Final = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


class BaseUnusable(ValueError):
    """The base model's folder cannot be used; the message says what was expected there."""


@dataclass(frozen=True, slots=True)
class BaseShape:
    """What decides the names and shapes of an adapter's tensors. All sizes in elements."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    dtype: str
    """F32, F16 or BF16: how the base's weights are stored."""
    digest: str
    """Hex SHA-256 over the base's files (see `base_digest`)."""

    def projection(self, target: str) -> tuple[int, int]:
        """(in, out) features of a projection. Raises KeyError for a name that is none of the seven."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }[target]

    def expected_tensors(self, rank: int, targets: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Name to shape of every tensor of an adapter of this rank: A is [rank, in], B is [out, rank]."""
        shapes: dict[str, tuple[int, int]] = {}
        for target in targets:
            in_features, out_features = self.projection(target)
            for layer in range(self.layers):
                stem = module_name(layer, target)
                shapes[f"{stem}.lora_A.weight"] = (rank, in_features)
                shapes[f"{stem}.lora_B.weight"] = (out_features, rank)
        return shapes


def module_name(layer: int, target: str) -> str:
    """The name that peft and vLLM give to a projection's adapter."""
    block = "mlp" if target in _MLP else "self_attn"
    return f"base_model.model.model.layers.{layer}.{block}.{target}"


def base_digest(folder: Path) -> str:
    """SHA-256 over the sorted (name, size, sha256) of weights, config and tokenizer files.

    Reads every byte (about a second a gigabyte): call it once a process. Raises BaseUnusable.
    """
    try:
        paths = sorted({p for pattern in _DIGESTED for p in folder.glob(pattern)})
        entries = [(p.name, p.stat().st_size, sha256_file(p)) for p in paths]
    except OSError as error:
        raise BaseUnusable(f"cannot read the base model in {folder}: {error.strerror}") from error
    if not any(name.endswith(".safetensors") for name, _, _ in entries):
        raise BaseUnusable(f"expected safetensors weights in {folder}, found none; convert the model or fix the path")
    return hashlib.sha256(json.dumps(entries, separators=(",", ":")).encode()).hexdigest()


def read_base_shape(folder: Path) -> BaseShape:
    """Shape and digest of the model in a folder. Raises BaseUnusable."""
    path = folder / "config.json"
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BaseUnusable(f"expected a model folder with config.json at {folder}: {error.strerror}") from error
    except ValueError as error:
        raise BaseUnusable(f"{path} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise BaseUnusable(f"{path}: expected an object, got {type(raw).__name__}")
    return _shape(cast("dict[str, Any]", raw), path, base_digest(folder))


def _shape(config: dict[str, Any], path: Path, digest: str) -> BaseShape:
    architectures = cast("list[Any]", config.get("architectures") or ["none"])
    if architectures[0] not in SUPPORTED:
        raise BaseUnusable(f"{path}: expected one of {', '.join(SUPPORTED)}, got architecture {architectures[0]}")

    def size(name: str, default: object = None) -> int:
        value = config.get(name)
        value = default if value is None else value
        if type(value) is not int or value < 1:
            raise BaseUnusable(f"{path}: expected {name} to be a whole number from 1, got {value!r}")
        return value

    hidden, heads = size("hidden_size"), size("num_attention_heads")
    return BaseShape(
        hidden=hidden,
        intermediate=size("intermediate_size"),
        layers=size("num_hidden_layers"),
        heads=heads,
        kv_heads=size("num_key_value_heads", heads),
        head_dim=size("head_dim", hidden // heads),
        dtype={"bfloat16": "BF16", "float16": "F16"}.get(str(config.get("dtype") or config.get("torch_dtype")), "F32"),
        digest=digest,
    )


__all__ = ["ALL_TARGETS", "BaseShape", "BaseUnusable", "base_digest", "module_name", "read_base_shape"]
