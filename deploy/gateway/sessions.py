"""Who asks: the session key that sticks to an arm, and the identity that caps count.

The first that is present is the key: ``x-session-id``, ``prompt_cache_key``, ``user``, ``metadata.session_id``, else a
hash of API key, system prompt and first user message, which stays the same through a conversation. A key that carries
more than its share of all traffic is many people behind one name; it falls back to the hash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from streams.events import SYSTEM_ROLES

_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""Keys of another form (mail addresses, control characters, novels) are hashed: a key is stored with every event."""


class MessageView(msgspec.Struct):
    """A chat message, its content left unparsed."""

    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class MetadataView(msgspec.Struct):
    """The one field of ``metadata`` that names a session."""

    session_id: str | None = None


_messages = msgspec.json.Decoder(list[MessageView])
_metadata = msgspec.json.Decoder(MetadataView)
_text = msgspec.json.Decoder(str | None)


@dataclass(frozen=True, slots=True)
class Client:
    """What a request says about its sender, before any salt."""

    session: str
    session_derived: bool
    identity: str
    """Raw name that caps count; only its salted hash leaves the gateway."""


def text_of(body: Mapping[str, msgspec.Raw], field: str) -> str | None:
    """A string field of a request body; None when absent, empty or of another type."""
    raw = body.get(field)
    if raw is None:
        return None
    try:
        return _text.decode(raw) or None
    except msgspec.MsgspecError:
        return None


def named_session(header: bytes | None, body: Mapping[str, msgspec.Raw]) -> str | None:
    """The session key that the client named, or None."""
    if header:
        return plain_key(header.decode("latin-1"))
    named = text_of(body, "prompt_cache_key") or text_of(body, "user")
    if named is None and "metadata" in body:
        try:
            named = _metadata.decode(body["metadata"]).session_id
        except msgspec.MsgspecError:
            named = None
    return plain_key(named) if named else None


def plain_key(name: str) -> str:
    """``name`` where it is a short identifier, else a hash of it."""
    if _PLAIN.fullmatch(name):
        return name
    return "h-" + blake2b(name.encode("utf-8", "replace"), digest_size=12).hexdigest()


def derived_session(api_key: bytes, body: Mapping[str, msgspec.Raw]) -> str:
    """Hash of API key, system prompt and first user message (for completions: of the prompt)."""
    digest = blake2b(digest_size=12)
    system, user = _opening(body)
    for part in (api_key, system, user):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return "d-" + digest.hexdigest()


def _opening(body: Mapping[str, msgspec.Raw]) -> tuple[bytes, bytes]:
    raw = body.get("messages")
    if raw is None:
        return b"", bytes(body.get("prompt", b""))
    try:
        messages = _messages.decode(raw)
    except msgspec.MsgspecError:
        return b"", bytes(raw)
    system = next((bytes(m.content) for m in messages if m.role in SYSTEM_ROLES), b"")
    user = next((bytes(m.content) for m in messages if m.role == "user"), b"")
    return system, user


def hashed_identity(salt: bytes, tenant: str, name: str) -> str:
    """The identity as events carry it: keyed with the deployment's salt, so that it cannot be looked up by name."""
    data = f"{tenant}\0{name}".encode("utf-8", "replace")
    return blake2b(data, key=salt[:64], digest_size=12).hexdigest()


class HotKeys:
    """Which session keys carry more than a share of the traffic.

    Counts over windows of a fixed number of requests. A key is hot from the request that takes it over its share of the
    window until a whole window passes without that. Holds at most ``window`` counters and ``1 / share`` hot keys twice.
    """

    def __init__(self, share: float, window: int) -> None:
        self._limit = share * window
        self._window = window
        self._counts: dict[str, int] = {}
        self._seen = 0
        self._before: frozenset[str] = frozenset()
        self._now: set[str] = set()

    def observe(self, key: str) -> bool:
        """Count one request; True when the key is hot."""
        if self._seen >= self._window:
            self._before, self._now = frozenset(self._now), set()
            self._counts, self._seen = {}, 0
        self._seen += 1
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count > self._limit:
            self._now.add(key)
            return True
        return key in self._before

    @property
    def hot(self) -> frozenset[str]:
        """The keys that are not used now."""
        return self._before | self._now


def identify(principal: str | None, user_header: bytes | None, body: Mapping[str, msgspec.Raw], session: str) -> str:
    """The name that caps count: authenticated principal, ``x-user-id``, body ``user``, else the session."""
    if principal:
        return "p:" + principal
    if user_header:
        return "u:" + user_header.decode("latin-1")
    user = text_of(body, "user")
    return "u:" + user if user else "s:" + session


def client_of(
    hot: HotKeys,
    *,
    principal: str | None,
    session_header: bytes | None,
    user_header: bytes | None,
    api_key: bytes,
    body: Mapping[str, msgspec.Raw],
) -> Client:
    """Session key and identity of one request. A hot key keeps its identity, so that caps still see one person."""
    named = named_session(session_header, body)
    if named is None:
        derived = derived_session(api_key, body)
        return Client(derived, True, identify(principal, user_header, body, derived))
    identity = identify(principal, user_header, body, named)
    if hot.observe(named):
        return Client(derived_session(api_key, body), True, identity)
    return Client(named, False, identity)
