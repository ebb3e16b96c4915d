"""adapter_config.json: the few settings that we write, and the refusal of every other one.

The file decides how a server reads the tensors, so an unknown setting is not ignored: it must be switched off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from adapters.training_config import ALL_TARGETS

_FREE: Final = frozenset({"base_model_name_or_path", "peft_version", "inference_mode", "init_lora_weights"})
"""Settings without any effect on serving: any plain value will do."""

_FIXED: Final[Mapping[str, object]] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "bias": "none",
    "megatron_core": "megatron.core",  # peft writes these two with the defaults of features that are off
    "qalora_group_size": 16,
}
_CODE: Final = ("auto_map", "auto_mapping", "custom_module", "trust_remote_code")


class AdapterConfigInvalid(ValueError):
    """The adapter's configuration is not one that we serve; `code` names the kind of fault."""

    def __init__(self, code: str, message: str) -> None:
        """`code` is auto_map, modules_to_save, lm_head or config."""
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What a server needs to know to apply the tensors."""

    rank: int
    alpha: float
    targets: tuple[str, ...]


def encode_config(config: AdapterConfig) -> bytes:
    """The file as peft and vLLM read it; the same settings give the same bytes."""
    fields: dict[str, object] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "modules_to_save": None,
        "target_modules": sorted(config.targets),
        "use_dora": False,
        "use_rslora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
    }
    return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode()


def _names_code(value: object) -> bool:
    if isinstance(value, dict):
        return any((k in _CODE and v) or _names_code(v) for k, v in cast("dict[str, object]", value).items())
    return isinstance(value, list) and any(_names_code(v) for v in cast("list[object]", value))


def _targets(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(t, str) for t in cast("list[object]", value)):
        raise AdapterConfigInvalid("config", "target_modules: expected a list of projection names")
    names = cast("list[str]", value)
    if any("lm_head" in t for t in names):
        raise AdapterConfigInvalid("lm_head", "target_modules: lm_head breaks log-probabilities in vLLM; leave it out")
    unknown = sorted(set(names) - set(ALL_TARGETS))
    if unknown or len(set(names)) != len(names):
        raise AdapterConfigInvalid("config", f"target_modules: expected names of {ALL_TARGETS}, once each, got {names}")
    return tuple(sorted(names))


def parse_config(raw: bytes) -> AdapterConfig:
    """The settings in these bytes. Raises AdapterConfigInvalid for anything that is not plain LoRA."""
    try:
        loaded: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise AdapterConfigInvalid("config", f"adapter_config.json is not JSON: {error}") from error
    if not isinstance(loaded, dict):
        raise AdapterConfigInvalid("config", "adapter_config.json: expected an object")
    fields = cast("dict[str, Any]", loaded)
    if _names_code(fields):
        raise AdapterConfigInvalid("auto_map", "adapter_config.json names code to import; only plain LoRA is served")
    if fields.get("modules_to_save"):
        raise AdapterConfigInvalid("modules_to_save", "modules_to_save replaces whole modules; only LoRA is served")
    for name, expected in _FIXED.items():
        if (name in fields or name == "peft_type") and fields.get(name) != expected:
            raise AdapterConfigInvalid("config", f"{name}: expected {expected!r}, got {fields.get(name)!s:.80}")
    _refuse_the_rest(fields, (*_FIXED, *_FREE, "r", "lora_alpha", "lora_dropout", "target_modules"))
    return AdapterConfig(_rank(fields), _alpha(fields), _targets(fields.get("target_modules")))


def _refuse_the_rest(fields: Mapping[str, Any], known: Sequence[str]) -> None:
    for name, value in fields.items():
        if name not in known and value:
            raise AdapterConfigInvalid("config", f"{name}: expected it to be off, got {value!s:.80}")


def _rank(fields: Mapping[str, Any]) -> int:
    value = fields.get("r")
    if type(value) is not int or value < 1:
        raise AdapterConfigInvalid("config", f"r: expected a whole number from 1, got {value!s:.40}")
    return value


def _alpha(fields: Mapping[str, Any]) -> float:
    value = fields.get("lora_alpha")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise AdapterConfigInvalid("config", f"lora_alpha: expected a number above 0, got {value!s:.40}")
    return float(value)
