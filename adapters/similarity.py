# pyright: standard
"""Which prompts are alike: cosine of TF-IDF weights over hashed word and character n-grams, searched in blocks.

TF-IDF: Salton & Buckley 1988, with the logarithmic term frequency; hashing: Weinberger et al. 2009. Words say what is
asked, character trigrams forgive typos. Nothing is downloaded and nothing depends on a process's hash seed.
"""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

BUCKETS = 1 << 18
"""Hash buckets; texts of a desk have some 10^4 n-grams, so collisions are rare."""

BLOCK = 256
"""Rows compared at a time: the largest matrix held is BLOCK x (rows of the pool) float32."""


def grams(text: str) -> list[str]:
    """Words, pairs of neighbours and in-word character trigrams of a text, in lower case."""
    words = "".join(c if c.isalnum() else " " for c in text.casefold()).split()[:200]
    out = list(words)
    out += [f"{a} {b}" for a, b in itertools.pairwise(words)]
    for word in words:
        framed = f"<{word}>"
        out += ["#" + framed[i : i + 3] for i in range(len(framed) - 2)]
    return out


@lru_cache(maxsize=32_768)
def _hashed(text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(Buckets, counts) of a text: several stages look at the same prompts, and this is half of their work."""
    counts = Counter(zlib.crc32(g.encode()) % BUCKETS for g in grams(text))
    return tuple(counts.keys()), tuple(counts.values())


@dataclass(frozen=True, slots=True)
class Vectors:
    """Unit-length TF-IDF rows, a sparse float32 matrix [texts, BUCKETS]."""

    matrix: Any

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def part(self, begin: int, end: int) -> Vectors:
        """Rows from `begin` up to `end`."""
        return Vectors(self.matrix[begin:end])


def vectors(texts: Sequence[str]) -> Vectors:
    """One row a text; the document frequencies are those of these texts."""
    indices: list[int] = []
    values: list[float] = []
    pointers = [0]
    for text in texts:
        buckets, counts = _hashed(text)
        indices += buckets
        values += counts
        pointers.append(len(indices))
    raw = sp.csr_matrix(
        (np.asarray(values, np.float32), np.asarray(indices, np.int32), np.asarray(pointers, np.int64)),
        shape=(len(texts), BUCKETS),
    )
    frequency = np.bincount(raw.indices, minlength=BUCKETS)
    # The added tenth: what all texts share tells little, but equal texts must not come out as strangers.
    weight = (np.log((1 + len(texts)) / (1 + frequency)) + 0.1).astype(np.float32)
    raw.data = (1 + np.log(raw.data)) * weight[raw.indices]
    norms = np.sqrt(np.asarray(raw.multiply(raw).sum(axis=1)).ravel())
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0).astype(np.float32)
    return Vectors(sp.csr_matrix(sp.diags(scale) @ raw, dtype=np.float32))


@dataclass(frozen=True, slots=True)
class Neighbours:
    """For each query the pool's nearest rows, best first: indices and cosines, both [queries, k]; -1 where none is."""

    index: NDArray[np.int64]
    cosine: NDArray[np.float32]

    def of(self, row: int) -> list[tuple[int, float]]:
        """(pool row, cosine) of the neighbours of one query, best first."""
        pairs = zip(self.index[row].tolist(), self.cosine[row].tolist(), strict=True)
        return [(int(j), float(c)) for j, c in pairs if j >= 0]


def nearest(
    queries: Vectors,
    pool: Vectors,
    k: int,
    query_groups: NDArray[np.int64],
    pool_groups: NDArray[np.int64],
) -> Neighbours:
    """The k nearest rows of the pool that belong to another group than the query, with a cosine above 0.

    The same rows in the same order give the same answer. Memory: BLOCK x pool rows.
    """
    k = min(k, len(pool))
    index = np.full((len(queries), k), -1, np.int64)
    cosine = np.zeros((len(queries), k), np.float32)
    columns = sp.csr_matrix(pool.matrix.T)
    for begin in range(0, len(queries), BLOCK):
        block = slice(begin, begin + BLOCK)
        scores = np.asarray((queries.matrix[block] @ columns).todense(), dtype=np.float32)
        scores[query_groups[block, None] == pool_groups[None, :]] = 0.0
        found = _best(scores, k)
        best = np.take_along_axis(scores, found, axis=1)
        index[block] = np.where(best > 0, found, -1)
        cosine[block] = best
    return Neighbours(index, cosine)


def cosines(rows: Vectors) -> NDArray[np.float32]:
    """Cosine of every two rows, [n, n]. Memory: n x n, so it is for small pools."""
    found = np.asarray((rows.matrix @ rows.matrix.T).todense(), dtype=np.float32)
    np.fill_diagonal(found, 1.0)
    return found


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Columns of the k highest scores of each row, best first, ties by column."""
    if k == 0:
        return np.zeros((len(scores), 0), np.int64)
    part = np.broadcast_to(np.arange(k), (len(scores), k))
    if k < scores.shape[1]:
        part = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    order = np.argsort(-np.take_along_axis(scores, part, axis=1), axis=1, kind="stable")
    return np.take_along_axis(part, order, axis=1)


def numbered(names: Sequence[str]) -> NDArray[np.int64]:
    """Group numbers for names: equal names, equal numbers."""
    numbers: dict[str, int] = {}
    return np.asarray([numbers.setdefault(n, len(numbers)) for n in names], np.int64)
