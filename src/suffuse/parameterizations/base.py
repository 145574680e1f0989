"""What every parameterization answers, and those that need no mathematics."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from suffuse.errors import UserError
from suffuse.posteriors import Categorical, Joint, Normal, Posterior
from suffuse.processes import Discrete, Process, Product, Time
from suffuse.processes.base import as_time
from suffuse.tree import State, latest


class Parameterization(ABC):
    """The meaning of a network's inputs and outputs."""

    process: ClassVar[type[Process[Any]]] = Process
    """The processes that it fits."""
    sigma_data: float = 1.0
    """Deviation of the data, where that has a meaning."""

    def check(self, process: Process[Any]) -> None:
        """Refuse, in one sentence, a process that does not fit."""
        if not isinstance(process, self.process):
            raise UserError(
                f"{type(self).__name__} is a parameterization for {self.process.__name__} processes, "
                f"not for {type(process).__name__}"
            )

    @abstractmethod
    def inputs(self, x_t: Any, t: Any, process: Any) -> tuple[Any, Any]:
        """What the network is given: the scaled state, and the level of noise."""

    @abstractmethod
    def posterior(self, output: Any, x_t: Any, t: Any, process: Any) -> Posterior[Any]:
        """Read the network's output as a posterior."""

    def left(self, noise: Tensor, x_t: Tensor, t: Time, process: Any) -> Tensor:
        r"""White noise (B, ...) made a draw of what x_t leaves open of data that is known by its deviation alone.

        For a Gaussian process, of independent elements of deviation s, :math:`\sigma_t s / \sqrt{\alpha_t^2 s^2 +
        \sigma_t^2}` of it; where elements have times of their own, at the latest.
        """
        alpha_t, sigma_t = process.coordinates(latest(as_time(t, x_t)), x_t)
        return sigma_t * self.sigma_data * (alpha_t**2 * self.sigma_data**2 + sigma_t**2).rsqrt() * noise


class Logits(Parameterization):
    """Logits (B, ..., V) of the clean token."""

    process = Discrete

    def inputs(self, x_t: Tensor, t: Time, process: Discrete) -> tuple[Tensor, Tensor]:
        """The tokens as they are."""
        return x_t, process.level(as_time(t, x_t)).float()

    def posterior(self, output: Tensor, x_t: Tensor, t: Time, process: Discrete) -> Categorical:
        """Categorical."""
        return Categorical(output)


class Each(Parameterization):
    """A parameterization per leaf, for a Product; the network takes and gives mappings."""

    process = Product

    def __init__(self, parts: Mapping[str, Parameterization]) -> None:
        self.parts = dict(parts)

    def check(self, process: Process[Any]) -> None:
        """Leaf by leaf."""
        super().check(process)
        assert isinstance(process, Product)
        for name, part in self.parts.items():
            part.check(process.parts[name])

    def inputs(self, x_t: Mapping[str, Any], t: Any, process: Product) -> tuple[State, State]:
        """Leaf by leaf."""
        pairs = {n: p.inputs(x_t[n], _at(t, n), process.parts[n]) for n, p in self.parts.items()}
        return {n: pair[0] for n, pair in pairs.items()}, {n: pair[1] for n, pair in pairs.items()}

    def posterior(self, output: Any, x_t: Mapping[str, Any], t: Any, process: Product) -> Joint:
        """Leaf by leaf."""
        parts = self.parts.items()
        return Joint({n: p.posterior(output[n], x_t[n], _at(t, n), process.parts[n]) for n, p in parts})


class Direct(Parameterization):
    """No map at all: the "network" is a function of (x_t, t, condition) that gives a posterior or its mean.

    Args:
        sigma_data: deviation of the data.
        known: the form of a network that the function asks, if it says more of the data than its deviation.
    """

    def __init__(self, sigma_data: float = 1.0, known: Parameterization | None = None) -> None:
        self.sigma_data, self.known = sigma_data, known

    def left(self, noise: Tensor, x_t: Tensor, t: Time, process: Any) -> Tensor:
        """As of the form of a network that the function asks, where that is given."""
        known = super() if self.known is None else self.known
        return known.left(noise, x_t, t, process)

    def inputs(self, x_t: State, t: Time, process: Process[Any]) -> tuple[State, Time]:
        """As they are."""
        return x_t, t

    def posterior(self, output: Any, x_t: State, t: Time, process: Process[Any]) -> Posterior[Any]:
        """A tensor is the mean of a Normal whose variance is not known; a mapping, of one for each leaf."""
        if isinstance(output, Posterior):
            return output
        if isinstance(output, Mapping):
            return Joint({name: self.posterior(leaf, x_t, t, process) for name, leaf in output.items()})
        return Normal(output)


def _at(t: Any, name: str) -> Any:
    return t[name] if isinstance(t, Mapping) else t
