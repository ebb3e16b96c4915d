"""Manifests without files, for tests that never load anything."""

from __future__ import annotations

from adapters.manifest import Manifest, make_manifest


def identity_manifest() -> Manifest:
    """That of an identity version."""
    return make_manifest(
        kind="identity",
        deployment="support",
        tenant="default",
        base_digest="0" * 64,
        rank=8,
        alpha=16.0,
        targets=["q_proj"],
        files=[],
        created_at=0.0,
    )
