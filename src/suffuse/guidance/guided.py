"""Guidance by a reference: another denoiser, no condition, or a negative one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.denoiser import Denoiser
from suffuse.guidance.rules import Rule, Tilted
from suffuse.parameterizations import Direct
from suffuse.posteriors import Posterior
from suffuse.processes import Time
from suffuse.tree import (
    PRESENT,
    Condition,
    State,
    batch_size,
    concatenate,
    latest,
    map_leaves,
    presence,
    value_names,
    without,
)

Interval = tuple[float, float]
Weight = float | Callable[[Tensor], Tensor]
"""A number, or a function of times in [0, 1] to numbers."""
_PLAIN = Tilted()


class Guided(Denoiser):
    """A denoiser that goes on from a reference; with a worse version of itself as reference, autoguidance.

    Both are asked. Use it with a smaller or less trained model of the same data to take away what both get wrong,
    without the loss of variety that comes with :class:`ClassifierFree`.

    Sources: "Guiding a Diffusion Model with a Bad Version of Itself" (Karras et al., 2024); "Applying Guidance in a
    Limited Interval Improves Sample and Distribution Quality in Diffusion Models" (Kynkaanniemi et al., 2024).

    Args:
        main: the denoiser to follow.
        reference: the denoiser to go away from, over the same process.
        weight: 1 is the main denoiser alone, 0 the reference; a function of t for a schedule.
        interval: times (low, high) between which to guide; elsewhere the main denoiser answers alone.
        rule: how the two answers are joined.

    Example:
        >>> import suffuse as sf
        >>> process = sf.Gaussian(sf.schedules.Flow())
        >>> good, bad = (sf.exact.GaussianMixture(torch.zeros(1, 1), torch.tensor([s])) for s in (1.0, 2.0))
        >>> guided = Guided(good.denoiser(process), bad.denoiser(process), 2.0)
        >>> guided(torch.ones(1, 1), 0.5).mean  # twice 1 less 1.6
        tensor([[0.4000]])
    """

    def __init__(
        self,
        main: Denoiser,
        reference: Denoiser,
        weight: Weight,
        interval: Interval = (0.0, 1.0),
        rule: Rule = _PLAIN,
    ) -> None:
        forward = _Pair(main, reference, _Strength(weight, interval), rule)
        super().__init__(forward, main.process, Direct(main.sigma_data, main.parameterization), main.shape)


class ClassifierFree(Denoiser):
    """Guidance by the same denoiser without its condition, both evaluated in one batch.

    Source: "Classifier-Free Diffusion Guidance" (Ho, Salimans, 2022).

    Args:
        denoiser: a denoiser that was trained with dropped conditions.
        weight: 1 is no guidance, 0 ignores the condition, above 1 goes further; a function of t for a schedule.
        interval: times (low, high) between which to guide.
        drop: names of the conditions to take away; None means all.
        rule: how the two answers are joined.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        weight: Weight,
        interval: Interval = (0.0, 1.0),
        drop: set[str] | None = None,
        rule: Rule = _PLAIN,
    ) -> None:
        def reference(condition: Condition) -> Condition:
            return without(condition, drop)

        forward = _Twice(denoiser, reference, _Strength(weight, interval), rule)
        super().__init__(forward, denoiser.process, Direct(denoiser.sigma_data), denoiser.shape)


class Negative(Denoiser):
    """Guidance away from a condition that is not wanted, both evaluated in one batch.

    Source: "Compositional Visual Generation with Composable Diffusion Models" (Liu, Li, Du, Torralba, Tenenbaum, 2022).

    Args:
        denoiser: a denoiser with conditions.
        negative: what not to draw: (1, ...) or (B, ...) by name; a name that is left out stays as it was asked for.
        weight: 1 is no guidance, 0 draws the negative.
        interval: times (low, high) between which to guide.
        rule: how the two answers are joined.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        negative: dict[str, Tensor],
        weight: Weight,
        interval: Interval = (0.0, 1.0),
        rule: Rule = _PLAIN,
    ) -> None:
        def reference(condition: Condition) -> Condition:
            return replaced(condition, negative)

        forward = _Twice(denoiser, reference, _Strength(weight, interval), rule)
        super().__init__(forward, denoiser.process, Direct(denoiser.sigma_data), denoiser.shape)


def replaced(condition: Condition, other: Condition) -> Condition:
    """The conditions, with some of them replaced for all items."""
    if condition is None or other is None:
        return condition
    items = len(next(iter(condition.values())))
    result = dict(condition)
    for name in value_names(other):
        result[name] = other[name].expand(items, *other[name].shape[1:])
        there = other.get(name + PRESENT, torch.ones(1, dtype=torch.bool, device=other[name].device))
        result[name + PRESENT] = there.expand(items)
    return result


class _Strength:
    """The weight at a time: 1 outside the interval, whose ends are inside."""

    def __init__(self, weight: Weight, interval: Interval) -> None:
        self.weight, self.interval = weight, interval

    def at(self, t: Time) -> float | Tensor:
        """A number where one serves all items, otherwise (B,)."""
        t = latest(t)
        inside = (t >= self.interval[0]) & (t <= self.interval[1])
        weight = self.weight(t.double()) if callable(self.weight) else torch.tensor(self.weight, dtype=torch.float64)
        weight = torch.where(inside, weight.to(inside.device), 1.0)
        same = weight.flatten()[0]
        return float(same) if bool((weight == same).all()) else weight


class _Pair(nn.Module):
    """Two denoisers."""

    def __init__(self, main: Denoiser, reference: Denoiser, strength: _Strength, rule: Rule) -> None:
        super().__init__()
        self.main, self.reference, self.strength, self.rule = main, reference, strength, rule

    def forward(self, x_t: State, t: Time, condition: Condition) -> Posterior[Any]:
        main, weight = self.main(x_t, t, condition), self.strength.at(t)
        return main if _is_one(weight) else self.rule(main, self.reference(x_t, t, condition), weight)


class _Twice(nn.Module):
    """One denoiser, told two things."""

    def __init__(
        self, denoiser: Denoiser, reference: Callable[[Condition], Condition], strength: _Strength, rule: Rule
    ) -> None:
        super().__init__()
        self.denoiser, self.reference, self.strength, self.rule = denoiser, reference, strength, rule

    def forward(self, x_t: State, t: Time, condition: Condition) -> Posterior[Any]:
        weight = self.strength.at(t)
        if condition is None or _is_one(weight):
            return self.denoiser(x_t, t, condition)
        main, reference = asked_together(self.denoiser, x_t, t, [condition, self.reference(condition)])
        return self.rule(main, reference, weight)


def _is_one(weight: float | Tensor) -> bool:
    return not isinstance(weight, Tensor) and weight == 1.0


def asked_together(denoiser: Denoiser, x_t: State, t: Time, conditions: Sequence[Condition]) -> list[Posterior[Any]]:
    """The answers for several conditions, from one call."""
    times, n = len(conditions), batch_size(x_t)
    moments = map_leaves(lambda leaf: torch.cat([leaf] * times) if isinstance(leaf, Tensor) and leaf.ndim else leaf, t)
    posterior = denoiser(concatenate([x_t] * times), moments, _joined(conditions))
    return [posterior[k * n : (k + 1) * n] for k in range(times)]


def _joined(conditions: Sequence[Condition]) -> Condition:
    """Along the batch axis, each with a mask for every name that any of them has."""
    known = {name: told[name] for told in conditions if told is not None for name in value_names(told)}

    def masked(told: Condition) -> dict[str, Tensor]:
        full: dict[str, Tensor] = {}
        for name, like in known.items():
            there = told is not None and name in told
            full[name] = told[name] if told is not None and there else like
            absent = torch.zeros(len(like), dtype=torch.bool, device=like.device)
            full[name + PRESENT] = presence(told, name) if told is not None and there else absent
        return full

    return concatenate([masked(told) for told in conditions]) if known else None
