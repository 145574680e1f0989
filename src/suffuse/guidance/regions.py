"""Several answers, each for a part of the item: conditions by region, and two kinds of picture on one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.guidance.composed import Told, also_told
from suffuse.guidance.guided import asked_together
from suffuse.parameterizations import Direct
from suffuse.posteriors import Normal
from suffuse.processes import Gaussian, Time
from suffuse.tree import Condition

Part = tuple[Denoiser, Told | None, Tensor]
"""Who is asked, what it is told besides what the walk is told, and where its answer counts."""


class Regions(Denoiser):
    r"""A picture whose parts follow different conditions, or different models.

    .. math:: E[x_0 | x_t] = \frac{\sum_k m_k \, E_k[x_0 | x_t, c_k]}{\sum_k m_k},

    with masks :math:`m_k`, which may be soft. It is exact where the parts are independent of each other; elsewhere each
    answer sees all of the noisy picture, and so makes its part fit what the others draw. One denoiser that is told
    several conditions is asked in one batch.

    Source: "MultiDiffusion: Fusing Diffusion Paths for Controlled Image Generation" (Bar-Tal, Yariv, Lipman, Dekel,
    2023), section 4.2.

    Args:
        parts: (denoiser, condition or None, mask), at least one: conditions of (1, ...) or (B, ...) by name, and
            masks of numbers that are not negative, which broadcast against a state and do not all vanish anywhere.

    Raises:
        UserError: there is no part, a mask is negative, no mask covers some place, or the processes are not one
            Gaussian process.

    Example:
        >>> import suffuse as sf
        >>> process = sf.Gaussian(sf.schedules.Flow())
        >>> zero, one = (sf.Denoiser.from_function(process, lambda x_t, t, c, n=n: 0 * x_t + n) for n in (0, 1))
        >>> left = torch.tensor([1.0, 1.0, 0.0])
        >>> Regions([(zero, None, left), (one, None, 1 - left)])(torch.ones(1, 3), 0.5).mean
        tensor([[0., 0., 1.]])
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        if not parts:
            raise UserError("regions need at least one part: a denoiser, a condition or None, and a mask")
        first = parts[0][0]
        _check([denoiser for denoiser, _, _ in parts])
        shares = _shares([mask for _, _, mask in parts])
        super().__init__(_Joined(parts, shares), first.process, Direct.of(first.parameterization), first.shape)


class _Joined(nn.Module):
    """The rule of :class:`Regions`."""

    def __init__(self, parts: Sequence[Part], shares: Sequence[Tensor]) -> None:
        super().__init__()
        denoisers = dict.fromkeys(denoiser for denoiser, _, _ in parts)
        self.denoisers = nn.ModuleList(denoisers)
        self.asked = [
            (
                denoiser,
                [(told, share) for (each, told, _), share in zip(parts, shares, strict=True) if each is denoiser],
            )
            for denoiser in denoisers
        ]

    def forward(self, x_t: Tensor, t: Time, condition: Condition) -> Normal:
        """Each denoiser once."""
        mean = torch.zeros_like(x_t)
        for denoiser, asked in self.asked:
            told = [condition if each is None else also_told(condition, each, x_t) for each, _ in asked]
            answers = asked_together(denoiser, x_t, t, told)
            for answer, (_, share) in zip(answers, asked, strict=True):
                mean += share.to(x_t) * answer.mean
        return Normal(mean)


def _check(denoisers: Sequence[Denoiser]) -> None:
    """Means at one time are joined, so that it must be of one process."""
    process = denoisers[0].process
    if not isinstance(process, Gaussian):
        raise UserError(f"regions are joined by their means: for Gaussian processes only, and this one is "
                        f"{type(process).__name__}")  # fmt: skip
    times = torch.linspace(0, 1, 11, dtype=torch.float64)
    for other in denoisers[1:]:
        same = isinstance(other.process, Gaussian) and all(
            torch.allclose(ours(times), theirs(times), rtol=1e-6)
            for ours, theirs in (
                (process.schedule.alpha, other.process.schedule.alpha),
                (process.schedule.sigma, other.process.schedule.sigma),
            )
        )
        if not same:
            raise UserError("the denoisers of regions must be of one noise schedule; train the models with the same")


def _shares(masks: Sequence[Tensor]) -> list[Tensor]:
    """The masks, which sum to one at every place."""
    each = torch.broadcast_tensors(*(mask.double() for mask in masks))
    if any(bool((mask < 0).any()) for mask in each):
        raise UserError("masks of regions are numbers of at least 0, and one of them is negative")
    total = torch.stack(each).sum(0)
    if not bool((total > 0).all()):
        raise UserError("some place is in no region; give masks that cover all of the item")
    return [mask / total for mask in each]
