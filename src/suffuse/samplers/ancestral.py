"""The process's own kernel, averaged over the posterior: DDIM, DDPM, and their like for every process."""

from typing import Any

from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.processes import Bridge
from suffuse.rng import Streams
from suffuse.samplers.base import Sampler
from suffuse.tree import Condition, State


class Ancestral(Sampler):
    r"""One reverse kernel per step, :math:`x_s \sim E_{x_0 \sim q(x_0 | x_t)} \, q(x_s | x_t, x_0)`, for every process.

    For Gaussians :math:`\eta = 0` is DDIM (and Euler's step of a flow), 1 is DDPM. Use :math:`\eta = 0` for a
    deterministic map from noise to data, :math:`\eta = 1` for discrete data and where many steps are affordable. For
    bridges :math:`\eta = 1` is the ancestral walk and :math:`\eta = 0` the ODE, with noise in its first step alone.

    Sources: "Denoising Diffusion Implicit Models" (Song, Meng, Ermon, 2021), "Denoising Diffusion Probabilistic
    Models" (Ho, Jain, Abbeel, 2020), "Denoising Diffusion Bridge Models" (Zhou, Lou, Khanna, Ermon, 2024).

    Args:
        eta: share of the kernel's noise, in [0, 1].
    """

    def __init__(self, eta: float = 0.0) -> None:
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        self.eta = eta
        self.stochastic = eta > 0

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> State:
        """The start, which a bridge needs as its source."""
        if isinstance(denoiser.process, Bridge) and self.eta < 1 and float(times[0]) < 1:
            raise UserError("a bridge with less than all of its noise starts from its source, at t = 1; use eta=1")
        return x1

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """The state is x_1."""
        posterior = denoiser(x_t, t, condition)
        return denoiser.process.reverse(x_t, posterior, t, s, rng, self.eta, source=state), state
