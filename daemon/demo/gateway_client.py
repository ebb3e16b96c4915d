"""The gateway as a client sees it: chat completions and feedback over HTTP, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

import aiohttp
import orjson

CONTROL_HEADER = "x-homeostat-control"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, or why there is none."""

    status: int
    """HTTP status; 0 when the transport failed."""
    text: str
    exchange_id: str | None = None
    token: str | None = None
    version: str | None = None
    arm: str | None = None
    epoch: int | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """A readable reply with status 200."""
        return self.status == 200 and self.error is None


class GatewayClient:
    """Asks and gives feedback. Never raises for what the peer does: every failure is a ``Reply`` with an error.

    ``control_token`` makes the gateway name version and arm in its response headers. That is how the harness measures;
    the users' behaviour never reads them.
    """

    def __init__(
        self, url: str, control_token: str | None = None, concurrency: int = 32, timeout_s: float = 60.0
    ) -> None:
        self._url = url.rstrip("/")
        self._control = {CONTROL_HEADER: control_token} if control_token else {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=concurrency, keepalive_timeout=30.0),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        )

    async def __aenter__(self) -> GatewayClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def ask(
        self, model: str, text: str, max_tokens: int, session: str | None = None, user: str | None = None
    ) -> Reply:
        """One single-turn greedy chat completion."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "temperature": 0.0,
        }
        headers = {"content-type": "application/json", **self._control}
        if session:
            headers["x-session-id"] = session
        if user:
            headers["x-user-id"] = user
        try:
            async with self._session.post(
                f"{self._url}/v1/chat/completions", data=orjson.dumps(body), headers=headers
            ) as response:
                raw = await response.read()
                return _reply(response.status, raw, response.headers)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return Reply(0, "", error=f"{type(error).__name__}: {error}")

    async def feedback(self, body: dict[str, Any]) -> str | None:
        """Post one feedback; None when it was accepted, else what went wrong."""
        try:
            async with self._session.post(
                f"{self._url}/v1/feedback", data=orjson.dumps(body), headers={"content-type": "application/json"}
            ) as response:
                raw = await response.read()
                return None if response.status == 202 else f"{response.status}: {raw[:200]!r}"
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    async def state(self) -> dict[str, Any]:
        """``GET /homeostat/gateway`` (control token). Raises aiohttp.ClientError when it cannot be read."""
        async with self._session.get(f"{self._url}/homeostat/gateway", headers=self._control) as response:
            response.raise_for_status()
            return cast("dict[str, Any]", orjson.loads(await response.read()))


def _reply(status: int, raw: bytes, headers: Mapping[str, str]) -> Reply:
    text, error = "", None if status == 200 else f"{status}: {raw[:200].decode(errors='replace')}"
    if status == 200:
        try:
            text = str(orjson.loads(raw)["choices"][0]["message"]["content"] or "")
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError) as fault:
            error = f"unreadable reply: {type(fault).__name__} in {raw[:200]!r}"
    epoch, arm = headers.get("x-homeostat-epoch", ""), headers.get("x-homeostat-arm")
    return Reply(
        status,
        text,
        headers.get("x-homeostat-exchange"),
        headers.get("x-homeostat-token"),
        headers.get("x-homeostat-version"),
        arm if arm in ("control", "canary") else None,
        int(epoch) if epoch.isdigit() else None,
        error,
    )
