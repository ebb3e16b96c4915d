"""The identity version: an adapter that changes nothing (lora_B = 0), so that base and candidate pay the same price.

Base requests batched with adapter requests can be answered by the wrong slot, and they are faster: in a rollout the
control arm is always an adapter, and this is the one that a deployment has before its first champion.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.adapter_config import AdapterConfig, encode_config
from adapters.base_shape import BaseShape
from adapters.durable import write_file
from adapters.file_checks import CONFIG_NAME, WEIGHTS_NAME
from adapters.manifest import MANIFEST_NAME, Manifest, list_files, make_manifest
from adapters.tensor_file import encode


def _pattern(shape: tuple[int, int]) -> NDArray[np.float32]:
    """A fixed matrix of small numbers, full of differences and free of any library's random generator."""
    rows, columns = np.indices(shape, dtype=np.int64)
    return (((rows * 31 + columns * 17) % 61 - 30) / (30.0 * np.sqrt(shape[1]))).astype(np.float32)


def make_identity(
    folder: Path, base: BaseShape, *, deployment: str, tenant: str, rank: int, alpha: float, targets: Sequence[str]
) -> Manifest:
    """Write the identity adapter for this base into an empty folder and return its manifest.

    The same arguments give the same bytes, hence the same version, on every machine and at every time. Raises OSError.
    """
    tensors = {
        name: np.zeros(shape, dtype=np.float32) if ".lora_B." in name else _pattern(shape)
        for name, shape in base.expected_tensors(rank, targets).items()
    }
    write_file(folder / WEIGHTS_NAME, encode(tensors, base.dtype))
    write_file(folder / CONFIG_NAME, encode_config(AdapterConfig(rank, float(alpha), tuple(targets))))
    manifest = make_manifest(
        kind="identity",
        deployment=deployment,
        tenant=tenant,
        base_digest=base.digest,
        rank=rank,
        alpha=alpha,
        targets=list(targets),
        files=list_files(folder),
        created_at=0.0,
    )
    write_file(folder / MANIFEST_NAME, manifest.to_bytes())
    return manifest
