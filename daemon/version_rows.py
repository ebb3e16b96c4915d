"""A registered version as a row of the store."""

from __future__ import annotations

from adapters.manifest import Manifest
from adapters.registry import Registry
from daemon.store import Read, versions


def adapter_of(read: Read, version: str) -> str:
    """The adapter that answers under a version: what demonstrations stand on, else the version itself."""
    row = versions.get(read, version)
    return row.parent if row is not None and row.kind == "demonstrations" and row.parent is not None else version


def row_of(manifest: Manifest, registry: Registry, now: float) -> versions.Version:
    """The row of a version that the registry just admitted."""
    return versions.Version(
        version=manifest.version,
        deployment=manifest.deployment,
        tenant=manifest.tenant,
        kind=manifest.kind,
        digest=manifest.digest,
        base_digest=manifest.base_digest,
        parent=manifest.parent,
        status="registered",
        gate=None,
        manifest=str(registry.path(manifest.version) / "manifest.json"),
        buffer=manifest.buffer_digest,
        created_at=now,
    )
