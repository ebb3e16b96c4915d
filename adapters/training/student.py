# pyright: basic
"""The model in training: a base with two adapters on it, the one that learns and the champion's, which teaches.

The teacher is the very model that serves: the base with the champion's adapter, or the base alone while there is no
champion. Both share the base's weights in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapters.training.batching import Batch
from adapters.training_config import TrainingConfig

LEARNS, TEACHES = "default", "champion"


class Student:
    """A causal language model, its tokenizer, the adapter that is being trained and its teacher."""

    def __init__(self, base: Path, champion: Path | None, config: TrainingConfig, seed: int) -> None:
        """Load the base and put a fresh adapter on it, or the champion's as a warm start. The champion teaches anyway.

        Raises OSError or ValueError where a folder is not what transformers or peft can load.
        """
        torch.manual_seed(seed)  # of the fresh adapter's A; B is zero
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.float32 if self.device.type == "cpu" else "auto"
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, local_files_only=True)
        model.to(self.device)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(base, local_files_only=True)
        self._has_champion = champion is not None
        if champion is None or not config.warm_start:
            self.model: Any = get_peft_model(model, lora_config(config))
        else:
            self.model = PeftModel.from_pretrained(model, str(champion), adapter_name=LEARNS, is_trainable=True)
        if champion is not None:
            self.model.load_adapter(str(champion), adapter_name=TEACHES, is_trainable=False)
            self.model.set_adapter(LEARNS)
        pad = self.tokenizer.pad_token_id
        # Any token will do where attention is 0; some tokenizers have none of their own for it.
        self.pad_id = int(pad if pad is not None else self.tokenizer.eos_token_id or 0)
        # Tokens that structure a conversation; they are never left out of a prompt.
        self.special_ids = frozenset({*self.tokenizer.all_special_ids, *self.tokenizer.get_added_vocab().values()})
        self.parameters: list[torch.nn.Parameter] = [p for p in self.model.parameters() if p.requires_grad]

    def reply_logits(self, batch: Batch) -> torch.Tensor:
        """[reply tokens, vocabulary], float32: what the model says where a reply token follows.

        The output layer is applied there only: elsewhere it costs most and teaches nothing.
        """
        base = self.model.get_base_model()
        out = base.get_decoder()(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False)
        return base.get_output_embeddings()(out.last_hidden_state[:, :-1][batch.reply[:, 1:]]).float()

    @torch.no_grad()
    def champion_logits(self, batch: Batch) -> torch.Tensor:
        """The same from the champion."""
        with self.as_champion():
            return self.reply_logits(batch)

    @contextmanager
    def as_champion(self) -> Iterator[None]:
        """Inside, the model answers as the champion does."""
        if not self._has_champion:
            with self.model.disable_adapter():
                yield
            return
        self.model.set_adapter(TEACHES, inference_mode=True)
        try:
            yield
        finally:
            self.model.set_adapter(LEARNS)

    @contextmanager
    def as_base(self) -> Iterator[None]:
        """Inside, the model answers as the base does."""
        with self.model.disable_adapter():
            yield

    def tensors(self) -> dict[str, Any]:
        """The trained adapter as float32 numpy arrays, by the names under which peft saves them."""
        state = get_peft_model_state_dict(self.model, adapter_name=LEARNS)
        return {name: tensor.detach().cpu().float().numpy() for name, tensor in state.items()}


def lora_config(config: TrainingConfig) -> LoraConfig:
    """peft's configuration for a fresh adapter."""
    alpha: Any = config.alpha  # peft says int and divides
    targets = list[str](config.targets)
    return LoraConfig(r=config.rank, lora_alpha=alpha, target_modules=targets, lora_dropout=0.0, task_type="CAUSAL_LM")
