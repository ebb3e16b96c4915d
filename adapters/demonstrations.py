"""Demonstrations: question-answer pairs that stand before a conversation, and the version that they stand on.

    <version>/{demonstrations.json, manifest.json}

In-context learning (Brown et al. 2020, arXiv 2005.14165): nothing is trained, the pairs are read with every request.
The version is content-addressed as an adapter is: pairs, their exchanges and what they stand on decide its name. Needs
nothing but pydantic, because the gateway reads it too.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.durable import write_file
from adapters.job import Name
from adapters.manifest import MANIFEST_NAME, FileEntry, Manifest, ManifestInvalid, list_files, make_manifest
from adapters.manifest import read_manifest as read_sealed
from streams.events import SYSTEM_ROLES

DEMONSTRATIONS_NAME: Final = "demonstrations.json"
MOST_PAIRS: Final = 8
"""Pairs of one version at most, whatever the config says: each request pays for all of them."""
MOST_CHARACTERS: Final = 32_768
"""Characters of all pairs at most, whatever the config says: some 8,000 tokens."""
LONGEST_ID: Final = 256
"""Characters of an exchange's id."""
MOST_BYTES: Final = 8 * MOST_CHARACTERS
"""Bytes of the file that are read: characters take up to six in JSON."""


class DemonstrationsInvalid(ValueError):
    """The folder is not a whole and unchanged demonstrations version; the message says what was expected."""


class Frozen(BaseModel):
    """Immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DemonstrationsConfig(Frozen):
    """Examples in the prompt (in-context learning), tried for a drift of inputs before anything is trained."""

    enabled: bool = False
    """Whether a drift of inputs is first answered with demonstrations. False: while such a version serves, every chat
    request pays the prompt tokens of all its pairs (most of them from the server's prefix cache), on every replica."""
    max_pairs: Annotated[int, Field(ge=1, le=MOST_PAIRS)] = 8
    """Question-answer pairs of a version at most. 8: what further pairs add is small, and each is paid per request."""
    max_characters: Annotated[int, Field(ge=100, le=MOST_CHARACTERS)] = 4000
    """Characters of all pairs at most: some 1,000 tokens a request. A pair may take twice its even share."""
    min_examples: Annotated[int, Field(ge=1)] = 50
    """Examples in the slice that must survive selection before pairs are chosen. 50: fewer do not show what is usual.
    The gate needs its own questions beside them."""


class Pair(Frozen):
    """One question and its right answer, from a recorded exchange."""

    exchange_id: Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]
    question: Annotated[str, Field(min_length=1)]
    answer: Annotated[str, Field(min_length=1)]

    @property
    def characters(self) -> int:
        """Of question and answer."""
        return len(self.question) + len(self.answer)


class Demonstrations(Frozen):
    """What a demonstrations version is: the pairs, in the order in which they are read, and who answers."""

    stands_on: Name
    """The version that the engine is asked for: an adapter, or the identity version of the base."""
    pairs: Annotated[tuple[Pair, ...], Field(min_length=1, max_length=MOST_PAIRS)]

    @property
    def characters(self) -> int:
        """Of all pairs."""
        return sum(pair.characters for pair in self.pairs)

    def turns(self) -> list[dict[str, str]]:
        """The pairs as chat messages."""
        return [
            {"role": role, "content": content}
            for pair in self.pairs
            for role, content in (("user", pair.question), ("assistant", pair.answer))
        ]

    def before(self, messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        """The conversation that an engine reads: system messages, pairs, then everything else."""
        at = next((i for i, m in enumerate(messages) if m["role"] not in SYSTEM_ROLES), len(messages))
        return [*messages[:at], *self.turns(), *messages[at:]]

    def to_bytes(self) -> bytes:
        """The one way to write them; any other bytes are refused."""
        fields = self.model_dump(mode="json")
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def make_demonstrations(
    folder: Path,
    made: Demonstrations,
    *,
    deployment: str,
    tenant: str,
    base_digest: str,
    buffer_digest: str,
    created_at: float,
) -> Manifest:
    """Write the version into an empty folder and return its manifest. Raises OSError."""
    write_file(folder / DEMONSTRATIONS_NAME, made.to_bytes())
    manifest = make_manifest(
        kind="demonstrations",
        deployment=deployment,
        tenant=tenant,
        base_digest=base_digest,
        rank=0,
        alpha=0.0,
        targets=[],
        files=list_files(folder),
        parent=made.stands_on,
        buffer_digest=buffer_digest,
        metrics={"pairs": float(len(made.pairs)), "characters": float(made.characters)},
        created_at=created_at,
    )
    write_file(folder / MANIFEST_NAME, manifest.to_bytes())
    return manifest


def holds_demonstrations(folder: Path) -> bool:
    """Whether a version's folder is of this kind, by the file that no other kind has."""
    return (folder / DEMONSTRATIONS_NAME).is_file()


def read_demonstrations(folder: Path) -> tuple[Manifest, Demonstrations]:
    """A version of this kind, verified: the manifest against its seal, the pairs against its digest and the bounds.

    Raises DemonstrationsInvalid, and OSError where the folder cannot be read.
    """
    expected = {DEMONSTRATIONS_NAME, MANIFEST_NAME}
    found = {p.name for p in folder.iterdir() if stat.S_ISREG(p.lstat().st_mode)}
    if found != expected or any(p.name not in expected for p in folder.iterdir()):
        raise DemonstrationsInvalid(f"{folder}: expected the files {sorted(expected)} and no others")
    try:
        manifest = read_sealed(folder)
    except ManifestInvalid as error:
        raise DemonstrationsInvalid(str(error)) from error
    with os.fdopen(os.open(folder / DEMONSTRATIONS_NAME, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        raw = file.read(MOST_BYTES + 1)
    entry = FileEntry(path=DEMONSTRATIONS_NAME, size=len(raw), sha256=hashlib.sha256(raw).hexdigest())
    if manifest.kind != "demonstrations" or manifest.files != [entry]:
        raise DemonstrationsInvalid(f"{folder}: its pairs are not those of the manifest of {manifest.version}")
    return manifest, _parse(raw, manifest)


def _parse(raw: bytes, manifest: Manifest) -> Demonstrations:
    try:
        made = Demonstrations.model_validate_json(raw, strict=True)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        where = ".".join(str(part) for part in problems[0]["loc"])
        raise DemonstrationsInvalid(f"{manifest.version}: {where}: {problems[0]['msg']}") from error
    if made.to_bytes() != raw or made.stands_on != manifest.parent:
        raise DemonstrationsInvalid(f"{manifest.version}: its pairs are not written the way demonstrations are")
    if made.characters > MOST_CHARACTERS:
        raise DemonstrationsInvalid(f"{manifest.version}: at most {MOST_CHARACTERS} characters expected")
    return made
