"""Samplers of two kinds of states: a product's leaves each in its own way, and a bridge by its mean."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.parameterizations import Each
from suffuse.posteriors import Joint
from suffuse.processes import Bridge, Product
from suffuse.rng import Streams
from suffuse.samplers.base import Sampler, check_foreseen
from suffuse.tree import Condition, State, expand


class Leafwise(Sampler):
    """Each leaf of a product by a sampler of its own, all told by one evaluation a step.

    Given a posterior of independent leaves, each leaf walks as it would alone, in units of its own deviation; within a
    step the leaves are drawn independently, so that what one tells another is built up over the steps.

    Args:
        parts: sampler of each leaf, each with one evaluation a step, at its start.

    Raises:
        UserError: at the start of a walk, where leaves have no sampler or one that does not fit.

    Example:
        >>> import torch, suffuse as sf
        >>> process = sf.Product({"x": sf.Gaussian(sf.schedules.Flow()), "kind": sf.Discrete.masked(2)})
        >>> Leafwise({"x": sf.samplers.Adams(2), "kind": sf.samplers.Confidence()}).stochastic
        True
    """

    process = Product
    one_step = False

    def __init__(self, parts: Mapping[str, Sampler]) -> None:
        for part in parts.values():
            check_foreseen(part)
        self.parts = dict(parts)
        self.stochastic = any(part.stochastic for part in parts.values())

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> Any:
        """Of each leaf."""
        process = denoiser.process
        assert isinstance(process, Product)
        assert isinstance(x1, Mapping)
        if set(self.parts) != set(process.parts):
            raise UserError(f"samplers for {', '.join(self.parts)}, but the leaves are {', '.join(process.parts)}")
        for name, part in self.parts.items():
            if not isinstance(process.parts[name], part.process):
                kind = type(process.parts[name]).__name__
                raise UserError(f"{type(part).__name__} does not walk {kind} processes, and {name} is one")
        return {name: part.init(_leaf(denoiser, name, None), x1[name], times) for name, part in self.parts.items()}

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """The state is a mapping of theirs."""
        posterior = denoiser(x_t, t, condition)
        pairs = {
            name: part.step(_leaf(denoiser, name, posterior), x_t[name], t, s, None, state[name], rng.fold(name))
            for name, part in self.parts.items()
        }
        return {name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}


def _leaf(denoiser: Denoiser, name: str, posterior: Any) -> Denoiser:
    """A denoiser of one leaf, which knows the answer."""
    process = denoiser.process
    assert isinstance(process, Product)

    def answer(x_t: Any, t: Any, condition: Condition) -> Any:
        assert isinstance(posterior, Joint)
        return posterior.parts[name]

    form = denoiser.parameterization
    sigma_data = form.parts[name].sigma_data if isinstance(form, Each) else denoiser.sigma_data
    return Denoiser.from_function(process.parts[name], answer, sigma_data)


class BridgeMean(Sampler):
    r"""A bridge without its noise, by the mean of the kernel:
    :math:`x_s = \tfrac{s}{t} x_t + (1 - \tfrac{s}{t}) E[x_0 | x_t]`.

    It is deterministic and needs no memory of the source. One step ends at :math:`E[x_0 | x_1]`, the least squared
    error rather than a draw. For Gaussian data and a denoiser that is told the source every number of steps does, since
    each keeps the mean of the bridge; for other data more steps turn from the mean towards what is likely. With a small
    sigma it is the flow of optimal transport between paired data.

    Source: "I2SB: Image-to-Image Schroedinger Bridge" (Liu et al., 2023), section 3.3 (OT-ODE).
    """

    process = Bridge

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """No state, no noise."""
        keep = expand(s / t, x_t).to(x_t.dtype)
        return keep * x_t + (1 - keep) * denoiser(x_t, t, condition).mean, state
