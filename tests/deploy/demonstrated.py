"""A demonstrations version in an artifacts folder, without any adapter beside it: what a gateway reads of it."""

from __future__ import annotations

from pathlib import Path

from adapters.demonstrations import Demonstrations, Pair, make_demonstrations

PAIRS = (
    Pair(exchange_id="x1", question="where is my parcel", answer="on its way"),
    Pair(exchange_id="x2", question="wo ist „es“ 📦", answer='"unterwegs"'),
)


def put(artifacts: Path, stands_on: str, pairs: tuple[Pair, ...] = PAIRS) -> tuple[str, Demonstrations]:
    """Write it; (its name, what it shows)."""
    made, folder = Demonstrations(stands_on=stands_on, pairs=pairs), artifacts / "new"
    folder.mkdir(parents=True)
    manifest = make_demonstrations(
        folder,
        made,
        deployment="support",
        tenant="default",
        base_digest="0" * 64,
        buffer_digest="b" * 64,
        created_at=1.0,
    )
    folder.rename(artifacts / manifest.version)
    return manifest.version, made
