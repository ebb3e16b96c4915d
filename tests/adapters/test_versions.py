"""Manifest, identity and registry: content-addressed, deterministic, atomic, and nothing is ever taken away."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from adapters.base_shape import BaseShape
from adapters.file_checks import CONFIG_NAME, WEIGHTS_NAME, AdapterRejected
from adapters.identity import make_identity
from adapters.manifest import (
    MANIFEST_NAME,
    Manifest,
    ManifestInvalid,
    list_files,
    make_manifest,
    parse_manifest,
    read_manifest,
)
from adapters.registry import Registry, UnknownVersion
from adapters.tensor_file import parse
from adapters.training_config import ALL_TARGETS
from tests.adapters.samples import ALPHA, RANK, random_tensors, write_adapter, write_base


@pytest.fixture
def base(tmp_path: Path) -> BaseShape:
    return write_base(tmp_path / "base")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "artifacts")


def identity(registry: Registry, base: BaseShape) -> str:
    manifest = registry.admit_identity(
        base, deployment="support", tenant="acme", rank=RANK, alpha=ALPHA, targets=ALL_TARGETS
    )
    return manifest.version


def test_the_same_content_has_the_same_name_whenever_it_is_made(tmp_path: Path, base: BaseShape) -> None:
    write_adapter(tmp_path / "a", base)
    files = list_files(tmp_path / "a")

    def made(at: float, tenant: str = "acme") -> Manifest:
        return make_manifest(
            kind="lora",
            deployment="support",
            tenant=tenant,
            base_digest=base.digest,
            rank=RANK,
            alpha=ALPHA,
            targets=list(ALL_TARGETS),
            files=files,
            created_at=at,
        )

    early, late = made(1.0), made(2.0)
    assert early.version == late.version == f"support-{early.digest[:12]}"
    assert early.seal != late.seal
    assert made(1.0, tenant="else").version != early.version


def test_a_manifest_survives_its_own_bytes_and_no_others(tmp_path: Path, base: BaseShape) -> None:
    manifest = write_adapter(tmp_path / "a", base)
    raw = (tmp_path / "a" / MANIFEST_NAME).read_bytes()
    assert parse_manifest(raw) == manifest
    for changed in (raw + b" ", json.dumps(json.loads(raw), indent=1).encode(), raw.replace(b'"seed":0', b'"seed":1')):
        with pytest.raises(ManifestInvalid):
            parse_manifest(changed)
    with pytest.raises(ManifestInvalid, match="readable"):
        read_manifest(tmp_path / "none")


def test_a_manifest_never_holds_what_is_not_a_number(base: BaseShape) -> None:
    with pytest.raises(ValidationError):
        make_manifest(
            kind="lora",
            deployment="support",
            tenant="acme",
            base_digest=base.digest,
            rank=1,
            alpha=1.0,
            targets=["q_proj"],
            files=[],
            created_at=0.0,
            metrics={"loss": float("nan")},
        )


def test_the_identity_is_the_same_everywhere_and_changes_nothing(tmp_path: Path, base: BaseShape) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        make_identity(
            tmp_path / name, base, deployment="support", tenant="acme", rank=RANK, alpha=ALPHA, targets=ALL_TARGETS
        )
    for file in (WEIGHTS_NAME, CONFIG_NAME, MANIFEST_NAME):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    tensors = parse(memoryview((tmp_path / "one" / WEIGHTS_NAME).read_bytes()))
    assert set(tensors.slots) == set(base.expected_tensors(RANK, ALL_TARGETS))
    for name in tensors.slots:
        assert np.any(tensors.array(name)) == (".lora_A." in name)


def test_the_identity_is_admitted_once(registry: Registry, base: BaseShape) -> None:
    version = identity(registry, base)
    assert identity(registry, base) == version
    assert registry.versions() == [version]
    assert registry.manifest(version).kind == "identity"
    assert not list((registry.root / "staging").iterdir())


def test_a_staged_version_moves_in_whole_and_twice_is_once(registry: Registry, base: BaseShape) -> None:
    manifest = write_adapter(registry.stage("job-1"), base)
    assert registry.admit(registry.staging("job-1"), base) == manifest
    assert not registry.staging("job-1").exists()
    assert sorted(p.name for p in registry.path(manifest.version).iterdir()) == [
        CONFIG_NAME,
        WEIGHTS_NAME,
        MANIFEST_NAME,
    ]
    write_adapter(registry.stage("job-2"), base)
    assert registry.admit(registry.staging("job-2"), base) == manifest
    assert registry.versions() == [manifest.version]


def test_a_report_that_comes_twice_finds_the_version(registry: Registry, base: BaseShape) -> None:
    manifest = write_adapter(registry.stage("job-1"), base)
    assert registry.settle("job-1", manifest.version, base) == manifest
    assert registry.settle("job-1", manifest.version, base) == manifest
    with pytest.raises(AdapterRejected, match="folder"):
        registry.settle("job-1", "support-000000000000", base)


def test_an_unfit_version_stays_in_staging(registry: Registry, base: BaseShape) -> None:
    tensors = random_tensors(base)
    tensors[min(tensors)][0, 0] = np.nan
    write_adapter(registry.stage("job-1"), base, tensors)
    with pytest.raises(AdapterRejected, match="non_finite"):
        registry.admit(registry.staging("job-1"), base)
    assert registry.versions() == [] and registry.staging("job-1").exists()


def test_staging_again_throws_away_what_an_earlier_attempt_left(registry: Registry) -> None:
    (registry.stage("job-1") / "half").write_text("a torn file")
    assert list(registry.stage("job-1").iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "staging", "buffers", "outbox", "x" * 64, "a.b", "a\n"])
def test_names_that_are_no_folder_of_ours_are_refused(registry: Registry, name: str) -> None:
    with pytest.raises(ValueError, match="expected a name"):
        registry.path(name)
    with pytest.raises(ValueError, match="expected a name"):
        registry.stage(name)


def test_unknown_and_linked_versions_are_unknown(tmp_path: Path, registry: Registry, base: BaseShape) -> None:
    write_adapter(tmp_path / "outside", base)
    (registry.root / "support-abc").symlink_to(tmp_path / "outside")
    for version in ("support-abc", "support-0"):
        with pytest.raises(UnknownVersion, match=version):
            registry.path(version)


def test_a_version_in_another_ones_folder_is_noticed(registry: Registry, base: BaseShape) -> None:
    write_adapter(registry.root / "support-000000000000", base)
    with pytest.raises(ManifestInvalid, match="support-000000000000"):
        registry.manifest("support-000000000000")
