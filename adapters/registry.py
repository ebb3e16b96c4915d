"""The registry: versions by content, in one folder. It takes in and never gives away: a served adapter is re-read from
disk by the engine, and a read that fails kills the engine.

    root/<version>/{adapter_config.json, adapter_model.safetensors, manifest.json}
    root/<version>/{demonstrations.json, manifest.json}
    root/staging/<job>/   where a trainer writes; `admit` moves a whole and checked folder out of it
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from adapters.base_shape import BaseShape
from adapters.demonstrations import DEMONSTRATIONS_NAME, Demonstrations, make_demonstrations
from adapters.durable import sync_folder
from adapters.file_checks import (
    DEFAULT_LIMITS,
    AdapterRejected,
    CheckLimits,
    RejectReason,
    check_adapter,
    check_version,
)
from adapters.identity import make_identity
from adapters.manifest import MANIFEST_NAME, Manifest, ManifestInvalid, read_manifest

_NAME = re.compile(r"[a-z0-9-]{1,63}")
_RESERVED = frozenset({"staging", "buffers", "outbox"})


class UnknownVersion(KeyError):
    """No version of that name is registered here."""

    def __str__(self) -> str:
        """The message itself; KeyError would put quotes around it."""
        return str(self.args[0])


def safe_name(name: str) -> str:
    """The name, if it can be nothing but one folder of ours. Raises ValueError."""
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise ValueError(f"expected a name of a-z, 0-9 and '-', at most 63 characters, got {name!r:.80}")
    return name


class Registry:
    """Content-addressed versions on disk. One process admits (the daemon); any number reads."""

    def __init__(self, root: Path) -> None:
        """Make the folders that are missing. Raises OSError."""
        self.root = root
        self._staging = root / "staging"
        self._staging.mkdir(parents=True, exist_ok=True)

    def stage(self, job_id: str) -> Path:
        """An empty staging folder for a job; what an earlier attempt left there is thrown away. Raises OSError."""
        folder = self._staging / safe_name(job_id)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def staging(self, job_id: str) -> Path:
        """Where the output of a job lies, whether or not it is there."""
        return self._staging / safe_name(job_id)

    def admit(self, staging: Path, base: BaseShape, limits: CheckLimits = DEFAULT_LIMITS) -> Manifest:
        """Check a staged adapter, move it in under its version's name; admitting the same content again is no change.

        Raises AdapterRejected when the files are unfit (the folder stays for inspection) and OSError.
        """
        return self._take(staging, lambda folder: check_adapter(folder, base, limits))

    def _take(self, staging: Path, check: Callable[[Path], Manifest]) -> Manifest:
        manifest = check(staging)
        target = self.root / safe_name(manifest.version)
        if target.exists():
            return check(target)
        for file in staging.iterdir():
            file.chmod(0o440 if file.name == DEMONSTRATIONS_NAME else 0o444)  # it holds what people wrote
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        sync_folder(staging)
        os.rename(staging, target)
        sync_folder(self.root)
        sync_folder(self._staging)
        return manifest

    def settle(
        self, job_id: str, version: str | None, base: BaseShape, limits: CheckLimits = DEFAULT_LIMITS
    ) -> Manifest:
        """Admit what a job staged; a report that comes twice finds the version that the first one brought in.

        Raises AdapterRejected and OSError.
        """
        staging = self.staging(job_id)
        if version is not None and not staging.exists() and version in self.versions():
            return check_adapter(self.path(version), base, limits)
        return self.admit(staging, base, limits)

    def admit_identity(
        self, base: BaseShape, *, deployment: str, tenant: str, rank: int, alpha: float, targets: Sequence[str]
    ) -> Manifest:
        """The identity version of a base, made and admitted if it is not here. Raises AdapterRejected and OSError."""
        folder = Path(tempfile.mkdtemp(prefix="identity-", dir=self._staging))
        folder.chmod(0o755)
        try:
            make_identity(
                folder, base, deployment=deployment, tenant=tenant, rank=rank, alpha=alpha, targets=list(targets)
            )
            return self.admit(folder, base)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def admit_demonstrations(
        self,
        made: Demonstrations,
        base: BaseShape,
        *,
        deployment: str,
        tenant: str,
        buffer_digest: str,
        created_at: float,
    ) -> Manifest:
        """The version that these pairs are, made and admitted if it is not here. What they stand on must be here, and
        of the same deployment and tenant. Raises AdapterRejected, UnknownVersion and OSError.
        """
        below = self.manifest(made.stands_on)
        if below.kind == "demonstrations" or (below.deployment, below.tenant) != (deployment, tenant):
            message = f"they stand on {below.version}, which is no adapter of {deployment} and its tenant"
            raise AdapterRejected(RejectReason.DEMONSTRATIONS, message)
        folder = Path(tempfile.mkdtemp(prefix="demonstrations-", dir=self._staging))
        folder.chmod(0o755)
        try:
            make_demonstrations(
                folder,
                made,
                deployment=deployment,
                tenant=tenant,
                base_digest=base.digest,
                buffer_digest=buffer_digest,
                created_at=created_at,
            )
            return self._take(folder, lambda found: check_version(found, base))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def path(self, version: str) -> Path:
        """The folder of a registered version. Raises UnknownVersion, and ValueError for what is no name."""
        folder = self.root / safe_name(version)
        if folder.is_symlink() or not (folder / MANIFEST_NAME).is_file():
            raise UnknownVersion(f"no version {version} in {self.root}")
        return folder

    def manifest(self, version: str) -> Manifest:
        """The verified manifest of a version. Raises UnknownVersion and ManifestInvalid."""
        manifest = read_manifest(self.path(version))
        if manifest.version != version:
            raise ManifestInvalid(f"expected the manifest of {version}, got that of {manifest.version}")
        return manifest

    def versions(self) -> list[str]:
        """Names of all registered versions, sorted."""
        return sorted(
            p.name
            for p in self.root.iterdir()
            if p.name not in _RESERVED and _NAME.fullmatch(p.name) and (p / MANIFEST_NAME).is_file()
        )
