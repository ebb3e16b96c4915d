# pyright: basic
"""An exponential moving average of trained weights: what is kept of a training is its average, not its last step.

Averaging along a path of constant step size finds flatter and better minima than the last iterate of a vanishing one
(Polyak & Juditsky 1992; Izmailov et al. 2018, arXiv:1803.05407). It costs one copy of the adapter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


class WeightAverage:
    """The average of some parameters. ``decay`` in [0, 1): 0 keeps the last step, 0.99 some hundred steps."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter], decay: float) -> None:
        self._parameters, self._decay, self._steps = list(parameters), decay, 0
        self._mean = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters as they are now. Early on the average is short, or it would remember the start."""
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps)) if self._decay else 0.0
        for mean, parameter in zip(self._mean, self._parameters, strict=True):
            mean.lerp_(parameter, 1.0 - decay)
        self._steps += 1

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average into the parameters."""
        for mean, parameter in zip(self._mean, self._parameters, strict=True):
            parameter.copy_(mean)
