"""How an adapter is trained: every number with its unit, its default and the reason for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Target = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

ALL_TARGETS: tuple[Target, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

SERVED_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks for which vLLM has slots (`--max-lora-rank`); any rank up to the server's maximum fits into a slot."""


class TrainingConfig(BaseModel):
    """Supervised fine-tuning of a LoRA adapter on trusted targets, held to the champion by a KL term on replay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    """Rank of the adapter. 16: rank 4 loses 8 points on a new desk with 300 examples, rank 64 gains 4 for four times
    the memory in every serving slot."""
    alpha: Annotated[float, Field(gt=0.0, le=4096.0)] = 32.0
    """LoRA scale numerator (the update is alpha / rank times B A). 32: twice the rank, the common choice."""
    targets: Annotated[tuple[Target, ...], Field(min_length=1)] = ALL_TARGETS
    """Projections that get an adapter. All seven; never lm_head, which breaks prompt log-probabilities in vLLM."""
    warm_start: bool = True
    """Begin with the champion's adapter. False begins with the base, taught by the champion all the same: for a stack
    of adaptations that has drifted far, or was poisoned unseen."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 2e-4
    """Peak step size of AdamW. 2e-4 suits billions of parameters; a base of a few million needs 5e-3."""
    steps: Annotated[int, Field(ge=1, le=100_000)] = 300
    """Optimizer steps. 300: some ten passes over 800 examples; more steps forget more."""
    new_per_step: Annotated[int, Field(ge=1, le=4096)] = 24
    """Examples of the new traffic in a step."""
    replay_per_step: Annotated[int, Field(ge=0, le=4096)] = 48
    """Replayed exchanges and anchors in a step, drawn afresh each time. Twice the new ones: less forgets more."""
    kl_weight: Annotated[float, Field(ge=0.0, le=1000.0)] = 8.0
    """Weight of the KL divergence from the champion's distribution on its own recorded replies. 8: with averaged
    weights it loses a third less on real text than 5, at no cost on the new desk; without KL the forgetting doubles."""
    word_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Share of prompt tokens left out at random in training, so that no answer hangs on one word."""
    warmup_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    """Share of the steps with a rising step size."""
    tail_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3
    """Share of the steps at the end with a third of the step size, in which the average settles."""
    average_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """Decay of the weight average that becomes the version; 0 keeps the last step. 0.99: some hundred steps; gains one
    to four points on a new desk over a cosine to zero, at no cost."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """AdamW's decay on the adapter. 0: few steps, small rank."""
    grad_clip: Annotated[float, Field(gt=0.0)] = 1.0
    """Largest gradient norm; one odd batch must not throw the adapter far."""
    max_tokens: Annotated[int, Field(ge=16, le=131_072)] = 512
    """Longest training row in tokens; longer ones are left out and counted."""
    threads: Annotated[int, Field(ge=0, le=512)] = 1
    """CPU threads of the trainer; 0 leaves the choice to torch. 1: the server beside it needs the rest."""
    max_seconds: Annotated[float, Field(gt=0.0)] = 3600.0
    """Wall seconds after which a job gives up and is reported failed."""
    fingerprint_prompts: Annotated[int, Field(ge=2, le=64)] = 4
    """Prompts whose output log-probabilities go into the manifest for the effect proof on every replica."""
    fingerprint_tokens: Annotated[int, Field(ge=1, le=64)] = 8
    """Tokens generated for each of them."""
