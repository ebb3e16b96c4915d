"""The sockets that we listen on ourselves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing

import pytest

from daemon.api.server import bind
from deploy.servers.builtin.__main__ import listen


@pytest.mark.parametrize("opened", [bind, listen])
def test_replies_do_not_wait_for_a_delayed_acknowledgement(opened: Callable[[str, int], socket.socket]) -> None:
    """Head and body of a reply are two writes: with Nagle's algorithm the second one would wait 40 ms."""

    async def accepted_without_nagle() -> bool:
        found: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            raw: socket.socket = writer.get_extra_info("socket")
            found.set_result(bool(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
            writer.close()

        with closing(opened("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            server = await asyncio.start_server(connected, sock=listener)
            async with server:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return await asyncio.wait_for(found, 5.0)

    assert asyncio.run(accepted_without_nagle())
