"""How a guided answer is made of two: plain, rescaled or projected."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from suffuse.posteriors import Normal, Posterior
from suffuse.tree import expand


class Rule(ABC):
    """The posterior that a main one and its reference make together, at a weight. Weight 1 is the main one."""

    @abstractmethod
    def __call__(self, main: Posterior[Any], reference: Posterior[Any], weight: float | Tensor) -> Posterior[Any]:
        """Combine.

        Args:
            main: the posterior to follow.
            reference: the one to go away from.
            weight: w, a number or (B,).
        """


class Tilted(Rule):
    r"""Along the line through both, for every kind of data: :math:`q \propto q_{\text{main}}^w q_{\text{ref}}^{1 - w}`.

    For means that is :math:`m_{\text{ref}} + w (m_{\text{main}} - m_{\text{ref}})`. On noised laws it is the score of
    the tilted *noised* marginals, which is not the noised tilted law: guided samples are sharper than any distribution
    that was asked for.

    Source: "Classifier-Free Diffusion Guidance" (Ho, Salimans, 2022).
    """

    def __call__(self, main: Posterior[Any], reference: Posterior[Any], weight: float | Tensor) -> Posterior[Any]:
        """See the class."""
        return main.tilt(reference, weight)


class Rescaled(Rule):
    r"""Tilted, and brought back towards the deviation of the main mean, against pictures burnt by large weights.

    .. math:: m \leftarrow \phi \, \frac{\mathrm{std}(m_{\text{main}})}{\mathrm{std}(m)} \, m + (1 - \phi) \, m,

    with deviations over the elements of an item. For Gaussian processes.

    Source: "Common Diffusion Noise Schedules and Sample Steps are Flawed" (Lin, Liu, Li, Yang, 2024), section 3.4, here
    on the posterior mean.

    Args:
        share: :math:`\phi` in [0, 1]; 0 is no rescaling.
    """

    def __init__(self, share: float = 0.7) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"the share of rescaling must lie in [0, 1], got {share}")
        self.share = share

    def __call__(self, main: Posterior[Any], reference: Posterior[Any], weight: float | Tensor) -> Posterior[Any]:
        """See the class."""
        mean = main.tilt(reference, weight).mean
        own, tilted = (expand(each.flatten(1).std(1), each) for each in (main.mean, mean))
        return Normal(mean * (1 + self.share * (own / tilted.clamp(min=1e-12) - 1)))


class Projected(Rule):
    r"""Adaptive projected guidance: the part of the step along the main mean is taken away, since it saturates colours.

    With :math:`d = m_{\text{main}} - m_{\text{ref}}`, shortened to the radius where it is longer, and split into
    :math:`d_\parallel` along the main mean and :math:`d_\perp`, over the elements of an item,

    .. math:: m = m_{\text{main}} + (w - 1) (d_\perp + \eta \, d_\parallel).

    For Gaussian processes and large weights. The source also averages d over steps; a denoiser has no memory, so that
    is not offered.

    Source: "Eliminating Oversaturation and Artifacts of High Guidance Scales in Diffusion Models" (Sadat, Hilliges,
    Weber, 2025).

    Args:
        parallel: :math:`\eta`, at least 0; 1 with no radius is :class:`Tilted`.
        radius: largest length of d, in the units of a state; None for no bound.
    """

    def __init__(self, parallel: float = 0.0, radius: float | None = None) -> None:
        if parallel < 0 or (radius is not None and not radius > 0):
            raise ValueError(f"parallel is at least 0 and a radius positive, got {parallel} and {radius}")
        self.parallel, self.radius = parallel, radius

    def __call__(self, main: Posterior[Any], reference: Posterior[Any], weight: float | Tensor) -> Posterior[Any]:
        """See the class."""
        mean = main.mean
        step, along = (mean - reference.mean).flatten(1), mean.flatten(1)
        if self.radius is not None:
            step = step * (self.radius / step.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
        square = along.square().sum(1, keepdim=True).clamp(min=torch.finfo(along.dtype).tiny)
        parallel = (step * along).sum(1, keepdim=True) / square * along
        step = (step + (self.parallel - 1) * parallel).view_as(mean)
        further = expand(weight, mean).to(mean) - 1 if isinstance(weight, Tensor) else weight - 1
        return Normal(mean + further * step)


RULES: dict[str, type[Rule]] = {"tilted": Tilted, "rescaled": Rescaled, "projected": Projected}
"""Every rule by its name; the law tests run over it."""
