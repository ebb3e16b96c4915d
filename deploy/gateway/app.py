"""The middleware: ``vllm serve --middleware deploy.gateway.app.Gateway``, options named by ``HOMEOSTAT_GATEWAY``.

    client -> [ off-switch? ] -> [ alias? plan -> choose -> dispatch ] -> application -> relay -> client
                   |                    | any fault of ours                        \\-> capture queue -> log
                   \\--- bytes pass untouched to the served base <---/

Everything here runs on the server's event loop except the route watch and the capture, which have a thread each.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from deploy.gateway import control
from deploy.gateway.asgi import App, Body, Message, Receive, Scope, Send, answer, error, read_body, replay, with_length
from deploy.gateway.capture import Capture, GivenFeedback
from deploy.gateway.config import (
    VARIABLE,
    GatewayConfig,
    GatewayConfigError,
    Secrets,
    load_config,
    load_secrets,
)
from deploy.gateway.counters import Counters, shared_counters
from deploy.gateway.demonstrations import Shelf, by_name
from deploy.gateway.feedback import Refused, take
from deploy.gateway.plan import CHAT_PATH, GENERATE_PATHS, Names, Plan, model_of, plan
from deploy.gateway.rewrite import parse
from deploy.gateway.route_table import RouteHolder
from deploy.gateway.serve import Clock, Server
from deploy.gateway.sessions import HotKeys
from deploy.gateway.traffic import Traffic
from deploy.gateway.watch import RouteWatch
from streams.log import Sink
from streams.open_log import open_sink

log = logging.getLogger(__name__)
MAX_CONTROL_BODY = 1 << 20


class Gateway:
    """Routes, captures and takes feedback around any ASGI application with the routes of the OpenAI API."""

    def __init__(
        self,
        app: App,
        config: GatewayConfig | None = None,
        *,
        secrets: Secrets | None = None,
        sink: Sink | None = None,
        counters: Counters | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the options and start the threads. Raises GatewayConfigError or StreamsError: better no start."""
        self._app = app
        self._config = config = config or _config_from_environment()
        self._secrets = secrets = secrets or load_secrets(config)
        self._wall, self._monotonic = wall, monotonic
        self._started_at = wall()
        self._counters = counters = counters or shared_counters()
        self._names = Names(config.deployments)
        self._hot = HotKeys(config.hot_key_share, config.hot_key_window)
        self._shelf = Shelf(config.artifacts, self._fault)
        self._holder = RouteHolder(monotonic, self._shelf.of_route)
        self._traffic = Traffic(wall)
        self._capture: Capture | None = None
        if config.capture.enabled:
            source = f"/gateway/{config.host}"
            self._capture = Capture(
                config.capture, config.log.topics, source, sink or open_sink(config.log, required=False), counters
            )
        self._server = Server(
            app, config, secrets, self._holder, self._traffic, self._capture, counters, Clock(wall, monotonic)
        )
        self._watch = RouteWatch(config.route_file, config.off_file, self._holder, config.poll_ms / 1000, self._fault)
        self._watch.start()
        counters.epoch.set_function(lambda: held.file.epoch if (held := self._holder.held) else 0)
        counters.off.set_function(lambda: float(self._watch.off))

    def close(self) -> None:
        """Stop the threads; what was captured is written first. Idempotent."""
        self._watch.stop()
        if self._capture is not None:
            self._capture.close()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything captured so far is on the log; False when time ran out."""
        return self._capture is None or self._capture.flush(timeout_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        kind = scope["type"]
        if kind == "http":
            path: str = scope["path"]
            if path in GENERATE_PATHS and scope["method"] == "POST":
                await self._generate(scope, receive, send, path == CHAT_PATH)
            else:
                await self._other(scope, receive, send, path)
        elif kind == "lifespan":
            await self._app(scope, receive, self._closing(send))
        elif kind == "websocket" and scope["path"] not in self._config.open_paths:
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._app(scope, receive, send)

    async def _generate(self, scope: Scope, receive: Receive, send: Send, chat: bool) -> None:
        started = self._monotonic()
        if self._watch.off:
            await self._app(scope, receive, send)
            return
        body = await read_body(receive, self._config.max_body_bytes)
        if not body.complete:
            if not body.disconnected:
                self._fault("body_too_long")
                await self._app(scope, replay(body.data, receive, complete=False), send)
            return
        try:
            planned = self._plan(scope, body, chat)
            allowed = control.authorised(scope["headers"], self._secrets.control_token)
            ticket = None
            if isinstance(planned, Plan):
                ticket = self._server.ticket(planned, body.data, scope, receive, send, started, allowed)
        except Exception:
            self._fault("plan")
            log.exception("a request could not be planned; it passes untouched")
            await self._app(scope, replay(body.data, receive), send)
            return
        if ticket is not None:
            await self._server.serve(ticket)
        elif isinstance(planned, str) and self._names.is_version(planned):
            await self._by_version(planned, allowed, chat, body.data, scope, receive, send)
        else:
            await self._app(scope, replay(body.data, receive), send)

    def _plan(self, scope: Scope, body: Body, chat: bool) -> Plan | str | None:
        """The plan for a request to an alias; else the model that it names, None where it is not for us to judge."""
        try:
            fields = parse(body.data)
        except msgspec.MsgspecError:
            return None
        model = model_of(fields)
        deployment = self._names.deployment_of(model)
        if deployment is None:
            return model
        return plan(scope, fields, deployment, self._hot, self._secrets.salt, chat)

    async def _by_version(
        self, version: str, allowed: bool, chat: bool, body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if not allowed:
            self._counters.refused.labels("version").inc()
            message = f"The model `{version}` does not exist."
            await answer(send, 404, error(message, "NotFoundError", 404, "model"))
            return
        shown = self._shelf.of(version)
        if shown is not None:
            try:
                body = by_name(body, shown, chat)
            except msgspec.MsgspecError:
                self._fault("demonstrations")  # the server does not know the name, and says so
            scope = {**scope, "headers": with_length(scope["headers"], len(body))}
        self._traffic.dispatch(version)
        try:
            await self._app(scope, replay(body, receive), send)
        finally:
            self._traffic.done(version)

    async def _other(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        method: str = scope["method"]
        if path == "/v1/feedback" and method == "POST":
            await self._feedback(receive, send)
            return
        if path == "/homeostat/ready" and method == "GET":
            missing = control.missing_champions(self._holder.held, self._server.proved)
            await answer(send, 503 if missing else 200, {"ready": not missing})
            return
        client = scope.get("client")
        extra = self._config.open_paths
        if control.authorised(scope["headers"], self._secrets.control_token):
            if path.startswith("/homeostat/"):
                await self._controlled(method, path, receive, send)
            else:
                await self._app(scope, receive, send)
        elif path == "/v1/models" and method == "GET":
            await control.public_models(self._app, scope, receive, send, self._names.by_alias)
        elif control.is_open(method, path, client[0] if client else None, extra):
            await self._app(scope, receive, send)
        else:
            self._counters.refused.labels("path").inc()
            await answer(send, 404, error("Not Found", "NotFoundError", 404))

    async def _feedback(self, receive: Receive, send: Send) -> None:
        body = await read_body(receive, MAX_CONTROL_BODY)
        config = self._config
        if not body.complete:
            await answer(send, 413, error("body: shorter than 1 MiB expected", "BadRequestError", 413, "body"))
            return
        taken = take(body.data, self._secrets.feedback_key, config.deployments, config.accept_bare, self._wall())
        if isinstance(taken, Refused):
            self._counters.feedback.labels("refused").inc()
            kind = "AuthenticationError" if taken.status == 401 else "BadRequestError"
            await answer(send, taken.status, error(taken.message, kind, taken.status, taken.param))
            return
        if self._capture is None or not self._capture.offer(GivenFeedback(taken.feedback, taken.token)):
            self._counters.feedback.labels("dropped").inc()
            await answer(send, 503, error("feedback cannot be stored now; send it again", "Unavailable", 503))
            return
        self._counters.feedback.labels("accepted").inc()
        await answer(send, 202, {"id": taken.feedback.feedback_id})

    async def _controlled(self, method: str, path: str, receive: Receive, send: Send) -> None:
        if (method, path) == ("GET", "/homeostat/gateway"):
            await answer(send, 200, self.state())
            return
        if method != "PUT" or path not in ("/homeostat/route", "/homeostat/proved"):
            await answer(send, 404, error("Not Found", "NotFoundError", 404))
            return
        body = await read_body(receive, MAX_CONTROL_BODY)
        if path == "/homeostat/route":
            status, content = control.push(self._holder, body.data, self._wall())
            await answer(send, status, content)
            return
        try:
            self._server.proved = frozenset(msgspec.json.decode(body.data, type=list[str]))
        except msgspec.MsgspecError:
            await answer(send, 422, error("body: a list of version names expected", "BadRequestError", 422, "body"))
            return
        self._holder.read_again()  # a proof reads the pairs too
        await answer(send, 200, {"proved": sorted(self._server.proved)})

    def state(self) -> dict[str, object]:
        """What operators see of this gateway: ``GET /homeostat/gateway``."""
        held, capture = self._holder.held, self._capture
        now = self._monotonic()
        leases = {alias: max(0.0, end - now) for alias, end in held.deadlines.items()} if held else {}
        return {
            **control.summary(held),
            "host": self._config.host,
            "started_at": self._started_at,
            "off": self._watch.off,
            "lease_left_s": leases,
            "versions": self._traffic.snapshot(),
            "proved": sorted(self._server.proved),
            "queued": capture.waiting if capture else 0,
            "dropped": capture.dropped if capture else 0,
            "hot_sessions": sorted(self._hot.hot),
        }

    def _fault(self, place: str) -> None:
        self._counters.faults.labels(place).inc()

    def _closing(self, send: Send) -> Send:
        """Close the gateway when the server's own shut-down is complete."""

        async def closing(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                self.close()
            await send(message)

        return closing


def _config_from_environment() -> GatewayConfig:
    path = os.environ.get(VARIABLE)
    if not path:
        raise GatewayConfigError(f"the gateway needs its options: set {VARIABLE} to the path of a gateway.json")
    return load_config(Path(path))
