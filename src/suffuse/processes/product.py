"""Products: a process per leaf of a mapping, for mixed data."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from suffuse.posteriors import Joint, Posterior
from suffuse.processes.base import Process, Time
from suffuse.rng import RandomSource, streams


class Product(Process[Mapping[str, Any]]):
    """A mapping of independent processes over a mapping of states; the posterior is a ``Joint``.

    A time may be one for all leaves, or a mapping with one per leaf. Within one step the leaves are drawn
    independently: their dependence is built up over the steps.

    Args:
        parts: process of each leaf.

    Example:
        >>> import torch, suffuse as sf
        >>> process = sf.Product({"x": sf.Gaussian(sf.schedules.Flow()), "kind": sf.Discrete.masked(3)})
        >>> process.corrupt({"x": torch.ones(1, 1), "kind": torch.zeros(1, 1, dtype=torch.int64)}, 0.0)
        {'x': tensor([[1.]]), 'kind': tensor([[0]])}
    """

    def __init__(self, parts: Mapping[str, Process[Any]]) -> None:
        self.parts = dict(parts)

    def prior(self, like: Mapping[str, Any], rng: RandomSource = None) -> Mapping[str, Any]:
        """Leaf by leaf, each with streams of its own."""
        rng = streams(rng, like)
        return {name: part.prior(_at(like, name), rng.fold(name)) for name, part in self.parts.items()}

    def corrupt(
        self, x0: Mapping[str, Any], t: Time, rng: RandomSource = None, source: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Leaf by leaf."""
        rng = streams(rng, x0)
        return {
            name: part.corrupt(_at(x0, name), _at(t, name), rng.fold(name), _at(source, name))
            for name, part in self.parts.items()
        }

    def forward(
        self,
        x_s: Mapping[str, Any],
        s: Time,
        t: Time,
        rng: RandomSource = None,
        source: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Leaf by leaf."""
        rng = streams(rng, x_s)
        return {
            name: part.forward(_at(x_s, name), _at(s, name), _at(t, name), rng.fold(name), _at(source, name))
            for name, part in self.parts.items()
        }

    def reverse(
        self,
        x_t: Mapping[str, Any],
        posterior: Posterior[Mapping[str, Any]],
        t: Time,
        s: Time,
        rng: RandomSource = None,
        eta: float = 1.0,
        source: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Leaf by leaf."""
        assert isinstance(posterior, Joint)
        rng = streams(rng, x_t)
        return {
            name: part.reverse(
                _at(x_t, name),
                posterior.parts[name],
                _at(t, name),
                _at(s, name),
                rng.fold(name),
                eta,
                _at(source, name),
            )
            for name, part in self.parts.items()
        }

    def restrict(self, posterior: Posterior[Mapping[str, Any]], x_t: Mapping[str, Any], t: Time) -> Joint:
        """Leaf by leaf."""
        assert isinstance(posterior, Joint)
        return Joint(
            {
                name: part.restrict(posterior.parts[name], _at(x_t, name), _at(t, name))
                for name, part in self.parts.items()
            }
        )

    def level(self, t: Time) -> Mapping[str, Any]:
        """A mapping with the level of each leaf."""
        return {name: part.level(_at(t, name)) for name, part in self.parts.items()}

    def elbo(
        self, x0: Mapping[str, Any], x_t: Mapping[str, Any], posterior: Posterior[Mapping[str, Any]], t: Time
    ) -> Mapping[str, Any]:
        """Leaf by leaf; the bound of the whole is the sum."""
        assert isinstance(posterior, Joint)
        return {
            name: part.elbo(_at(x0, name), _at(x_t, name), posterior.parts[name], _at(t, name))
            for name, part in self.parts.items()
        }

    def decoder(self, posterior: Posterior[Mapping[str, Any]], t: Time) -> Joint:
        """Leaf by leaf."""
        assert isinstance(posterior, Joint)
        return Joint({name: part.decoder(posterior.parts[name], _at(t, name)) for name, part in self.parts.items()})

    def baseline_posterior(
        self, x_t: Mapping[str, Any], t: Time, scale: float, source: Mapping[str, Any] | None = None
    ) -> Joint:
        """Leaf by leaf."""
        return Joint(
            {
                name: part.baseline_posterior(_at(x_t, name), _at(t, name), scale, _at(source, name))
                for name, part in self.parts.items()
            }
        )

    def baseline_bound(self, x0: Mapping[str, Any], scale: float) -> Mapping[str, Any]:
        """Leaf by leaf."""
        return {name: part.baseline_bound(_at(x0, name), scale) for name, part in self.parts.items()}


def _at(value: Any, name: str) -> Any:
    """The leaf of a mapping, or the value that serves all leaves."""
    if isinstance(value, Mapping):
        return value[name]
    assert value is None or isinstance(value, Tensor | float | int)
    return value
