"""The application: routers, the host check and the translation of faults. Built once for each start of the daemon."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import REGISTRY, CollectorRegistry
from starlette.middleware.trustedhost import TrustedHostMiddleware

from daemon.api import commands, evidence, health, labels, lift, looks, power, trainer
from daemon.api.ports import Controller
from daemon.config import Config
from daemon.fault_map import as_fault
from daemon.faults import Fault, Refused, Unreachable
from daemon.secrets import Tokens
from daemon.store import Store

log = structlog.get_logger(room="daemon.api")


def build(
    *,
    deployment: str,
    store: Store,
    controller: Controller,
    tokens: Tokens,
    allowed_hosts: Sequence[str],
    registry: CollectorRegistry = REGISTRY,
    config: Config | None = None,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """The API of one deployment. Errors are JSON: ``{"reason": a_name, "message": what to do}``.

    ``config`` is the policy that looks explain decisions with (None: every option's default); ``clock`` gives
    wall-clock seconds.
    """
    app = FastAPI(title="homeostat", docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json")
    app.state.deployment, app.state.store, app.state.controller = deployment, store, controller
    app.state.tokens, app.state.registry = tokens, registry
    app.state.config, app.state.clock = config or Config(), clock
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts))
    for part in (health, looks, evidence, power, lift, labels, commands, trainer):
        app.include_router(part.router)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(Fault, _fault)
    app.add_exception_handler(Exception, _ours)
    return app


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    body = error.detail if isinstance(error.detail, dict) else {"reason": "http", "message": str(error.detail)}
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


async def _malformed(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # The input itself stays out of the answer: it may hold what somebody pasted.
    problems = [f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()]
    return JSONResponse({"reason": "malformed", "message": "; ".join(problems)}, status_code=422)


async def _fault(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Fault)
    code = 409 if isinstance(error, Refused) else 503 if isinstance(error, Unreachable) else 500
    reason = error.reason if isinstance(error, Refused) else "unreachable" if code == 503 else "failed"
    return JSONResponse({"reason": reason, "message": str(error)}, status_code=code)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    fault = as_fault(error)
    if fault is not None:
        return await _fault(request, fault)
    log.error("api_failed", method=request.method, error=repr(error))
    message = "the daemon failed at this request; its log has the traceback"
    return JSONResponse({"reason": "internal", "message": message}, status_code=500)
