# pyright: standard
"""Many LoRA adapters in one batch.

Every linear layer of the model gets the stacked A and B of all loaded adapters. For a batch that mixes adapters

    y = W x + B_all (mask * (A_all x)),     A_all [sum of ranks, in], B_all [out, sum of ranks]

where the mask keeps, for each row, the ranks of its own adapter (Hu et al. 2021, arXiv:2106.09685, with the adapters
side by side). That is three operations whatever the mixture, and rows of the base add an exact zero. peft's own mixed
batch splits the batch by adapter in every layer, which costs several times as much on small models.

Loads folders in peft's format: ``adapter_config.json`` and ``adapter_model.safetensors``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

PREFIX = "base_model.model."
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class AdapterNotFound(LookupError):
    """The folder or one of its two files is not there: the fault of who asked for the load."""


class AdapterUnusable(ValueError):
    """The adapter does not fit this server: wrong rank, shape, names or numbers."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """One adapter in memory: module name to (A [rank, in], B [out, rank] with the scale in it)."""

    name: str
    path: str
    rank: int
    weights: dict[str, tuple[Tensor, Tensor]]


@dataclass(slots=True)
class Rows:
    """Which adapters the rows of the coming forward pass use. None: no row uses any."""

    span: tuple[int, int] | None = None
    """First and last+1 rank when all rows share one adapter."""
    mask: Tensor | None = None
    """[rows, 1, sum of ranks], True where a row may not use a rank, when adapters are mixed."""


class LoraLinear(nn.Module):
    """A linear layer with the stacked adapters beside it."""

    def __init__(self, inner: nn.Linear, rows: Rows) -> None:
        super().__init__()
        self.inner = inner
        self.weight = inner.weight
        self._rows = rows
        self.a: Tensor | None = None
        self.b: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[rows, tokens, in] to [rows, tokens, out]."""
        y = self.inner(x)
        rows = self._rows
        if self.a is None or self.b is None:
            return y
        if rows.span is not None:
            first, last = rows.span
            return y + functional.linear(functional.linear(x, self.a[first:last]), self.b[:, first:last])
        if rows.mask is None:
            return y
        # Filled, not multiplied: an overflow in another row's adapter must not reach this row as NaN.
        inner = functional.linear(x, self.a).masked_fill(rows.mask, 0.0)
        return y + functional.linear(inner, self.b)


class LoraBank:
    """The adapters of one model. Not thread-safe: the engine's thread owns it."""

    def __init__(self, model: nn.Module, max_loras: int, max_rank: int) -> None:
        self._max_loras = max_loras
        self._max_rank = max_rank
        self._rows = Rows()
        self._layers = self._wrap(model)
        self._stacked: list[Adapter] = []
        self._first: dict[int, int] = {}
        self._named: dict[str, Adapter] = {}

    def _wrap(self, model: nn.Module) -> dict[str, LoraLinear]:
        # The output embedding is left out: it is tied to the input's, and vLLM's CPU build dies of it.
        linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and not n.endswith("lm_head")}
        layers: dict[str, LoraLinear] = {}
        for name, module in linears.items():
            layers[name] = LoraLinear(module, self._rows)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layers[name])
        return layers

    @property
    def named(self) -> dict[str, Adapter]:
        """The adapters that requests may name."""
        return self._named

    def add(self, adapter: Adapter, in_use: Sequence[Adapter]) -> None:
        """Make an adapter available. Raises AdapterUnusable when all places are taken."""
        if len(self._named) >= self._max_loras:
            raise AdapterUnusable(
                f"{len(self._named)} adapters are loaded and --max-loras is {self._max_loras}: "
                "unload one, or start the server with a larger number"
            )
        self._named[adapter.name] = adapter
        self._stack(in_use)

    def remove(self, name: str, in_use: Sequence[Adapter]) -> None:
        """Take an adapter's name away. Its weights stay while a running row uses them."""
        del self._named[name]
        self._stack(in_use)

    def _stack(self, in_use: Sequence[Adapter]) -> None:
        stacked = list(self._named.values())
        stacked += [a for a in dict.fromkeys(in_use) if a not in stacked]
        self._stacked = stacked
        self._first, at = {}, 0
        for adapter in stacked:
            self._first[id(adapter)] = at
            at += adapter.rank
        for name, layer in self._layers.items():
            layer.a, layer.b = self._columns(name, layer)

    def _columns(self, name: str, layer: LoraLinear) -> tuple[Tensor | None, Tensor | None]:
        if not any(name in adapter.weights for adapter in self._stacked):
            return None, None
        weight = layer.weight
        a_parts: list[Tensor] = []
        b_parts: list[Tensor] = []
        for adapter in self._stacked:
            pair = adapter.weights.get(name)
            if pair is None:  # this adapter leaves the layer alone
                pair = (
                    weight.new_zeros(adapter.rank, weight.shape[1]),
                    weight.new_zeros(weight.shape[0], adapter.rank),
                )
            a_parts.append(pair[0])
            b_parts.append(pair[1])
        return torch.cat(a_parts), torch.cat(b_parts, dim=1).contiguous()

    def select(self, rows: Sequence[Adapter | None]) -> None:
        """Say which adapter each row of the coming forward passes uses."""
        self._rows.span = self._rows.mask = None
        distinct = {id(a): a for a in rows if a is not None}
        if not distinct:
            return
        if len(distinct) == 1 and None not in rows:
            (adapter,) = distinct.values()
            first = self._first[id(adapter)]
            self._rows.span = (first, first + adapter.rank)
            return
        total = sum(a.rank for a in self._stacked)
        owner = torch.full((total,), -1)
        for adapter in self._stacked:
            first = self._first[id(adapter)]
            owner[first : first + adapter.rank] = first
        wanted = torch.tensor([self._first[id(a)] if a is not None else -2 for a in rows])
        self._rows.mask = (wanted[:, None] != owner[None, :])[:, None, :]

    def read(self, name: str, path: str) -> Adapter:
        """An adapter from its folder, checked. Raises AdapterNotFound, AdapterUnusable."""
        folder = Path(path)
        if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
            raise AdapterNotFound(f"Loading lora {name} failed: No adapter found for {path}")
        try:
            config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            tensors = load_file(folder / WEIGHTS)
            rank, scale = _rank_and_scale(config)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as fault:
            raise AdapterUnusable(f"Loading lora {name} failed: {fault}") from fault
        if not 0 < rank <= self._max_rank:
            raise AdapterUnusable(f"LoRA rank {rank} is greater than max_lora_rank {self._max_rank}.")
        return Adapter(name, path, rank, self._checked(name, tensors, rank, scale))

    def _checked(
        self, name: str, tensors: dict[str, Tensor], rank: int, scale: float
    ) -> dict[str, tuple[Tensor, Tensor]]:
        weights: dict[str, tuple[Tensor, Tensor]] = {}
        halves: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            module, _, half = key.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
            if module not in self._layers or half not in ("lora_A", "lora_B"):
                raise AdapterUnusable(f"Loading lora {name} failed: {key} is no LoRA weight of this model")
            if not torch.isfinite(tensor).all():
                raise AdapterUnusable(f"Loading lora {name} failed: {key} holds NaN or infinity")
            halves.setdefault(module, {})[half] = tensor
        for module, pair in halves.items():
            layer = self._layers[module].weight
            expected = {"lora_A": (rank, layer.shape[1]), "lora_B": (layer.shape[0], rank)}
            for half, shape in expected.items():
                got = tuple(pair[half].shape) if half in pair else None
                if got != shape:
                    raise AdapterUnusable(f"Loading lora {name} failed: {module}.{half} is {got}, {shape} expected")
            weights[module] = (pair["lora_A"].to(layer), (pair["lora_B"].float() * scale).to(layer))
        if not weights:
            raise AdapterUnusable(f"Loading lora {name} failed: the file holds no tensor")
        return weights


def _rank_and_scale(config: dict[str, Any]) -> tuple[int, float]:
    if config.get("peft_type", "LORA") != "LORA":
        raise ValueError(f"peft_type LORA expected, got {config['peft_type']}")
    unsupported = [
        k for k in ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "lora_bias") if config.get(k)
    ]
    if unsupported or config.get("bias", "none") != "none":
        raise ValueError(f"{', '.join(unsupported) or 'bias'} is not supported")
    rank = int(config["r"])
    alpha = float(config["lora_alpha"])
    return rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
