"""The way to walk that is taken unless another is asked for."""

import math

import torch
from torch import Tensor

from suffuse import grids
from suffuse.denoiser import Denoiser
from suffuse.processes import Gaussian, Heat, Product
from suffuse.samplers.ancestral import Ancestral
from suffuse.samplers.base import Sampler
from suffuse.samplers.composed import Leafwise
from suffuse.samplers.multistep import Adams

_POWER = 1.25
"""The velocity bends most where data is being decided and after; steps are somewhat shorter there."""


def unit(denoiser: Denoiser) -> float:
    r"""The c of the straightened flow, in deviations of the data: :math:`\min(0.4 \sqrt d, 1.25)` for d elements.

    What data is gets decided where the noise is a part of the distance between items, which grows as the root of d.
    It was measured on mixtures in 2 and 16 dimensions (benchmarks/solvers.py); elements of larger data depend on each
    other, so that it stops there.
    """
    elements = math.inf if denoiser.shape is None else torch.Size(denoiser.shape).numel()
    return min(0.4 * math.sqrt(elements), 1.25)


def default(denoiser: Denoiser, evaluations: int) -> tuple[Sampler, Tensor]:
    """The sampler and the grid for so many evaluations.

    For Gaussian processes that is Adams' method on the velocity of the straightened flow in units of the data, of
    an order that rises with the number of steps; for all others the process's own kernel, of heat without its noise,
    and for a product each leaf as it would walk alone.

    Args:
        denoiser: of any process.
        evaluations: at least 1.

    Example:
        >>> import torch, suffuse as sf
        >>> law = sf.exact.GaussianMixture(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.2, 0.2]))
        >>> denoiser = law.denoiser(sf.Gaussian(sf.schedules.VP()))
        >>> sampler, times = default(denoiser, 10)
        >>> sf.sample(denoiser, sampler, torch.randn(3, 1), times).shape
        torch.Size([3, 1])
    """
    process, scale = denoiser.process, unit(denoiser)
    order = 2 if evaluations <= 5 else 3 if evaluations <= 10 else 4
    if isinstance(process, Product):
        parts: dict[str, Sampler] = {
            name: Adams(order, scale=scale) if isinstance(part, Gaussian) else Ancestral(1.0)
            for name, part in process.parts.items()
        }
        return Leafwise(parts), grids.uniform(evaluations)
    if not isinstance(process, Gaussian | Heat):
        return Ancestral(1.0), grids.uniform(evaluations)
    times = grids.straight(process.schedule, evaluations, scale * denoiser.sigma_data, _POWER)
    return Adams(order, scale=scale) if isinstance(process, Gaussian) else Ancestral(0.0), times
