# pyright: standard
"""Clusters of near-duplicate prompts: leaders in the given order, each with all that is close enough to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from adapters.similarity import BLOCK, vectors


def clusters(prompts: Sequence[str], order: Sequence[int], cosine: float) -> list[int]:
    """For each prompt the position of its cluster's leader.

    Leader clustering (Hartigan 1975): in `order`, a prompt without a leader becomes one and takes every free prompt
    at least `cosine` close. Memory: BLOCK rows of the similarity matrix, sparse.
    """
    leader = [-1] * len(prompts)
    if not prompts:
        return leader
    rows = vectors(prompts).matrix
    columns = sp.csr_matrix(rows.T)
    for begin in range(0, len(order), BLOCK):
        block = list(order[begin : begin + BLOCK])
        scores = sp.csr_matrix(rows[block] @ columns)
        for k, i in enumerate(block):
            if leader[i] >= 0:
                continue
            leader[i] = i
            span = slice(scores.indptr[k], scores.indptr[k + 1])
            for j in np.sort(scores.indices[span][scores.data[span] >= cosine]).tolist():
                if leader[j] < 0:
                    leader[j] = i
    return leader
