"""The way to restore that is taken unless another is asked for."""

from torch import Tensor

from suffuse.errors import UserError
from suffuse.guidance import Observed
from suffuse.samplers import Sampler
from suffuse.samplers import default as plain


def default(observed: Observed, evaluations: int) -> tuple[Sampler, Tensor]:
    """The sampler and the grid for so many passes through the network, forth or back.

    It is the one that generates, with as many steps as the method's passes leave it.

    Args:
        observed: of any process.
        evaluations: at least what one answer of the method takes.

    Raises:
        UserError: they do not suffice for a step.

    Example:
        >>> import torch, suffuse as sf
        >>> law = sf.exact.Correlated(torch.zeros(1, 2), torch.tensor([[[1.0, 0.8], [0.8, 1.0]]]))
        >>> denoiser = law.denoiser(sf.Gaussian(sf.schedules.Flow()))
        >>> seen = sf.operators.Mask(torch.tensor([True, False]))
        >>> told = sf.guidance.Observed(denoiser, seen, torch.tensor([[2.0, 0.0]]), noise=0.0)
        >>> sampler, times = default(told, 100)
        >>> draws = sf.sample(told, sampler, torch.randn(4, 2), times)
        >>> draws[:, 0]
        tensor([2.0000, 2.0000, 2.0000, 2.0000])
    """
    steps = evaluations // observed.method.passes
    if steps < 1:
        raise UserError(f"the method {type(observed.method).__name__} takes {observed.method.passes} passes through "
                        f"the network for an answer, and {evaluations} are too few")  # fmt: skip
    return plain(observed, steps)
