"""Restoration that forgets its noise in every step."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from suffuse.guidance import Observed
from suffuse.guidance.measured import width_at
from suffuse.posteriors import Normal
from suffuse.restoration.base import Restorer, gaussian, noised
from suffuse.rng import Streams
from suffuse.tree import Condition


class DAPS(Restorer):
    r"""Decoupled annealing: a clean state is drawn given the measurement, and noised to the next level from scratch.

    A few steps of DDIM find a clean state :math:`\hat x` that x_t may have come from; x_0 is drawn by Bayes' rule from
    :math:`N(\hat x, r_t^2)` and the measurement; and :math:`x_s = \alpha_s x_0 + \sigma_s \varepsilon`. Steps do not
    depend on each other through their noise, so that early errors are forgotten. No gradients through the denoiser.

    In the source x_0 is drawn by Langevin's dynamics, whose steps are as short as the noise is small. Here it is drawn
    by perturbing :math:`\hat x` and y by their noise and solving for the nearest state: for a linear operator that is
    an exact draw, without noise too, and others are taken to be linear around :math:`\hat x`. The width :math:`r_t^2`
    is that of :class:`~suffuse.guidance.PiGDM`.

    Source: "Improving Diffusion Inverse Problem Solving with Decoupled Noise Annealing" (Zhang, Chu, Berner, Meng,
    Anandkumar, Song, 2024).

    Args:
        inner: DDIM steps to a clean state, each an evaluation.
    """

    def __init__(self, inner: int = 5) -> None:
        if inner < 1:
            raise ValueError(f"a clean state takes at least one step, got {inner}")
        self.inner = self.stages = inner

    def last(self, process: Any) -> int:
        """The last step is as all others."""
        return self.stages

    def down(
        self, observed: Observed, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition, prepared: Any, rng: Streams
    ) -> Tensor:
        """See the class."""
        clean = self._clean(observed, x_t, t, condition)
        drawn = observed.measured(clean).draw(width_at(observed, x_t, t), rng)
        return noised(observed, drawn, s, rng.fold("noise"))

    def _clean(self, observed: Observed, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        process = gaussian(observed)
        times = t * (1 - torch.arange(self.inner + 1).to(t) / self.inner)
        for u, v in pairwise(times.unbind()):
            x_t = process.reverse(x_t, Normal(observed.denoiser(x_t, u, condition).mean), u, v, eta=0.0)
        return x_t
