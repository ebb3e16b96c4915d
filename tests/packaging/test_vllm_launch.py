"""The command that starts vLLM: pure, so it can be read without starting anything."""

from __future__ import annotations

import pytest

from daemon.sections import HoldbackConfig
from deploy.vllm.launch import GATEWAY, adapter_slots, command


def option(argv: list[str], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_both_names_serve_the_base_and_the_gateway_is_loaded() -> None:
    argv, _ = command("python", "model", 8000, "support", "support-base")
    at = argv.index("--served-model-name")
    assert argv[at + 1 : at + 3] == ["support", "support-base"]
    assert option(argv, "--middleware") == GATEWAY == "deploy.gateway.app.Gateway"
    assert option(argv, "--host") == "127.0.0.1"


def test_adapters_can_come_at_run_time_and_stay_resident() -> None:
    argv, env = command("python", "model", 8000, "support", "support-base", max_lora_rank=32)
    assert "--enable-lora" in argv
    assert int(option(argv, "--max-loras")) >= 4
    assert int(option(argv, "--max-cpu-loras")) >= int(option(argv, "--max-loras"))
    assert option(argv, "--max-lora-rank") == "32"
    assert option(argv, "--api-server-count") == "1"
    assert env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"


def test_an_anchor_of_its_own_has_a_slot_of_its_own() -> None:
    argv, _ = command("python", "model", 8000, "support", "support-base", own_anchor=True)
    assert option(argv, "--max-loras") == str(adapter_slots(own_anchor=True)) == "5"
    assert not HoldbackConfig(share=0.02).own_anchor, "the identity version is resident anyway"
    assert not HoldbackConfig(anchor="support-aaaaaaaaaaaa").own_anchor, "nobody is held back"
    assert HoldbackConfig(share=0.02, anchor="support-aaaaaaaaaaaa").own_anchor


def test_a_rank_that_vllm_refuses_is_refused_here() -> None:
    with pytest.raises(ValueError, match="max_lora_rank must be one of"):
        command("python", "model", 8000, "support", "support-base", max_lora_rank=12)
