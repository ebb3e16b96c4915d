"""What the gateway knows of one request before it chooses a version. Pure but for the counting of hot keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.gateway.asgi import Headers, Scope
from deploy.gateway.config import ServedDeployment
from deploy.gateway.rewrite import Fields, flag
from deploy.gateway.sessions import Client, HotKeys, client_of, hashed_identity, text_of

CHAT_PATH = "/v1/chat/completions"
GENERATE_PATHS = frozenset((CHAT_PATH, "/v1/completions"))


@dataclass(frozen=True, slots=True)
class Plan:
    """One request to an alias."""

    deployment: ServedDeployment
    fields: Fields
    chat: bool
    wants_stream: bool
    client: Client
    identity: str
    """Salted."""
    client_request_id: str | None


class Names:
    """Which model names are ours: aliases, base names, versions."""

    def __init__(self, deployments: tuple[ServedDeployment, ...]) -> None:
        self.by_alias: Mapping[str, ServedDeployment] = {d.alias: d for d in deployments}
        self._only = deployments[0] if len(deployments) == 1 else None
        names = "|".join(re.escape(d.name) for d in deployments)
        self._version = re.compile(rf"(?:{names})-[0-9a-f]{{12}}")

    def deployment_of(self, model: str | None) -> ServedDeployment | None:
        """The deployment that a request speaks to; without ``model`` servers take their first name, the alias."""
        return self._only if model is None else self.by_alias.get(model)

    def is_version(self, model: str) -> bool:
        """Whether a name is that of a version, which only we ourselves may ask for."""
        return self._version.fullmatch(model) is not None


def plan(scope: Scope, fields: Fields, deployment: ServedDeployment, hot: HotKeys, salt: bytes, chat: bool) -> Plan:
    """Session, identity and wishes of one request."""
    session = user = request_id = None
    api_key = b""
    headers: Headers = scope["headers"]
    for key, value in headers:
        if key == b"x-session-id":
            session = value
        elif key == b"x-user-id":
            user = value
        elif key == b"authorization":
            api_key = value
        elif key == b"x-request-id":
            request_id = value
    client = client_of(
        hot,
        principal=_principal(scope),
        session_header=session,
        user_header=user,
        api_key=api_key,
        body=fields,
    )
    return Plan(
        deployment,
        fields,
        chat,
        flag(fields, "stream"),
        client,
        hashed_identity(salt, deployment.tenant, client.identity),
        request_id.decode("latin-1")[:128] if request_id else None,
    )


def model_of(fields: Fields) -> str | None:
    """The requested model; None when absent or empty, and a name that is nobody's when it is no string."""
    raw = fields.get("model")
    if raw is None or bytes(raw) in (b"null", b'""'):
        return None
    return text_of(fields, "model") or "\0"


def _principal(scope: Scope) -> str | None:
    """The user that an authentication middleware around us found (Starlette's convention), or None."""
    user: Any = scope.get("user")
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    name = getattr(user, "identity", None) or getattr(user, "display_name", None)
    return str(name) if name else None
