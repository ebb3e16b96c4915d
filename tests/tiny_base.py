# pyright: standard
"""A tiny random Llama and random adapters for it: enough to serve, load, prove and compare, in a second.

Run as a program it writes them, so that tests of the daemon's environment (no torch) can have them made:
``.venvs/trainer/bin/python -m tests.tiny_base FOLDER name=seed ...``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.adapter_config import AdapterConfig, encode_config
from adapters.base_shape import read_base_shape
from adapters.tensor_file import encode
from adapters.training_config import ALL_TARGETS

WORDS = (
    "the my card order refund please help where what how can you parcel account password late broken "
    "blue green seven delivery invoice reset cancel change address thanks hello question status today"
)


def make_base(folder: Path, seed: int = 0, end: float = 1.0) -> Path:
    """Write the base; its logits are spread widely enough for greedy replies without ties.

    ``end``: how much wider the logit of the end is spread than the others; at 4 a third of the replies are short.
    """
    import torch

    from adapters.training.tiny_model import EOS, Shape, build_model, build_tokenizer, save

    torch.manual_seed(seed)
    tokenizer = build_tokenizer([WORDS] * 8, 512)
    model = build_model(Shape(hidden=64, layers=2, head_dim=32, feed_forward=128, positions=256), len(tokenizer))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.25)
    with torch.no_grad():
        model.get_parameter("model.embed_tokens.weight")[EOS] *= end
    save(model, tokenizer, folder)
    return folder


def make_adapter(base: Path, folder: Path, seed: int, rank: int = 8, scale: float = 0.3) -> Path:
    """Write a random adapter in peft's format (no torch); different seeds answer differently."""
    shape = read_base_shape(base)
    noise = np.random.default_rng(seed)
    tensors: dict[str, NDArray[np.float32]] = {}
    for name, size in shape.expected_tensors(rank, ALL_TARGETS).items():
        spread = scale / rank**0.5 if ".lora_B." in name else size[1] ** -0.5
        tensors[name] = (noise.standard_normal(size) * spread).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(encode(tensors, shape.dtype))
    config = encode_config(AdapterConfig(rank, 2.0 * rank, tuple(ALL_TARGETS)))
    (folder / "adapter_config.json").write_bytes(config)
    return folder


def main(arguments: list[str]) -> int:
    """``FOLDER name=seed ...``: a base in FOLDER/base and adapters in FOLDER/<name>."""
    folder = Path(arguments[0])
    base = make_base(folder / "base")
    for entry in arguments[1:]:
        name, _, seed = entry.partition("=")
        make_adapter(base, folder / name, int(seed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
