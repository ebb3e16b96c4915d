"""``python -m deploy.servers.builtin``: parse, wire, serve until SIGTERM."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import socket
import sys
from pathlib import Path

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
    parser.add_argument("--max-batch", type=int, default=32, help="rows that step together")
    parser.add_argument("--threads", type=int, default=1, help="threads of a forward pass")
    parser.add_argument("--seed", type=int, default=0, help="of sampling, for requests without a seed of their own")
    return parser.parse_args(arguments)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, before the model is loaded: a taken port should cost no wait. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by its name: asyncio switches Nagle's algorithm off only for sockets that say TCP, and with it every
    # reply, whose head and body are two writes, waits 40 ms for the client's delayed acknowledgement.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    return made


def main(arguments: list[str] | None = None) -> int:
    """Serve. Returns the exit code."""
    options = parse(arguments)
    faulthandler.register(signal.SIGUSR1)  # the stacks of all threads, for whoever wonders where it hangs
    if not (options.model / "config.json").is_file():
        print(f"--model {options.model}: no model there (config.json is missing)", file=sys.stderr)
        return EXIT_USAGE
    try:
        bound = listen(options.host, options.port)
    except OSError as fault:
        where = f"port {options.port} of {options.host}"
        print(f"{where} cannot be used: {fault.strerror}; choose another with --port", file=sys.stderr)
        return EXIT_FAILED
    # Before the libraries are imported, because they read it then: a model is a folder, nothing is looked up outside.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from deploy.servers.builtin.wiring import CannotStart, serve

    try:
        serve(options, bound)
    except CannotStart as fault:
        print(f"the server cannot start: {fault}", file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
