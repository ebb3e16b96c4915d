# pyright: standard
"""From the command line's options to a running server. Imports the heavy libraries: only ``__main__`` imports this."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import torch
import uvicorn
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from deploy.gateway.app import Gateway
from deploy.gateway.asgi import App
from deploy.gateway.config import GatewayConfigError, load_config
from deploy.servers.builtin.api import Api, Served
from deploy.servers.builtin.engine import Engine, EngineLimits
from deploy.servers.builtin.lora import LoraBank
from deploy.servers.builtin.protocol import Defaults
from deploy.servers.builtin.text import Text
from streams.errors import StreamsError


class CannotStart(Exception):
    """The model, the gateway's options or its log cannot be used; the message says which and what to do."""


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


def serve(options: argparse.Namespace, bound: socket.socket) -> None:
    """Load the model and serve on the bound socket until SIGTERM or SIGINT. Raises CannotStart."""
    disable_progress_bar()
    torch.set_num_threads(options.threads)
    # The engine's thread computes in Python between kernels; with the default of 5 ms it starves the event loop.
    sys.setswitchinterval(0.001)
    try:
        app: App = build(options)
        if options.gateway is not None:
            app = Gateway(app, load_config(options.gateway))
    except (OSError, ValueError, GatewayConfigError, StreamsError) as fault:
        raise CannotStart(str(fault)) from fault
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2, lifespan="on")
    # uvicorn drains on these signals and then raises them again; a drained server has done what it was told.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: None)
    uvicorn.Server(config).run(sockets=[bound])
