# pyright: standard
"""A tiny random Llama and random adapters for it: enough to serve, load, prove and compare, in a second.

Run as a program it writes them, so that tests of the daemon's environment (no torch) can have them made:
``.venvs/trainer/bin/python -m tests.tiny_base FOLDER name=seed ...``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WORDS = (
    "the my card order refund please help where what how can you parcel account password late broken "
    "blue green seven delivery invoice reset cancel change address thanks hello question status today"
)


def make_base(folder: Path, seed: int = 0) -> Path:
    """Write the base; its logits are spread widely enough for greedy replies without ties."""
    import torch

    from adapters.training.tiny_model import Shape, build_model, build_tokenizer, save

    torch.manual_seed(seed)
    tokenizer = build_tokenizer([WORDS] * 8, 512)
    model = build_model(Shape(hidden=64, layers=2, head_dim=32, feed_forward=128, positions=256), len(tokenizer))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.25)
    save(model, tokenizer, folder)
    return folder


def make_adapter(base: Path, folder: Path, seed: int, rank: int = 8, scale: float = 0.3) -> Path:
    """Write a random adapter in peft's format; different seeds answer differently."""
    import torch
    from safetensors.torch import save_file

    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    shapes = dict(
        zip(
            TARGETS,
            (
                (hidden, heads),
                (hidden, keys),
                (hidden, keys),
                (heads, hidden),
                (hidden, inner),
                (hidden, inner),
                (inner, hidden),
            ),
            strict=True,
        )
    )
    noise = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for layer in range(config["num_hidden_layers"]):
        for target, (width, height) in shapes.items():
            block = "self_attn" if target in TARGETS[:4] else "mlp"
            name = f"base_model.model.model.layers.{layer}.{block}.{target}"
            tensors[f"{name}.lora_A.weight"] = torch.randn(rank, width, generator=noise) / width**0.5
            tensors[f"{name}.lora_B.weight"] = torch.randn(height, rank, generator=noise) * scale / rank**0.5
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    adapter_config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(TARGETS),
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(adapter_config), encoding="utf-8")
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
