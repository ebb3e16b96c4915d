"""The daemon's store: one transaction a batch, one writer, one small file for each aggregate.

``Store.begin()`` yields a ``Tx`` (the writer's transaction) and ``Store.read()`` a ``Read``; the functions of the
aggregate modules take one of the two, so that a signature says whether it writes. Everything is SQLAlchemy Core that
SQLite and PostgreSQL both speak.
"""

from daemon.store.open import Read, Store, StoreError, StoreUnavailable, StoreVersionError, Tx

__all__ = ["Read", "Store", "StoreError", "StoreUnavailable", "StoreVersionError", "Tx"]
