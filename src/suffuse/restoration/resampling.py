"""Restoration of what is hidden, by going up and down again."""

from typing import Any

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.guidance import Observed
from suffuse.operators import Mask
from suffuse.restoration.base import Restorer, gaussian
from suffuse.rng import Streams
from suffuse.tree import Condition


class RePaint(Restorer):
    r"""Resampling: after each ancestral step what is known is put in at its own level of noise, and the step is gone
    up and down again, so that what is hidden comes to fit it.

    What is known has the law :math:`N(\alpha_s y, \sigma_s^2 - \alpha_s^2 \text{noise}^2)` at s; below the level where
    the state has no more noise than the measurement nothing is put in, steps are taken once, and the walk denoises
    both. For masks alone. It converges to the posterior as steps and repeats grow, slowly; no gradients are taken.

    Source: "RePaint: Inpainting using Denoising Diffusion Probabilistic Models" (Lugmayr, Danelljan, Romero, Yu,
    Timofte, Van Gool, 2022), with jumps of one step.

    Args:
        repeats: times that each step is taken at most, each an evaluation.
    """

    def __init__(self, repeats: int = 10) -> None:
        if repeats < 1:
            raise ValueError(f"a step is taken at least once, got {repeats}")
        self.repeats = self.stages = repeats

    def last(self, process: Any) -> int:
        """The last step is repeated as all others."""
        return self.stages

    def prepare(self, observed: Observed, x1: Tensor) -> tuple[Tensor, Tensor]:
        """What is known, and where.

        Raises:
            UserError: the operator is not a mask.
        """
        if not isinstance(observed.operator, Mask):
            raise UserError(f"RePaint puts in known elements, for a Mask, and this is a "
                            f"{type(observed.operator).__name__}; DiffPIR takes any operator")  # fmt: skip
        return observed.measured(x1).y, observed.operator.mask.to(x1.device)

    def down(
        self,
        observed: Observed,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        condition: Condition,
        prepared: tuple[Tensor, Tensor],
        rng: Streams,
    ) -> Tensor:
        """See the class."""
        process, (y, known) = gaussian(observed), prepared
        alpha_s, sigma_s = process.coordinates(s, x_t)
        left = sigma_s**2 - alpha_s**2 * observed.noise**2
        put_in = known & (left >= 0)
        for number in range(self.repeats if bool(put_in.any()) else 1):
            fresh = rng.fold(number)
            x_t = x_t if number == 0 else process.forward(x_t, s, t, fresh)
            x_s = process.reverse(x_t, observed.denoiser(x_t, t, condition), t, s, fresh)
            at_s = alpha_s * y + left.clamp(min=0.0).sqrt() * fresh.fold("known").normal(y)
            x_t = torch.where(put_in, at_s, x_s)
        return x_t
