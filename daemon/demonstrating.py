"""From chosen pairs to a demonstrations version: it stands on the adapter that answers now, and nothing is trained."""

from __future__ import annotations

from adapters.base_shape import BaseShape
from adapters.demonstrations import Demonstrations
from adapters.manifest import Manifest
from adapters.registry import Registry
from daemon.buffer_build import Built
from daemon.config import Config
from daemon.store import Store
from daemon.version_rows import adapter_of


class Demonstrating:
    """Makes and registers the versions of one deployment."""

    def __init__(self, config: Config, store: Store, registry: Registry, base: BaseShape | None, identity: str | None):
        """``identity``: what pairs stand on where nothing was promoted; an adapter, so that both arms pay the same."""
        self._config, self._store, self._registry = config, store, registry
        self._base, self._identity = base, identity

    def make(self, built: Built, champion: str | None, now: float) -> Manifest | None:
        """The version of these pairs, in the registry; None where there is no pair, or nothing to stand on.

        A champion that shows pairs itself is stood under, not on: the new pairs take the place of its own, and the gate
        compares the two. Raises AdapterRejected, UnknownVersion and OSError.
        """
        below = self._identity
        if champion is not None:
            with self._store.read() as read:
                below = adapter_of(read, champion)
        if below is None or self._base is None or not built.pairs:
            return None
        return self._registry.admit_demonstrations(
            Demonstrations(stands_on=below, pairs=built.pairs),
            self._base,
            deployment=self._config.deployment.name,
            tenant=self._config.deployment.tenant,
            buffer_digest=built.digest,
            created_at=now,
        )
