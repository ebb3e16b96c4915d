"""The manifest of a version: what it is, what it was made from, and the digests that prove it.

Two digests, for two questions. `digest` is over the content (the files and what decides their meaning), so the same
content has the same name wherever and whenever it was made. `seal` is over the whole manifest, so that a damaged
manifest is noticed as surely as a damaged tensor. A signature over the seal attaches where `seal` is verified.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.job import Name

MANIFEST_NAME = "manifest.json"
MANIFEST_SCHEMA = 1
MAX_MANIFEST_BYTES = 8 * 1024 * 1024

Hex256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Kind = Literal["lora", "identity", "demonstrations"]
ConfigValue = str | int | float | bool | None | list[str]


class ManifestInvalid(ValueError):
    """The manifest cannot be trusted; the message says what was expected and what came."""


class Sealed(BaseModel):
    """Immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(Sealed):
    """One file of the version."""

    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    size: Annotated[int, Field(ge=0)]
    """Bytes."""
    sha256: Hex256


class FingerprintItem(Sealed):
    """A prompt by token ids, what the adapter and the base say to it (greedy), and how sure they are (nats)."""

    prompt_ids: list[int]
    expected_ids: list[int]
    expected_logprobs: list[Finite]
    """Log-probability of each expected token under the adapter, same length as `expected_ids`."""
    base_ids: list[int]
    base_logprobs: list[Finite]
    """Log-probability of each base token under the base, same length as `base_ids`."""


class Manifest(Sealed):
    """All that is known of one version. Written last, so that a folder with a manifest is a whole one."""

    schema_version: int = MANIFEST_SCHEMA
    version: Name
    kind: Kind
    deployment: Name
    tenant: str
    digest: Hex256
    base_digest: Hex256
    parent: Name | None = None
    """The champion from which it was warm-started; of demonstrations, the version that they stand on."""
    files: list[FileEntry]
    """Every file but the manifest, sorted by path."""
    rank: int
    alpha: float
    targets: list[str]
    buffer_digest: str | None = None
    config: dict[str, ConfigValue] = Field(default_factory=dict[str, ConfigValue])
    seed: int = 0
    metrics: dict[str, Finite] = Field(default_factory=dict[str, Finite])
    fingerprint: list[FingerprintItem] = Field(default_factory=list[FingerprintItem])
    created_at: Finite
    """Wall-clock seconds; 0 for an identity, which is the same whenever it is made."""
    seal: Hex256

    def to_bytes(self) -> bytes:
        """The one way to write this manifest; any other bytes are refused."""
        return _canonical(self.model_dump(mode="json")) + b"\n"


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(folder: Path) -> list[FileEntry]:
    """Entries for every file of a folder but the manifest, sorted by path. Raises OSError."""
    names = sorted(p.name for p in folder.iterdir() if p.name != MANIFEST_NAME)
    return [FileEntry(path=n, size=(folder / n).stat().st_size, sha256=sha256_file(folder / n)) for n in names]


def content_digest(
    *,
    kind: str,
    deployment: str,
    tenant: str,
    base_digest: str,
    rank: int,
    alpha: float,
    targets: list[str],
    files: list[FileEntry],
    config: Mapping[str, ConfigValue],
) -> str:
    """SHA-256 over the sorted (path, size, sha256) of the files and over what decides how they are used."""
    entries = sorted((f.path, f.size, f.sha256) for f in files)
    return hashlib.sha256(
        _canonical([kind, deployment, tenant, base_digest, rank, alpha, sorted(targets), entries, dict(config)])
    ).hexdigest()


def version_name(deployment: str, digest: str) -> str:
    """`<deployment>-<12 hex of the digest>`."""
    return f"{deployment}-{digest[:12]}"


def _seal(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical({k: v for k, v in fields.items() if k != "seal"})).hexdigest()


def make_manifest(
    *,
    kind: Kind,
    deployment: str,
    tenant: str,
    base_digest: str,
    rank: int,
    alpha: float,
    targets: list[str],
    files: list[FileEntry],
    created_at: float,
    parent: str | None = None,
    buffer_digest: str | None = None,
    config: Mapping[str, ConfigValue] | None = None,
    seed: int = 0,
    metrics: Mapping[str, float] | None = None,
    fingerprint: list[FingerprintItem] | None = None,
) -> Manifest:
    """A manifest with its name, digest and seal worked out. Raises pydantic.ValidationError for NaN or odd names."""
    digest = content_digest(
        kind=kind,
        deployment=deployment,
        tenant=tenant,
        base_digest=base_digest,
        rank=rank,
        alpha=float(alpha),
        targets=targets,
        files=files,
        config=config or {},
    )
    draft = Manifest(
        version=version_name(deployment, digest),
        kind=kind,
        deployment=deployment,
        tenant=tenant,
        digest=digest,
        base_digest=base_digest,
        parent=parent,
        files=sorted(files, key=lambda f: f.path),
        rank=rank,
        alpha=float(alpha),
        targets=sorted(targets),
        buffer_digest=buffer_digest,
        config=dict(config or {}),
        seed=seed,
        metrics=dict(metrics or {}),
        fingerprint=fingerprint or [],
        created_at=created_at,
        seal="0" * 64,
    )
    return draft.model_copy(update={"seal": _seal(draft.model_dump(mode="json"))})


def parse_manifest(raw: bytes) -> Manifest:
    """The manifest in these bytes, verified against its own seal and digest.

    Raises ManifestInvalid when the bytes are not exactly what a manifest would be written as.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ManifestInvalid(f"expected a manifest of at most {MAX_MANIFEST_BYTES} bytes, got {len(raw)}")
    try:
        manifest = Manifest.model_validate_json(raw, strict=True)
    except (ValidationError, ValueError) as error:
        first = str(error).splitlines()
        raise ManifestInvalid(f"not a manifest: {' '.join(first[:3])}") from error
    if manifest.to_bytes() != raw:
        raise ManifestInvalid("the manifest is not written the way manifests are; it was edited or damaged")
    if manifest.seal != _seal(manifest.model_dump(mode="json")):
        raise ManifestInvalid("the manifest's seal does not match its content; it was edited or damaged")
    expected = content_digest(
        kind=manifest.kind,
        deployment=manifest.deployment,
        tenant=manifest.tenant,
        base_digest=manifest.base_digest,
        rank=manifest.rank,
        alpha=manifest.alpha,
        targets=manifest.targets,
        files=manifest.files,
        config=manifest.config,
    )
    if manifest.digest != expected or manifest.version != version_name(manifest.deployment, expected):
        raise ManifestInvalid(f"expected digest {expected[:12]} from the content, got {manifest.digest[:12]}")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The verified manifest of a folder. Raises ManifestInvalid, also when there is none."""
    try:
        with os.fdopen(os.open(folder / MANIFEST_NAME, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            raw = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ManifestInvalid(f"expected a readable {folder / MANIFEST_NAME}: {error.strerror}") from error
    return parse_manifest(raw)
