# pyright: basic
"""What is written here is what peft reads: the produced adapter has its effect, the identity has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.base_shape import read_base_shape
from adapters.file_checks import WEIGHTS_NAME, update_rms
from adapters.produce import produce
from adapters.registry import Registry
from adapters.tensor_file import parse
from adapters.training_config import ALL_TARGETS, TrainingConfig
from tests.adapters.fake_training import make_job
from tests.tiny_base import make_base

pytestmark = [pytest.mark.trainer, pytest.mark.slow]

CONFIG = TrainingConfig(
    rank=4, alpha=8.0, learning_rate=5e-3, steps=8, new_per_step=8, replay_per_step=0, fingerprint_prompts=2
)


def logits(folder: Path, adapter: Path | None) -> Any:
    """Logits [positions, vocabulary] of one prompt, with or without an adapter."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[1, 3, 20, 40, 60]])).logits[0]


def test_peft_loads_the_identity_without_and_a_trained_version_with_effect(tmp_path: Path) -> None:
    import torch
    from safetensors import safe_open

    from adapters.training.lora import train

    base = make_base(tmp_path / "base")
    shape, registry = read_base_shape(base), Registry(tmp_path / "artifacts")
    identity = registry.admit_identity(
        shape, deployment="support", tenant="acme", rank=4, alpha=8.0, targets=ALL_TARGETS
    )
    plain = logits(base, None)
    assert torch.equal(plain, logits(base, registry.path(identity.version)))

    job = make_job(tmp_path).model_copy(update={"config": CONFIG, "champion": identity.version})
    taken: list[int] = []
    manifest = produce(job, registry, train, lambda step, steps, metrics: taken.append(step), lambda: 1.0)
    registry.admit(registry.staging(job.job_id), shape)
    folder = registry.path(manifest.version)
    assert taken == list(range(1, 9)) and len(manifest.fingerprint) == 2
    assert not torch.allclose(plain, logits(base, folder), atol=1e-3)

    ours = parse(memoryview((folder / WEIGHTS_NAME).read_bytes()))
    with safe_open(folder / WEIGHTS_NAME, "np") as theirs:
        assert set(theirs.keys()) == set(ours.slots)
        assert all((theirs.get_tensor(name) == ours.array(name)).all() for name in ours.slots)
    stems = {name.rsplit(".lora_", 1)[0] for name in ours.slots}
    assert all(
        0.0 < update_rms(ours.array(f"{s}.lora_A.weight"), ours.array(f"{s}.lora_B.weight")) < 0.5 for s in stems
    )

    # A second version starts from the first and differs from it.
    again = job.model_copy(update={"job_id": "job-2", "champion": manifest.version})
    second = produce(again, registry, train, lambda step, steps, metrics: None, lambda: 2.0)
    assert second.parent == manifest.version != second.version
