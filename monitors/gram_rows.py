# pyright: basic
"""Hashed n-grams of many texts as one sparse matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def gram_rows(grams: Sequence[Sequence[int] | NDArray[np.int64]], buckets: int) -> Any:
    """Rows of length one, or 0 where a text has no grams: a ``csr_matrix`` of shape (n, ``buckets``).

    ``grams``: the distinct buckets of each text.
    """
    from scipy.sparse import csr_matrix

    lengths = [len(found) for found in grams]
    flat = np.concatenate([np.asarray(found, dtype=np.int64) for found in grams])
    values = np.repeat(1.0 / np.sqrt(np.maximum(lengths, 1)), lengths)
    return csr_matrix((values, flat, np.cumsum([0, *lengths])), shape=(len(lengths), buckets))
