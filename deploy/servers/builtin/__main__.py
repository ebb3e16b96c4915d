# pyright: standard
"""``python -m deploy.servers.builtin``: parse, wire, serve until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import torch
import uvicorn
from transformers import AutoModelForCausalLM

from deploy.gateway.app import Gateway
from deploy.gateway.asgi import App
from deploy.gateway.config import GatewayConfigError, load_config
from deploy.servers.builtin.api import Api, Served
from deploy.servers.builtin.engine import Engine, EngineLimits
from deploy.servers.builtin.lora import LoraBank
from deploy.servers.builtin.protocol import Defaults
from deploy.servers.builtin.text import Text
from streams.errors import StreamsError

EXIT_FAILED, EXIT_USAGE = 1, 2


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.servers.builtin", description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="folder of the base model (Hugging Face layout)")
    parser.add_argument(
        "--served-model-name", nargs="+", required=True, help="names of the base; the first is the alias"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--gateway", type=Path, help="gateway.json: load the gateway around the server")
    parser.add_argument("--max-loras", type=int, default=8, help="adapters that may be loaded at once")
    parser.add_argument("--max-lora-rank", type=int, default=64)
    parser.add_argument("--max-model-len", type=int, help="tokens of prompt and reply; default: what the model allows")
    parser.add_argument("--max-batch", type=int, default=EngineLimits().max_batch, help="rows that step together")
    parser.add_argument("--threads", type=int, default=1, help="threads of a forward pass")
    parser.add_argument("--seed", type=int, default=0, help="of sampling, for requests without a seed of their own")
    return parser.parse_args(arguments)


def defaults_of(folder: Path, text: Text) -> Defaults:
    """Sampling defaults and end tokens from the model's folder."""
    path = folder / "generation_config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    eos = config.get("eos_token_id", text.eos_id)
    stops = eos if isinstance(eos, list) else [] if eos is None else [eos]
    return Defaults(
        temperature=float(config.get("temperature") or 1.0),
        top_p=float(config.get("top_p") or 1.0),
        top_k=int(config.get("top_k") or 0),
        max_new_tokens=config.get("max_new_tokens"),
        stop_ids=frozenset(stops),
    )


def build(options: argparse.Namespace) -> Api:
    """Load the model and wire the server. Raises OSError where the model cannot be loaded."""
    text = Text(str(options.model))
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto").eval()
    bank = LoraBank(model, options.max_loras, options.max_lora_rank)
    limits = EngineLimits(max_batch=options.max_batch)
    noise = torch.Generator()
    noise.manual_seed(options.seed)
    allowed = int(getattr(model.config, "max_position_embeddings", 2048))
    served = Served(
        tuple(options.served_model_name),
        str(options.model),
        min(options.max_model_len or allowed, allowed),
        defaults_of(options.model, text),
    )

    def begin() -> Engine:
        engine = Engine(model, bank, text.pad_id, limits, asyncio.get_running_loop())
        engine.start()
        return engine

    return Api(served, text, begin, noise)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, before the model is loaded: a taken port should cost no wait. Raises OSError."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    return made


def main(arguments: list[str] | None = None) -> int:
    """Serve. Returns the exit code."""
    options = parse(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    faulthandler.register(signal.SIGUSR1)  # the stacks of all threads, for whoever wonders where it hangs
    torch.set_num_threads(options.threads)
    # The engine's thread computes in Python between kernels; with the default of 5 ms it starves the event loop.
    sys.setswitchinterval(0.001)
    if not (options.model / "config.json").is_file():
        print(f"--model {options.model}: no model there (config.json is missing)", file=sys.stderr)
        return EXIT_USAGE
    try:
        bound = listen(options.host, options.port)
    except OSError as fault:
        print(
            f"port {options.port} of {options.host} cannot be used: {fault.strerror}; choose another", file=sys.stderr
        )
        return EXIT_FAILED
    try:
        app: App = build(options)
        if options.gateway is not None:
            app = Gateway(app, load_config(options.gateway))
    except (OSError, ValueError, GatewayConfigError, StreamsError) as fault:
        print(f"the server cannot start: {fault}", file=sys.stderr)
        return EXIT_FAILED
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2, lifespan="on")
    # uvicorn drains on these signals and then raises them again; a drained server has done what it was told.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: None)
    uvicorn.Server(config).run(sockets=[bound])
    return 0


if __name__ == "__main__":
    sys.exit(main())
