"""Guidance: a denoiser tilted away from a reference."""

from typing import Any

import torch
from torch import Tensor, nn

from suffuse.denoiser import Denoiser
from suffuse.parameterizations import Direct
from suffuse.posteriors import Posterior
from suffuse.processes import Time
from suffuse.tree import Condition, State, batch_size, concatenate, device, without

Interval = tuple[float, float]


class Guided(Denoiser):
    r"""The main denoiser, tilted away from a reference: :math:`q \propto q_{\text{main}}^w \, q_{\text{ref}}^{1 - w}`.

    For means that is :math:`m_{\text{ref}} + w (m_{\text{main}} - m_{\text{ref}})`. A weight of 1 is the main
    denoiser alone, 0 the reference. On noised laws this is the score of the tilted *noised* marginals, which is not
    the noised tilted law: guided samples are sharper than any distribution that was asked for. A worse version of
    the main model as reference is autoguidance.

    Sources: "Classifier-Free Diffusion Guidance" (Ho, Salimans, 2022), "Guiding a Diffusion Model with a Bad Version
    of Itself" (Karras et al., 2024), "Applying Guidance in a Limited Interval" (Kynkaanniemi et al., 2024).

    Args:
        main: the denoiser to follow.
        reference: the denoiser to go away from, over the same process.
        weight: w, at least 0.
        interval: times (low, high) between which to guide; elsewhere the main denoiser answers alone.
    """

    def __init__(self, main: Denoiser, reference: Denoiser, weight: float, interval: Interval = (0.0, 1.0)) -> None:
        super().__init__(_Tilted(main, reference, weight, interval), main.process, Direct(main.sigma_data), main.shape)


class ClassifierFree(Denoiser):
    """Guidance by the same denoiser without its condition, both evaluated in one batch.

    Args:
        denoiser: a denoiser that was trained with dropped conditions.
        weight: 1 is no guidance, 0 ignores the condition, above 1 goes further; see :class:`Guided`.
        interval: times (low, high) between which to guide.
        drop: names of the conditions to take away; None means all.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        weight: float,
        interval: Interval = (0.0, 1.0),
        drop: set[str] | None = None,
    ) -> None:
        super().__init__(
            _Unconditioned(denoiser, weight, interval, drop),
            denoiser.process,
            Direct(denoiser.sigma_data),
            denoiser.shape,
        )


class _Tilted(nn.Module):
    """The rule of :class:`Guided`."""

    def __init__(self, main: Denoiser, reference: Denoiser, weight: float, interval: Interval) -> None:
        super().__init__()
        self.main, self.reference, self.weight, self.interval = main, reference, weight, interval

    def forward(self, x_t: State, t: Time, condition: Condition) -> Posterior[Any]:
        main = self.main(x_t, t, condition)
        if self.weight == 1 or not bool(inside(t, self.interval).any()):
            return main
        return tilt_inside(main, self.reference(x_t, t, condition), self.weight, t, self.interval)


class _Unconditioned(nn.Module):
    """The rule of :class:`ClassifierFree`."""

    def __init__(self, denoiser: Denoiser, weight: float, interval: Interval, drop: set[str] | None) -> None:
        super().__init__()
        self.denoiser, self.weight, self.interval, self.drop = denoiser, weight, interval, drop

    def forward(self, x_t: State, t: Time, condition: Condition) -> Posterior[Any]:
        if condition is None or self.weight == 1 or not bool(inside(t, self.interval).any()):
            return self.denoiser(x_t, t, condition)
        n = batch_size(x_t)
        keep = torch.arange(2 * n, device=device(x_t)) < n
        both = without(concatenate([condition, condition]), self.drop, keep)
        twice = t if not isinstance(t, Tensor) or t.ndim == 0 else torch.cat([t, t])
        posterior = self.denoiser(concatenate([x_t, x_t]), twice, both)
        return tilt_inside(posterior[:n], posterior[n:], self.weight, t, self.interval)


def inside(t: Time, interval: Interval) -> Tensor:
    """Whether times lie in an interval, its ends included."""
    t = torch.as_tensor(t)
    return (t >= interval[0]) & (t <= interval[1])


def tilt_inside(
    main: Posterior[Any], reference: Posterior[Any], weight: float, t: Time, interval: Interval
) -> Posterior[Any]:
    """Tilt where t lies in the interval; weight 1 elsewhere."""
    where = inside(t, interval)
    at = torch.where(where, torch.tensor(weight, dtype=torch.float64, device=where.device), 1.0)
    return main.tilt(reference, weight if where.all() else at)
