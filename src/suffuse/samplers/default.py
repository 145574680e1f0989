"""The way to walk that is taken unless another is asked for."""

from torch import Tensor

from suffuse import grids
from suffuse.denoiser import Denoiser
from suffuse.processes import Gaussian
from suffuse.samplers.ancestral import Ancestral
from suffuse.samplers.base import Sampler
from suffuse.samplers.multistep import Adams

_FEW = 8
"""Up to here a straight line through two velocities is better than what a third one and a correction would add."""


def default(denoiser: Denoiser, evaluations: int) -> tuple[Sampler, Tensor]:
    """The sampler and the grid for so many evaluations.

    For Gaussian processes that is Adams' method on the velocity, on the grid that is even in its own coordinate, both
    in units of the data's deviation; for all others the process's own kernel.

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
    process = denoiser.process
    if not isinstance(process, Gaussian):
        return Ancestral(1.0), grids.uniform(evaluations)
    sampler = Adams(2, corrector=False) if evaluations <= _FEW else Adams(3)
    return sampler, grids.straight(process.schedule, evaluations, denoiser.sigma_data)
