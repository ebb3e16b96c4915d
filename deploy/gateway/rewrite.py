"""What is changed in bytes on their way: the model's name in a request, and its traces in the reply.

Only the top level of a request is parsed; every value stays the client's own bytes. In replies the version's name
becomes the alias again, because a client who can read his version knows his arm. ``"model":"<name>"`` with plain quotes
cannot occur inside a JSON string, so replacing these bytes is exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import msgspec

Fields = dict[str, msgspec.Raw]
_top = msgspec.json.Decoder(Fields)
_any = msgspec.json.Decoder()
_bool = msgspec.json.Decoder(bool | None)
_encoder = msgspec.json.Encoder()
_PROMPT_IDS = re.compile(rb'"prompt_token_ids":\s*\[[^\]]*\]')
_TRUE = msgspec.Raw(b"true")
_ZERO = msgspec.Raw(b"0")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the gateway asks the server for beyond the client's wishes; taken out of whole replies again."""

    token_ids: bool = False
    logprobs: bool = False

    def __bool__(self) -> bool:
        return self.token_ids or self.logprobs


def parse(body: bytes) -> Fields:
    """The top level of a request. Raises msgspec.MsgspecError where it is not a JSON object."""
    return _top.decode(body)


def flag(fields: Mapping[str, msgspec.Raw], name: str) -> bool:
    """A boolean field; anything else counts as false."""
    raw = fields.get(name)
    if raw is None:
        return False
    try:
        return bool(_bool.decode(raw))
    except msgspec.MsgspecError:
        return False


def asked_of(fields: Mapping[str, msgspec.Raw], token_ids: bool, logprobs: bool) -> Asked:
    """What to ask for, given what the client already asked for himself."""
    return Asked(
        token_ids=token_ids and "return_token_ids" not in fields,
        logprobs=logprobs and "logprobs" not in fields and not flag(fields, "stream"),
    )


def request_for(fields: Fields, model: str, tenant: str, asked: Asked, chat: bool) -> bytes:
    """The request with another model, and with the tenant as salt of the server's prefix cache."""
    changed = dict(fields)
    changed["model"] = msgspec.Raw(_encoder.encode(model))
    changed.setdefault("cache_salt", msgspec.Raw(_encoder.encode(tenant)))
    if asked.token_ids:
        changed["return_token_ids"] = _TRUE
    if asked.logprobs:
        changed["logprobs"] = _TRUE if chat else _ZERO
        if chat:
            changed["top_logprobs"] = _ZERO
    return _encoder.encode(changed)


class NameHider:
    """Puts the alias where a reply names the version. Made once for a pair, see ``hider``."""

    __slots__ = ("_bare", "_pairs")

    def __init__(self, version: str, alias: str) -> None:
        old, new = _encoder.encode(version), _encoder.encode(alias)
        self._pairs = ((b'"model":' + old, b'"model":' + new), (b'"model": ' + old, b'"model": ' + new))
        self._bare = (version.encode(), alias.encode())

    def chunk(self, data: bytes) -> bytes:
        """One piece of a stream."""
        (old, new), spaced = self._pairs
        shown = data.replace(old, new)  # the same object where there was nothing to replace
        return data.replace(*spaced) if shown is data else shown

    def failure(self, data: bytes) -> bytes:
        """An error body: messages name the model in prose."""
        return data.replace(*self._bare)


@lru_cache(maxsize=64)
def hider(version: str, alias: str) -> NameHider:
    """The hider of a pair; only versions that were routed come here, so few are enough."""
    return NameHider(version, alias)


def without_prompt_ids(data: bytes) -> bytes:
    """A piece of a stream without the ids of what the server read; servers send an event in one piece."""
    return _PROMPT_IDS.sub(b'"prompt_token_ids":null', data) if b'"prompt_token_ids"' in data else data


def whole_reply(data: bytes, alias: str, asked: Asked) -> bytes:
    """A whole reply without what only the gateway asked for, under the alias. Raises msgspec.MsgspecError."""
    reply = _any.decode(data)
    if not isinstance(reply, dict):
        return data
    fields = cast(dict[str, Any], reply)
    fields["model"] = alias
    if asked.token_ids:
        fields.pop("prompt_token_ids", None)
    for choice in fields.get("choices", ()):
        if asked.token_ids:
            choice.pop("token_ids", None)
            choice.pop("prompt_token_ids", None)
        if asked.logprobs and "logprobs" in choice:
            choice["logprobs"] = None
    return _encoder.encode(fields)
