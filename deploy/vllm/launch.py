"""How vLLM is started for homeostat: one pure function, so that tests, the demo and people start the same thing.

On a GPU host vLLM comes from its own distribution and the recipe is a shell line (the adapter limits are the same)::

    HOMEOSTAT_GATEWAY=/etc/homeostat/gateway.json VLLM_ALLOW_RUNTIME_LORA_UPDATING=True \\
    vllm serve MODEL --served-model-name support support-base --middleware deploy.gateway.app.Gateway \\
        --enable-lora --max-loras 4 --max-cpu-loras 16 --max-lora-rank 16 --api-server-count 1

``--max-loras`` keeps identity, champion, previous and candidate resident, and the anchor of a holdback that names one
(``adapter_slots``): with more adapters than slots the time to the first token explodes. ``--max-cpu-loras`` must hold
every registered adapter, because an evicted one is read from disk again inside the engine's step. Runtime loading wants
one API process, whatever the data-parallel size.
"""

from __future__ import annotations

from pathlib import Path

GATEWAY = "deploy.gateway.app.Gateway"
"""The ASGI middleware that vLLM loads; it reads its configuration from the file named in HOMEOSTAT_GATEWAY."""

ALWAYS_RESIDENT = ("identity", "champion", "previous", "candidate")
"""What every deployment keeps in the engine while a rollout runs."""


def adapter_slots(own_anchor: bool = False) -> int:
    """``--max-loras``: slots for what is resident at once. ``own_anchor``: sessions are held back on a version of their
    own, which may be none of the others.
    """
    return len(ALWAYS_RESIDENT) + own_anchor


MAX_CPU_LORAS = 16
"""Adapters kept in memory; more than a deployment ever registers between two restarts of a replica."""

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values vLLM accepts for --max-lora-rank."""


def command(
    python: Path | str,
    model_dir: Path | str,
    port: int,
    alias: str,
    base_name: str,
    max_lora_rank: int = 16,
    own_anchor: bool = False,
) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment variables (to be added to the caller's) of one CPU replica on 127.0.0.1.

    ``alias`` is the name clients call and ``base_name`` the one that always means the base model: both serve the
    base, so that a request passes even where no gateway rewrites it. ``own_anchor``: see ``adapter_slots``. Raises
    ValueError for a rank that vLLM would refuse.
    """
    if max_lora_rank not in LORA_RANKS:
        raise ValueError(f"max_lora_rank must be one of {LORA_RANKS}, not {max_lora_rank}")
    # The vllm command looks for a distribution named vllm, which the CPU build is not: start the module instead.
    argv = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model_dir)]
    argv += ["--served-model-name", alias, base_name, "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--middleware", GATEWAY, "--api-server-count", "1"]
    argv += ["--enable-lora", "--max-loras", str(adapter_slots(own_anchor)), "--max-cpu-loras", str(MAX_CPU_LORAS)]
    argv += ["--max-lora-rank", str(max_lora_rank), "--dtype", "float32", "--enforce-eager"]
    env = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",  # the load and unload routes; the gateway guards them
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # binding takes cores that other processes of the machine use
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",  # the model is a folder: nothing may be looked up outside
    }
    return argv, env
