"""Real vLLM for tests, by the launch recipe: with the gateway, and plain, as a stranger runs it.

A start takes about a minute on two cores, most of it imports: the fixtures of ``tests.conftest`` share one a session.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from daemon.demo.ports import free_port
from tests.deploy.serving import BASE_NAME, Home, Server, vllm_server

OURS = {"--middleware": 1, "--enable-lora": 0, "--max-loras": 1, "--max-cpu-loras": 1, "--max-lora-rank": 1}
"""Options of the launch recipe that a stranger's vLLM does not have, with the number of their values."""


def without(argv: Sequence[str], options: dict[str, int]) -> list[str]:
    """A command line without these options and their values."""
    kept: list[str] = []
    skip = 0
    for word in argv:
        skip = 1 + options[word] if word in options else skip
        if skip == 0:
            kept.append(word)
        skip = max(0, skip - 1)
    return kept


def plain_vllm_server(home: Home, port: int) -> Server:
    """A stranger's vLLM: one name for the base, no gateway, no adapters and no routes to load any."""
    ours = vllm_server(home, "plain", port)
    argv = [word for word in without(ours.argv, OURS) if word != BASE_NAME]
    hidden = ("HOMEOSTAT_GATEWAY", "VLLM_ALLOW_RUNTIME_LORA_UPDATING")
    env = {name: value for name, value in ours.env.items() if name not in hidden}
    return Server("plain", "vllm", port, argv, env, home.folder / "plain.log")


def requests_of(server: Server) -> list[str]:
    """Lines such as ``POST /v1/chat/completions`` from the access log of a vLLM, oldest first."""
    lines = server.log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.split('"')[1].rpartition(" ")[0] for line in lines if 'HTTP/1.1"' in line]


def tiny_home(folder: Path) -> Home:
    """A host with a tiny random base."""
    from tests.tiny_base import make_base

    return Home(folder, make_base(folder / "base"))


@contextmanager
def gateway_vllm(folder: Path) -> Generator[tuple[Home, Server]]:
    """vLLM with the gateway and room for adapters."""
    home = tiny_home(folder)
    server = vllm_server(home, "one", free_port()).start()
    try:
        yield home, server
    finally:
        server.stop()


@contextmanager
def plain_vllm(folder: Path) -> Generator[tuple[Home, Server]]:
    """vLLM as a stranger runs it, known as ``support`` only."""
    home = tiny_home(folder)
    server = plain_vllm_server(home, free_port()).start()
    try:
        yield home, server
    finally:
        server.stop()
