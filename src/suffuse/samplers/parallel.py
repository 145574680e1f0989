"""All steps at once: a walk as the fixed point of an iteration over its whole path."""

from itertools import count
from typing import Any

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.posteriors import Posterior
from suffuse.processes import Gaussian
from suffuse.rng import Streams
from suffuse.samplers.ancestral import Ancestral
from suffuse.samplers.base import Callback, Sampler, check_foreseen, check_inner
from suffuse.tree import Condition, State, of_items


class Parallel(Sampler):
    r"""Picard's iteration: the posteriors of all steps at once, then the walk through them, and again.

    The walk of the inner sampler is the fixed point: given the posteriors :math:`q(x_0 | x_i)` at its states, its steps
    give the states. An iteration evaluates all states of the last path in one batch, which counts as one evaluation,
    and walks with these posteriors and always the same noise; after k iterations the first k states are exact, so that
    N steps take at most N, and far fewer where the path bends little. It trades work for time: use it where a batch of
    N items takes less time than N evaluations.

    Source: "Parallel Sampling of Diffusion Models" (Shih, Belkhale, Ermon, Sadigh, Anari, 2023), for any inner sampler
    and over the whole path.

    Args:
        inner: any sampler of Gaussian processes with one evaluation a step, at its start.
        tolerance: largest root mean square change anywhere on an item's path, relative to the deviation there, with
            which it is done; 0 for the inner walk itself.
    """

    process = Gaussian
    one_step = at_start = False

    def __init__(self, inner: Sampler | None = None, tolerance: float = 1e-3) -> None:
        self.inner = Ancestral() if inner is None else inner
        check_inner(self, self.inner)
        check_foreseen(self.inner)
        if not tolerance >= 0:
            raise ValueError(f"a tolerance is at least 0, got {tolerance}")
        self.order, self.stochastic = self.inner.order, self.inner.stochastic
        self.tolerance = tolerance

    def walk(
        self,
        denoiser: Denoiser,
        x1: State,
        times: Tensor,
        condition: Condition,
        rng: Streams,
        callback: Callback | None,
    ) -> State:
        """Iterate, each item until it is done."""
        assert isinstance(x1, Tensor)
        steps = len(times) - 1
        size = _size(denoiser, times[:-1])
        end, active = x1.clone(), torch.arange(len(x1), device=x1.device)
        path = x1.expand(steps, *x1.shape)
        for number in range(steps):
            told = of_items(condition, active.repeat(steps))
            clock = times[:-1].repeat_interleave(len(active))
            posterior = denoiser(path.flatten(0, 1), clock, told)
            states: list[Any] = [x1[active]]
            replay = _replay(denoiser, posterior, len(active))
            self.inner.walk(replay, states[0], times, None, rng[active], lambda k, t, x, to=states: to.append(x))
            new = torch.stack(states[:-1])
            change = ((new - path).flatten(2).square().mean(2).sqrt() / size[:, None]).amax(0)
            end[active] = states[-1]
            if callback is not None:
                callback(number, times[-1], end)
            moving = change > self.tolerance
            if not moving.any():
                break
            active, path = active[moving], new[:, moving]
        return end


def _size(denoiser: Denoiser, times: Tensor) -> Tensor:
    """Deviation of the state at each time."""
    process = denoiser.process
    assert isinstance(process, Gaussian)
    alpha, sigma = process.schedule.alpha(times), process.schedule.sigma(times)
    return (alpha**2 * denoiser.sigma_data**2 + sigma**2).sqrt()


def _replay(denoiser: Denoiser, posterior: Posterior[Any], n: int) -> Denoiser:
    """Answers the k-th question with the k-th n items."""
    starts = count(0, n)

    def answer(x_t: Any, t: Any, condition: Condition) -> Posterior[Any]:
        start = next(starts)
        return posterior[start : start + n]

    return Denoiser.from_function(denoiser.process, answer, denoiser.sigma_data)
