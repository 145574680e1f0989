"""Guidance by a classifier, or by any likelihood, of noisy states or of clean ones."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.parameterizations import Direct
from suffuse.posteriors import Normal
from suffuse.processes import Gaussian, Time
from suffuse.tree import Condition

NoisyLikelihood = Callable[[Tensor, Time], Tensor]
r"""(x_t, t) to (B,) values of :math:`\log p(y | x_t)`, differentiable."""
CleanLikelihood = Callable[[Tensor], Tensor]
r"""x_0 to (B,) values of :math:`\log p(y | x_0)`, differentiable."""


class Classifier(Denoiser):
    r"""Bayes' rule with a classifier that was trained on noisy states.

    .. math:: E[x_0 | x_t, y] = E[x_0 | x_t] + w \frac{\sigma_t^2}{\alpha_t} \nabla_{x_t} \log p(y | x_t),

    exact for w = 1 and the true p(y | x_t). Where :math:`\alpha_t = 0` the state says nothing, and the mean stays.
    For Gaussian processes; the same classifier serves every sampler.

    Source: "Diffusion Models Beat GANs on Image Synthesis" (Dhariwal, Nichol, 2021).

    Args:
        denoiser: of a Gaussian process.
        log_likelihood: of what is wanted, given a noisy state and its time.
        weight: w; 0 is no guidance.
    """

    def __init__(self, denoiser: Denoiser, log_likelihood: NoisyLikelihood, weight: float = 1.0) -> None:
        _refuse_others(denoiser)
        forward = _Noisy(denoiser, log_likelihood, weight)
        super().__init__(forward, denoiser.process, Direct.of(denoiser.parameterization), denoiser.shape)


class Rewarded(Denoiser):
    r"""Bayes' rule with a likelihood, classifier or reward of *clean* data, taken at the posterior mean.

    .. math:: E[x_0 | x_t, y] \approx m + w \frac{\sigma_t^2}{\alpha_t} \nabla_{x_t} \log p(y | x_0 = m(x_t)), \qquad
        m = E[x_0 | x_t].

    No classifier of noisy states is needed; each call takes a backward pass through the denoiser. It is exact where the
    log-likelihood is linear and the posterior's variance does not depend on x_t, and otherwise leaves out the width of
    the posterior, which matters while there is much noise.

    Source: "Diffusion Posterior Sampling for General Noisy Inverse Problems" (Chung, Kim, Mccann, Klasky, Ye, 2023).

    Args:
        denoiser: of a Gaussian process, differentiable.
        log_likelihood: of what is wanted, given clean data.
        weight: w; 0 is no guidance.
    """

    def __init__(self, denoiser: Denoiser, log_likelihood: CleanLikelihood, weight: float = 1.0) -> None:
        _refuse_others(denoiser)
        forward = _Through(denoiser, log_likelihood, weight)
        super().__init__(forward, denoiser.process, Direct.of(denoiser.parameterization), denoiser.shape)


def _refuse_others(denoiser: Denoiser) -> None:
    if not isinstance(denoiser.process, Gaussian):
        raise UserError(f"gradients guide Gaussian processes, and this one is {type(denoiser.process).__name__}")


class _Noisy(nn.Module):
    """The rule of :class:`Classifier`."""

    def __init__(self, denoiser: Denoiser, log_likelihood: NoisyLikelihood, weight: float) -> None:
        super().__init__()
        self.denoiser, self.log_likelihood, self.weight = denoiser, log_likelihood, weight

    def forward(self, x_t: Tensor, t: Time, condition: Condition) -> Normal:
        mean = self.denoiser(x_t, t, condition).mean
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.log_likelihood(x, t).sum(), x)
        return Normal(mean + self.weight * _tweedie(self.denoiser, x_t, t) * gradient)


class _Through(nn.Module):
    """The rule of :class:`Rewarded`."""

    def __init__(self, denoiser: Denoiser, log_likelihood: CleanLikelihood, weight: float) -> None:
        super().__init__()
        self.denoiser, self.log_likelihood, self.weight = denoiser, log_likelihood, weight

    def forward(self, x_t: Tensor, t: Time, condition: Condition) -> Normal:
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            mean = self.denoiser(x, t, condition).mean
            (gradient,) = torch.autograd.grad(self.log_likelihood(mean).sum(), x)
        return Normal(mean.detach() + self.weight * _tweedie(self.denoiser, x_t, t) * gradient)


def _tweedie(denoiser: Denoiser, x_t: Tensor, t: Time) -> Tensor:
    r""":math:`\sigma_t^2 / \alpha_t`, and 0 where :math:`\alpha_t` is."""
    process = denoiser.process
    assert isinstance(process, Gaussian)
    alpha_t, sigma_t = process.coordinates(t, x_t)
    return torch.where(alpha_t > 0, sigma_t**2 / alpha_t, 0.0)
