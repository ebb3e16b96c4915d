"""The agent on another host: the same port behind a token-guarded HTTP server, and the client that speaks to it.

    daemon: HttpAgent --HTTP, bearer token--> homeostat agent: application(LocalAgent) --> its servers and route file

The host's agent works without the daemon: whoever holds the token can write a route, which is all that a roll-back
needs.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute

from deploy.agent import Agent, Observation, RouteAck
from deploy.driver_errors import REASONS, AgentRefused, DriverError, ServerFailed, StaleRoute, Unreachable
from deploy.proof import ProofResult
from deploy.routes import RouteFile

T = TypeVar("T")
SLOW_S: Final = 90.0
"""Seconds for loads and proofs: the first request with log-probabilities compiles kernels on some servers."""
QUICK_S: Final = 10.0
MAX_BODY: Final = 1 << 20
_observation: Final = TypeAdapter(Observation)
_proof: Final = TypeAdapter(ProofResult)
_ack: Final = TypeAdapter(RouteAck)


class Order(BaseModel):
    """Which version, on which replica."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    replica: str


class Fault(BaseModel):
    """Why an order was not carried out; ``reason`` is that of a DriverError."""

    reason: str
    message: str


def application(agent: Agent, token: str) -> Starlette:
    """The agent's HTTP server. Every route needs ``Authorization: Bearer <token>``."""

    async def observe(request: Request) -> Response:
        return _json(_observation, await run_in_threadpool(agent.observe))

    async def ensure_loaded(request: Request) -> Response:
        order = await _order(request)
        await run_in_threadpool(agent.ensure_loaded, order.version, order.replica)
        return Response(status_code=204)

    async def unload(request: Request) -> Response:
        order = await _order(request)
        await run_in_threadpool(agent.unload, order.version, order.replica)
        return Response(status_code=204)

    async def prove(request: Request) -> Response:
        order = await _order(request)
        return _json(_proof, await run_in_threadpool(agent.prove, order.version, order.replica))

    async def write_route(request: Request) -> Response:
        file = RouteFile.model_validate_json(await request.body())
        return _json(_ack, await run_in_threadpool(agent.write_route, file))

    def guarded(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guard(request: Request) -> Response:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), b"Bearer " + token.encode()):
                return _fault(401, AgentRefused.reason, "the agent's token is expected as a bearer token")
            if int(request.headers.get("content-length") or 0) > MAX_BODY:
                return _fault(413, DriverError.reason, f"at most {MAX_BODY} bytes expected")
            try:
                return await endpoint(request)
            except ValidationError as error:
                return _fault(422, DriverError.reason, str(error))
            except StaleRoute as error:
                return _fault(409, error.reason, str(error))
            except DriverError as error:
                return _fault(502, error.reason, str(error))
            except OSError as error:
                return _fault(500, DriverError.reason, f"the route file cannot be written: {error}")

        return guard

    return Starlette(
        routes=[
            HttpRoute("/observe", guarded(observe), methods=["GET"]),
            HttpRoute("/ensure_loaded", guarded(ensure_loaded), methods=["POST"]),
            HttpRoute("/prove", guarded(prove), methods=["POST"]),
            HttpRoute("/unload", guarded(unload), methods=["POST"]),
            HttpRoute("/route", guarded(write_route), methods=["PUT"]),
        ]
    )


async def _order(request: Request) -> Order:
    return Order.model_validate_json(await request.body())


def _json(kind: TypeAdapter[T], value: T) -> Response:
    return Response(kind.dump_json(value), media_type="application/json")


def _fault(status: int, reason: str, message: str) -> Response:
    content = Fault(reason=reason, message=message).model_dump_json()
    return Response(content, status_code=status, media_type="application/json")


class HttpAgent:
    """An agent on another host. Thread-safe."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self._url, headers={"authorization": f"Bearer {token}"}, timeout=QUICK_S, trust_env=False
        )

    def observe(self) -> Observation:
        """What is there now; no replica at all when the agent itself does not answer."""
        try:
            return self._parsed(_observation, self._send("GET", "/observe"))
        except Unreachable:
            return Observation((), None)

    def ensure_loaded(self, version: str, replica: str) -> None:
        """Check the files and load. Raises DriverError."""
        self._send("POST", "/ensure_loaded", Order(version=version, replica=replica), SLOW_S)

    def prove(self, version: str, replica: str) -> ProofResult:
        """Prove the effect on a replica. Raises DriverError."""
        return self._parsed(_proof, self._send("POST", "/prove", Order(version=version, replica=replica), SLOW_S))

    def unload(self, version: str, replica: str) -> None:
        """Forget it on a replica. Raises DriverError."""
        self._send("POST", "/unload", Order(version=version, replica=replica))

    def write_route(self, route: RouteFile) -> RouteAck:
        """Write the host's route file and push it. Raises StaleRoute and DriverError."""
        return self._parsed(_ack, self._send("PUT", "/route", route))

    def close(self) -> None:
        """Release connections; idempotent."""
        self._http.close()

    def _send(self, method: str, path: str, body: BaseModel | None = None, timeout_s: float = QUICK_S) -> bytes:
        content = None if body is None else body.model_dump_json().encode()
        try:
            answer = self._http.request(method, path, content=content, timeout=timeout_s)
        except httpx.HTTPError as error:
            message = f"the agent at {self._url} does not answer ({type(error).__name__}): is `homeostat agent` up?"
            raise Unreachable(message) from error
        if answer.status_code >= 300:
            raise self._error(answer)
        return answer.content

    def _error(self, answer: httpx.Response) -> DriverError:
        try:
            fault = Fault.model_validate_json(answer.content)
        except ValidationError:
            return ServerFailed(f"the agent at {self._url}: {answer.status_code} {answer.text[:200]}")
        return REASONS.get(fault.reason, DriverError)(fault.message)

    def _parsed(self, kind: TypeAdapter[T], content: bytes) -> T:
        try:
            return kind.validate_json(content)
        except ValidationError as error:
            raise ServerFailed(f"the agent at {self._url} speaks another language: {error}") from error
