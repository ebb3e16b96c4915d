"""One request to an alias: choose, dispatch, try again where that can still help, and remember what happened.

The order of tries is the chosen version, then, for a failing candidate, the control of that instant, then, for a
champion that this replica does not have, the base with the client's own bytes. A version that shows examples is tried
once more without them, as what it stands on, where the server refuses the request: they may have made it too long.
Choosing a version and handing the request to the server happen without an await between them: once a newer table is in
force nothing is dispatched by the older one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from deploy.gateway.arms import Choice, Reason, choose
from deploy.gateway.asgi import App, Headers, Message, Receive, Scope, Send, replay, with_length
from deploy.gateway.capture import Capture
from deploy.gateway.config import GatewayConfig, Secrets
from deploy.gateway.counters import Counters
from deploy.gateway.demonstrations import Shown, asks_for_prompt, with_pairs
from deploy.gateway.ids import uuid7
from deploy.gateway.plan import Plan
from deploy.gateway.relay import Relay
from deploy.gateway.rewrite import Asked, asked_of, request_for
from deploy.gateway.route_table import NOTHING, RouteHolder
from deploy.gateway.tokens import Claims, mint, seal_version
from deploy.gateway.traffic import Traffic
from deploy.gateway.transcript import Captured
from streams.events import Attempt

log = logging.getLogger(__name__)
CLIENT_LEFT = 499
"""Recorded status of a request whose client went away before the end (nginx's number for it)."""
REFUSED = 400
"""Status of a request that a server finds wrong, or too long for its context."""
_RETRIED = ("canary", "holdback")
"""Arms whose version is not the champion: where it fails, the champion answers."""


@dataclass(slots=True)
class Ticket:
    """One request while it is served."""

    plan: Plan
    body: bytes
    scope: Scope
    receive: Receive
    send: Send
    exchange_id: str
    received_at: float
    started: float
    asked: Asked
    show: bool
    """True for operators: version, arm and epoch are told in headers."""
    epoch: int = 0
    dispatched_at: float = 0.0
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    client_left: bool = False
    fault: bool = False
    """True when we ourselves failed and the request passed untouched: there is nothing true to record."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Injected time: wall seconds for what is stored, monotonic ones for durations and leases."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]


class Server:
    """Serves the requests of a gateway's aliases through the application below it."""

    def __init__(
        self,
        app: App,
        config: GatewayConfig,
        secrets: Secrets,
        holder: RouteHolder,
        traffic: Traffic,
        capture: Capture | None,
        counters: Counters,
        clock: Clock,
    ) -> None:
        self._app = app
        self._config = config
        self._secrets = secrets
        self._holder = holder
        self._traffic = traffic
        self._capture = capture
        self._counters = counters
        self._clock = clock
        self.proved: frozenset[str] = frozenset()
        """Versions whose effect was proved on this replica, as the agent told last."""

    def ticket(
        self, plan: Plan, body: bytes, scope: Scope, receive: Receive, send: Send, started: float, show: bool
    ) -> Ticket:
        """The record of a request that has been read; it arrived at ``started`` on the monotonic clock."""
        received_at = self._clock.wall() - (self._clock.monotonic() - started)
        exchange_id = uuid7(received_at)
        options = self._config.capture
        # The last digits of the id are random: a sample without a random number of its own.
        sampled = int(exchange_id[-8:], 16) < options.logprob_sample * (1 << 32)
        asked = asked_of(plan.fields, options.enabled and options.token_ids, options.enabled and sampled)
        return Ticket(plan, body, scope, receive, send, exchange_id, received_at, started, asked, show)

    async def serve(self, ticket: Ticket) -> None:
        """Serve it. Exceptions of the application pass through after they were recorded."""
        choice, version, shown, relay = Choice(None, Reason.NO_ROUTE), None, None, None
        try:
            while True:
                try:
                    # No await from here to the call of the application in ``_try``.
                    if relay is None:
                        choice, pairs = self._choose(ticket)
                        version, shown = self._answering(ticket, choice.version, pairs)
                    relay = self._relay(ticket, choice, version, shown)
                    scope, payload = self._request(ticket, version, shown)
                except Exception:
                    self._counters.faults.labels("dispatch").inc()
                    log.exception("a request could not be dispatched; it passes untouched")
                    version, relay = None, None
                    ticket.fault = True
                    await self._app(ticket.scope, replay(ticket.body, ticket.receive), ticket.send)
                    return
                # Only the first try is the candidate's, even if control has become the same version since.
                candidate = choice.arm in _RETRIED and not ticket.attempts
                if not await self._try(ticket, scope, payload, version, relay, candidate):
                    return
                version, shown = self._next(ticket, candidate, shown, relay)
        finally:
            self._finish(ticket, choice, version, relay)

    def _choose(self, ticket: Ticket) -> tuple[Choice, Mapping[str, Shown]]:
        """Where it goes, and the pairs of the table that said so."""
        held = self._holder.held
        alias = ticket.plan.deployment.alias
        if held is None:
            return choose(None, False, ""), NOTHING
        ticket.epoch = held.file.epoch
        live = held.live(alias, self._clock.monotonic())
        return choose(held.routes.get(alias), live, ticket.plan.client.session, self.proved), held.shown

    def _answering(
        self, ticket: Ticket, version: str | None, pairs: Mapping[str, Shown]
    ) -> tuple[str | None, Shown | None]:
        """Who answers, and what is shown before the conversation; where there is none, what the version stands on."""
        shown = pairs.get(version) if pairs and version is not None else None
        if shown is None:
            return version, None
        if ticket.plan.chat and not asks_for_prompt(ticket.plan.fields):
            return version, shown
        self._counters.demonstrations.labels("asks_for_prompt" if ticket.plan.chat else "not_chat").inc()
        return shown.stands_on, None

    def _next(
        self, ticket: Ticket, candidate_failed: bool, shown: Shown | None, relay: Relay
    ) -> tuple[str | None, Shown | None]:
        if shown is not None and relay.held and relay.status == REFUSED:
            self._counters.demonstrations.labels("refused").inc()
            return shown.stands_on, None
        self._counters.fallbacks.labels("candidate_failed" if candidate_failed else "champion_missing").inc()
        held = self._holder.held
        route = held.routes.get(ticket.plan.deployment.alias) if candidate_failed and held is not None else None
        return (None, None) if route is None or held is None else self._answering(ticket, route.control, held.shown)

    def _relay(self, ticket: Ticket, choice: Choice, version: str | None, shown: Shown | None) -> Relay:
        candidate = choice.arm in _RETRIED and not ticket.attempts
        asked_for = shown.stands_on if shown is not None else version

        def hold(status: int, data: bytes) -> bool:
            if asked_for is None:
                return False
            # The client named an alias that exists: a missing model is our failure, not his.
            missing = status == 404 and asked_for.encode() in data
            # Nor are the pairs his, which may have made his request too long.
            return missing or (candidate and status >= 500) or (shown is not None and status == REFUSED)

        return Relay(
            ticket.send,
            version=asked_for,
            alias=ticket.plan.deployment.alias,
            asked=ticket.asked if version else Asked(),
            added=self._headers(ticket, choice, version),
            keep_bytes=self._config.capture.max_response_bytes if self._capture else 0,
            clock=self._clock.monotonic,
            hold=hold,
            on_fault=lambda place: self._counters.faults.labels(place).inc(),
            shows=shown is not None,
        )

    def _headers(self, ticket: Ticket, choice: Choice, version: str | None) -> Headers:
        plan, name = ticket.plan, version or ticket.plan.deployment.base_name
        key = self._secrets.feedback_key
        claims = Claims(
            deployment=plan.deployment.name,
            tenant=plan.deployment.tenant,
            session=plan.client.session,
            exchange_id=ticket.exchange_id,
            identity=plan.identity,
            version_seal=seal_version(key, ticket.exchange_id, name),
            expires_at=int(ticket.received_at + self._config.token_ttl_s),
        )
        headers = [
            (b"x-homeostat-exchange", ticket.exchange_id.encode()),
            (b"x-homeostat-token", mint(key, claims).encode()),
        ]
        if ticket.show:
            headers.append((b"x-homeostat-version", name.encode()))
            headers.append((b"x-homeostat-arm", (choice.arm or "none").encode()))
            headers.append((b"x-homeostat-epoch", b"%d" % ticket.epoch))
        return headers

    def _request(self, ticket: Ticket, version: str | None, shown: Shown | None) -> tuple[Scope, bytes]:
        """Scope and body under a version; the client's own for the base."""
        if version is None:
            return ticket.scope, ticket.body
        plan, fields = ticket.plan, ticket.plan.fields
        if shown is not None:
            version, fields = shown.stands_on, with_pairs(fields, shown)
            self._counters.demonstrations.labels("inserted").inc()
        payload = request_for(fields, version, plan.deployment.tenant, ticket.asked, plan.chat)
        return {**ticket.scope, "headers": with_length(ticket.scope["headers"], len(payload))}, payload

    async def _try(
        self, ticket: Ticket, scope: Scope, payload: bytes, version: str | None, relay: Relay, candidate: bool
    ) -> bool:
        """One try; True when it failed in a way that another version may repair."""
        name = version or ticket.plan.deployment.base_name
        ticket.dispatched_at = self._traffic.dispatch(name)
        try:
            await self._app(scope, replay(payload, _noting(ticket)), relay)
        except Exception:
            ticket.attempts.append(Attempt(version=name, status=relay.status if relay.started else 500))
            if relay.started or not candidate:
                raise
            return True
        finally:
            self._traffic.done(name)
        ticket.attempts.append(Attempt(version=name, status=_status(relay, ticket.client_left)))
        return relay.held

    def _finish(self, ticket: Ticket, choice: Choice, version: str | None, relay: Relay | None) -> None:
        if ticket.fault:
            return
        try:
            self._record(ticket, choice, version, relay)
        except Exception:  # noqa: BLE001 - the client has his reply; ours to count, not his to suffer
            self._counters.faults.labels("record").inc()

    def _record(self, ticket: Ticket, choice: Choice, version: str | None, relay: Relay | None) -> None:
        plan = ticket.plan
        elapsed = self._clock.monotonic() - ticket.started
        # No attempt noted: the task was cancelled, which servers do when the client is gone.
        status = ticket.attempts[-1].status if ticket.attempts else CLIENT_LEFT
        first = relay.first_byte_at - ticket.started if relay and relay.streamed and relay.first_byte_at else None
        self._counters.served(plan.deployment.name, choice.arm or "none", status, elapsed, first)
        if self._capture is None:
            return
        self._capture.offer(
            Captured(
                exchange_id=ticket.exchange_id,
                client_request_id=plan.client_request_id,
                deployment=plan.deployment.name,
                tenant=plan.deployment.tenant,
                session=plan.client.session,
                session_derived=plan.client.session_derived,
                identity=plan.identity,
                request_bytes=len(ticket.body),
                fields=plan.fields,
                response=relay.kept if relay else [],
                streamed=relay.streamed if relay else False,
                version=version or plan.deployment.base_name,
                rollout=choice.rollout,
                arm=choice.arm,
                propensity=choice.propensity,
                route_epoch=ticket.epoch,
                received_at=ticket.received_at,
                dispatched_at=ticket.dispatched_at or ticket.received_at,
                completed_at=ticket.received_at + elapsed,
                first_token_s=first,
                status=status,
                attempts=tuple(ticket.attempts),
            )
        )


def _status(relay: Relay, client_left: bool) -> int:
    if relay.held or (relay.finished and relay.status):
        return relay.status
    return CLIENT_LEFT if client_left or relay.started else 500


def _noting(ticket: Ticket) -> Receive:
    """The client's messages, with a note when he leaves."""

    async def receive() -> Message:
        message = await ticket.receive()
        if message["type"] == "http.disconnect":
            ticket.client_left = True
        return message

    return receive
