"""Keys and tokens of a home folder: made at first run, readable by their owner alone.

feedback.key    HMAC key of feedback tokens, shared with the gateways
salt            salt of identity hashes, shared with the gateways
control.token   what agent, gateway and servers show each other
operator.token  what the command line shows the API (all scopes)
trainer.token   what the trainer shows the API (training jobs only)
tokens.json     SHA-256 and scopes of every API token; add a line to give somebody access
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from daemon.faults import ConfigError, MachineFault

Scope = Literal["read", "operate", "admin", "train"]
MADE: Final = ("feedback.key", "salt", "control.token", "operator.token", "trainer.token")
SCOPES: Final[dict[str, tuple[Scope, ...]]] = {
    "operator": ("read", "operate", "admin", "train"),
    "trainer": ("train",),
}


class TokenEntry(BaseModel):
    """One line of tokens.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")]
    """Who acts: what the ledger calls the actor."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the raw token; tokens are 256 random bits, so a slow hash would add nothing."""
    scopes: tuple[Scope, ...]


class TokenFile(BaseModel):
    """tokens.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[TokenEntry, ...]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from."""

    name: str
    scopes: frozenset[Scope]


class Tokens:
    """Answers whose a raw token is. Immutable; read anew at each start."""

    def __init__(self, entries: tuple[TokenEntry, ...]) -> None:
        self._entries = entries

    def principal(self, raw: str) -> Principal | None:
        """Whose token this is; takes the same time for every wrong one."""
        digest = hash_token(raw)
        found: Principal | None = None
        for entry in self._entries:
            if hmac.compare_digest(entry.sha256, digest):
                found = Principal(entry.name, frozenset(entry.scopes))
        return found


def hash_token(raw: str) -> str:
    """SHA-256 of a token, hex."""
    return hashlib.sha256(raw.encode()).hexdigest()


def prepare(folder: Path) -> Tokens:
    """Make what is missing and read the tokens. Raises MachineFault (rights) and ConfigError (a broken tokens.json)."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in MADE:
            write_new(folder / name, secrets.token_hex(32) + "\n")
        known = {owner: hash_token(read(folder, f"{owner}.token")) for owner in SCOPES}
        tokens = TokenFile(tokens=tuple(TokenEntry(name=o, sha256=known[o], scopes=SCOPES[o]) for o in SCOPES))
        write_new(folder / "tokens.json", tokens.model_dump_json(indent=2) + "\n")
        loaded = TokenFile.model_validate_json((folder / "tokens.json").read_bytes())
    except OSError as error:
        raise MachineFault(
            f"{error.filename or folder}: {error.strerror}: give this user access to {folder}"
        ) from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(f"{folder / 'tokens.json'}: {where}: {problem['msg']}: mend it, or delete it") from error
    return Tokens(loaded.tokens)


def read(folder: Path, name: str) -> str:
    """A secret as text. Raises OSError."""
    return (folder / name).read_text(encoding="utf-8").strip()


def write_new(path: Path, text: str) -> bool:
    """Write a file of mode 0600 unless it is there; whether it was. Of two processes one wins. Raises OSError."""
    if path.exists():
        return False
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # unlike rename, a link never replaces what another process wrote
            return True
        return False
    finally:
        draft.unlink()
