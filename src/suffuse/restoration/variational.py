"""Restoration by optimisation: one picture that denoisers of all levels and the measurement agree on."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.guidance import Observed
from suffuse.restoration.base import Restorer, noised
from suffuse.rng import Streams
from suffuse.samplers.base import Callback
from suffuse.tree import Condition, State


class REDDiff(Restorer):
    r"""Regularisation by denoising: the optimisation of a clean state.

    Adam moves it along

    .. math:: A^\top (A \mu - y) + \lambda \, (\mu - E[x_0 | x_t = \alpha_t \mu + \sigma_t \varepsilon]),

    through the times of the walk. It fits a Gaussian of no width to the posterior, so that its draws are likely states
    and differ too little: read none of the uncertainty from them. With little noise and a unique answer it is quick.
    One evaluation a step and no gradients through the denoiser.

    Source: "A Variational Perspective on Solving Inverse Problems with Diffusion Models" (Mardani, Song, Kautz, Vahdat,
    2023); its weight of :math:`\sigma_t / \alpha_t` is in this form none at all.

    Args:
        strength: lambda, of the denoiser against the measurement; positive.
        rate: of Adam, in deviations of the data; positive.
    """

    def __init__(self, strength: float = 0.25, rate: float = 0.1) -> None:
        if not (strength > 0 and rate > 0):
            raise ValueError(f"strength and rate must be positive, got {strength} and {rate}")
        self.strength, self.rate = strength, rate

    def last(self, process: Any) -> int:
        """One more: the start is asked for too."""
        return 2

    def walk(
        self,
        denoiser: Denoiser,
        x1: State,
        times: Tensor,
        condition: Condition,
        rng: Streams,
        callback: Callback | None,
    ) -> State:
        """The steps of Adam, one at each time but the last; the start is the data's mean at t = 1."""
        self.init(denoiser, x1, times)
        assert isinstance(denoiser, Observed)
        assert isinstance(x1, Tensor)
        clean = denoiser.denoiser(x1, times[0], condition).mean.clone()
        adam = torch.optim.Adam([clean], lr=self.rate * denoiser.sigma_data, betas=(0.9, 0.99))
        for number, (t, s) in enumerate(pairwise(times.unbind())):
            x_t = noised(denoiser, clean, t, rng.fold("restoration").at(t))
            mean = denoiser.denoiser(x_t, t, condition).mean
            misfit = denoiser.measured(clean)
            clean.grad = self.strength * (clean - mean) - misfit.pull(misfit.residual)
            adam.step()
            if callback is not None:
                callback(number, s, clean)
        return clean
