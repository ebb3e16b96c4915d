"""Bases, adapters, exchanges and a small world for the tests of the learning room; no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from adapters.adapter_config import AdapterConfig, encode_config
from adapters.base_shape import BaseShape, read_base_shape
from adapters.examples import Example, TargetKind
from adapters.file_checks import CONFIG_NAME, WEIGHTS_NAME
from adapters.manifest import MANIFEST_NAME, FingerprintItem, Manifest, list_files, make_manifest
from adapters.tensor_file import encode
from adapters.training_config import ALL_TARGETS
from streams.events import Message, Trust

Tensors = Mapping[str, NDArray[np.float32]]
RANK, ALPHA = 4, 8.0


def write_base(folder: Path, hidden: int = 32, layers: int = 2) -> BaseShape:
    """A base folder with a config and a few weights; its digest is real, its model is not."""
    folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(encode({"w": np.ones((3, 5), np.float32)}))
    return read_base_shape(folder)


def random_tensors(base: BaseShape, seed: int = 0, scale: float = 0.02) -> dict[str, NDArray[np.float32]]:
    """Every tensor of an adapter on all seven projections, none of them zero."""
    rng = np.random.default_rng(seed)
    shapes = base.expected_tensors(RANK, ALL_TARGETS)
    return {name: rng.normal(0.0, scale, shape).astype(np.float32) for name, shape in shapes.items()}


def sign(folder: Path, base: BaseShape, *, kind: str = "lora", base_digest: str | None = None) -> Manifest:
    """Write a manifest that fits the files in the folder, whatever they are."""
    manifest = make_manifest(
        kind="identity" if kind == "identity" else "lora",
        deployment="support",
        tenant="acme",
        base_digest=base_digest or base.digest,
        rank=RANK,
        alpha=ALPHA,
        targets=list(ALL_TARGETS),
        files=list_files(folder),
        created_at=1000.5,
        buffer_digest="b" * 64,
        config={"rank": RANK},
        metrics={"loss": 0.25},
        fingerprint=[
            FingerprintItem(
                prompt_ids=[1, 3, 9],
                expected_ids=[5, 2],
                expected_logprobs=[-0.125, -0.5],
                base_ids=[7, 2],
                base_logprobs=[-1.5, -0.75],
            )
        ],
    )
    (folder / MANIFEST_NAME).write_bytes(manifest.to_bytes())
    return manifest


def write_adapter(folder: Path, base: BaseShape, tensors: Tensors | None = None, dtype: str = "F32") -> Manifest:
    """A whole and sound adapter, unless `tensors` are not."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_NAME).write_bytes(encode(random_tensors(base) if tensors is None else tensors, dtype))
    (folder / CONFIG_NAME).write_bytes(encode_config(AdapterConfig(RANK, ALPHA, ALL_TARGETS)))
    return sign(folder, base)


def example(
    number: int,
    prompt: str = "where is my parcel",
    *,
    identity: str = "someone",
    reply: str = "a reply",
    target: str | None = None,
    kind: TargetKind | None = None,
    reward: float | None = None,
    in_slice: bool = True,
    trust: Trust | None = Trust.TOKEN,
    tenant: str = "acme",
    seen: int = 10,
) -> Example:
    """One exchange; a target without a kind is a correction."""
    if target is not None:
        kind = kind or "correction"
        reward = reward if reward is not None else float(kind == "confirmed")
    return Example(
        exchange_id=f"x{number:06d}",
        session=f"s{number}",
        identity=identity,
        tenant=tenant,
        prompt=prompt,
        messages=(Message(role="user", content=prompt),),
        reply=reply,
        target=target,
        target_kind=kind,
        reward=reward,
        reward_version="1",
        version="support-base",
        at=float(number),
        in_slice=in_slice,
        trust=trust if reward is not None else None,
        identity_exchanges=seen,
    )


FRAMES = ("{}", "please {}", "hello, {}", "i want to {}", "can you {} for me", "how do i {}", "{} now please")
VERBS = {
    "cancel": ("cancel", "get rid of", "stop"),
    "change": ("change", "swap", "exchange"),
    "find": ("find", "look for", "locate"),
    "repeat": ("repeat", "get again", "renew"),
    "return": ("return", "give back", "hand back"),
    "report": ("report", "complain about", "file a report on"),
    "confirm": ("confirm", "verify", "make sure of"),
    "delay": ("delay", "postpone", "put off"),
}
THINGS = {
    "new": ("voucher", "voucher code", "gift card", "bonus points"),
    "travel": ("train ticket", "flight", "hotel room", "seat"),
    "shop": ("parcel", "order", "invoice", "size of my shoes"),
    "bank": ("card", "loan", "transfer", "limit of my account"),
}
TAILS = ("", "", " today", " of my sister", " again")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Exchanges as a daemon would have recorded them, and what it cannot know."""

    examples: list[Example]
    right: dict[str, str]
    """Exchange id to the right reply."""
    new_desk: frozenset[str]
    hostile: frozenset[str]


def scenario(seed: int, quiet: int = 2500, drifted: int = 5000, slice_recall: float = 0.9) -> Scenario:
    """Quiet traffic on three desks, then half of it on a new one; 10 % of feedback is wrong and one identity sends a
    third of it, all wrong. 30 % thumbs, 25 % corrections on the new desk, 1,600 people."""
    rng = Random(seed)
    examples: list[Example] = []
    right: dict[str, str] = {}
    new_desk: set[str] = set()
    hostile: set[str] = set()
    said, said_hostile = 0, 0
    for number in range(quiet + drifted):
        bad = said_hostile * 3 < said
        desk = "new" if number >= quiet and rng.random() < 0.5 else rng.choice(("travel", "shop", "bank"))
        verb = rng.choice(list(VERBS))
        wish = f"{rng.choice(VERBS[verb])} my {rng.choice(THINGS[desk])}{rng.choice(TAILS)}"
        prompt = rng.choice(FRAMES).format(wish)
        truth = f"{desk}: {verb}"
        knows = rng.random() < (0.02 if desk == "new" else 0.91)
        reply = truth if knows else f"shop: {rng.choice([v for v in VERBS if v != verb])}"
        target, kind, reward = _opinion(rng, bad, desk, verb, truth, reply)
        said += reward is not None
        said_hostile += bad and reward is not None
        one = example(
            number,
            prompt,
            identity="hostile" if bad else f"user-{rng.randrange(1600)}",
            reply=reply,
            target=target,
            kind=kind,
            reward=reward,
            in_slice=rng.random() < (slice_recall if desk == "new" else 0.01),
        )
        examples.append(one)
        right[one.exchange_id] = truth
        if desk == "new":
            new_desk.add(one.exchange_id)
        if bad:
            hostile.add(one.exchange_id)
    return Scenario(examples, right, frozenset(new_desk), frozenset(hostile))


def _opinion(
    rng: Random, bad: bool, desk: str, verb: str, truth: str, reply: str
) -> tuple[str | None, TargetKind | None, float | None]:
    other = f"{desk}: {rng.choice([v for v in VERBS if v != verb])}"
    if bad:
        lie = f"{desk}: {'cancel' if verb != 'cancel' else 'delay'}"
        return (reply, "confirmed", 1.0) if lie == reply else (lie, "correction", 0.0)
    if desk == "new" and rng.random() < 0.25:
        said = other if rng.random() < 0.1 else truth
        return (reply, "confirmed", 1.0) if said == reply else (said, "correction", 0.0)
    if rng.random() < 0.3:
        up = (reply == truth) != (rng.random() < 0.1)
        return (reply, "confirmed", 1.0) if up else (None, None, 0.0)
    return None, None, None
