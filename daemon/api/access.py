"""Who may do what: a bearer token and its scopes, checked by a dependency of each route, never by its path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from daemon.secrets import Principal, Scope, Tokens

_bearer = HTTPBearer(auto_error=False, description="A token of tokens.json")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def require(scope: Scope) -> Callable[..., Principal]:
    """A dependency that gives the principal, or answers 401 (no token of ours) or 403 (not this scope)."""

    def check(request: Request, credentials: Credentials) -> Principal:
        tokens: Tokens = request.app.state.tokens
        principal = tokens.principal(credentials.credentials) if credentials is not None else None
        if principal is None:
            raise HTTPException(
                401,
                {
                    "reason": "wrong_token" if credentials is not None else "no_token",
                    "message": "expected a bearer token listed in secrets/tokens.json of the daemon's home folder",
                },
                headers={"WWW-Authenticate": "Bearer"},
            )
        if scope not in principal.scopes:
            message = f"{principal.name} has the scopes {', '.join(sorted(principal.scopes))}; this needs {scope}"
            raise HTTPException(403, {"reason": "missing_scope", "message": message})
        return principal

    return check


Reader = Annotated[Principal, Depends(require("read"))]
Operator = Annotated[Principal, Depends(require("operate"))]
Admin = Annotated[Principal, Depends(require("admin"))]
Trainer = Annotated[Principal, Depends(require("train"))]


def state(request: Request) -> Any:
    """The application's state: ``store``, ``controller``, ``deployment``, ``registry``."""
    return request.app.state
