r"""Training objectives: :math:`E_t \, w(t) \, (-\log q(x_0 | x_t))`:
the law of t, the weight and the coupling are parts.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.grids import TimeLaw, Uniform
from suffuse.parameterizations import Affine, Bridged, Wiener
from suffuse.patterns import Pattern
from suffuse.posteriors import Joint, Posterior
from suffuse.processes import Bridge, Gaussian, Heat, Process, Product
from suffuse.rng import RandomSource, Streams, streams
from suffuse.tree import Condition, State, clean_where, device, expand, map_leaves, mean_per_item, without

EARLIEST = 1e-5
"""Training looks at no earlier time: the bound's integrand is singular at t = 0."""


@dataclass(frozen=True)
class When:
    """The times of a batch.

    Args:
        t: (B,) of its items; where elements have times of their own, the latest.
        density: (B,) of the law that these were drawn from.
        times: of elements, where they have some of their own; else t.
    """

    t: Tensor
    density: Tensor
    times: Any

    def of(self, name: str) -> "When":
        """Of one leaf of a Product."""
        return replace(self, times=self.times[name]) if isinstance(self.times, Mapping) else self


class Weight(nn.Module, ABC):
    """How much an error counts at each level of noise. A module, since a weight may be learned."""

    process: type[Process[Any]] = Process
    """The processes that it fits."""

    def check(self, process: Process[Any]) -> None:
        """Refuse, in one sentence, a process that it does not fit."""
        if not isinstance(process, self.process):
            raise UserError(
                f"{type(self).__name__} weighs {self.process.__name__} processes only, "
                f"not {type(process).__name__}; ELBOWeight fits every process"
            )

    @abstractmethod
    def forward(self, process: Process[Any], x0: State, x_t: State, posterior: Posterior[Any], when: When) -> State:
        """Loss per element, unreduced.

        Args:
            process: how the data was destroyed.
            x0: clean state.
            x_t: noisy state.
            posterior: the denoiser's answer.
            when: the times.
        """


class ELBOWeight(Weight):
    r"""The variational bound: the process's integrand over the density of the time law;
    :math:`\tfrac12 |d\mathrm{SNR}/dt| / p(t)` for Gaussians.

    Source: "Variational Diffusion Models" (Kingma, Salimans, Poole, Ho, 2021).
    """

    def forward(self, process: Process[Any], x0: State, x_t: State, posterior: Posterior[Any], when: When) -> State:
        """See the base class."""
        integrand = process.elbo(x0, x_t, posterior, when.t)
        return map_leaves(lambda leaf: leaf / expand(when.density, leaf).to(leaf.dtype), integrand)


class UniformWeight(Weight):
    r""":math:`-\log q(x_0 | x_t)` as it is: half the squared error, or the cross-entropy."""

    def forward(self, process: Process[Any], x0: State, x_t: State, posterior: Posterior[Any], when: When) -> State:
        """See the base class."""
        return map_leaves(torch.neg, posterior.log_prob(x0))


class OutputWeight(Weight):
    r""":math:`c_{\text{out}}^{-2}` of the form of a network's output: unit error of that output at every time.

    Source: "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras, Aittala, Aila, Laine, 2022);
    of ``EDM`` it is theirs, :math:`(\tilde\sigma^2 + s^2) / (\tilde\sigma s)^2` with
    :math:`\tilde\sigma = \sigma / \alpha`.

    Args:
        form: the meaning of the output.
    """

    def __init__(self, form: Affine | Bridged | Wiener) -> None:
        super().__init__()
        self._form = (form,)  # what is measured in it is the denoiser's, and is not saved twice
        self.process = form.process

    @property
    def form(self) -> Affine | Bridged | Wiener:
        """The meaning of the output."""
        return self._form[0]

    def forward(self, process: Process[Any], x0: State, x_t: State, posterior: Posterior[Any], when: When) -> State:
        """See the base class."""
        assert isinstance(x0, Tensor)
        known: Any = process
        t = when.times if isinstance(self.form, Wiener) else when.t
        return self.form.weight(t, known, x0) * (x0 - posterior.mean) ** 2


class MinSNRWeight(Weight):
    r""":math:`\min(\mathrm{SNR}, \gamma)` on the squared error in x_0, whatever the parameterization; for Gaussian
    processes.

    Source: "Efficient Diffusion Training via Min-SNR Weighting Strategy" (Hang et al., 2023).

    Args:
        gamma: the ceiling, positive.
    """

    process = Gaussian

    def __init__(self, gamma: float = 5.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, process: Process[Any], x0: State, x_t: State, posterior: Posterior[Any], when: When) -> State:
        """See the base class."""
        assert isinstance(process, Gaussian)
        assert isinstance(x0, Tensor)
        alpha_t, sigma_t = process.coordinates(when.t, x0)
        return ((alpha_t / sigma_t) ** 2).clamp(max=self.gamma) * (x0 - posterior.mean) ** 2


class HeatWeight(Weight):
    """For heat, another weight for each frequency, at its own signal-to-noise ratio.

    Args:
        base: a weight of Gaussian processes.
    """

    process = Heat

    def __init__(self, base: Weight) -> None:
        super().__init__()
        self.base = base

    def forward(self, process: Process[Any], x0: State, x_t: State, posterior: Posterior[Any], when: When) -> State:
        """Per coefficient."""
        assert isinstance(process, Heat)
        assert isinstance(x0, Tensor)
        assert isinstance(x_t, Tensor)
        inner, within = process.along(x0), process.within(posterior)
        return self.base(inner, process.to(x0), process.to(x_t), within, when)


class LearnedWeight(Weight):
    r"""Another weight, made even over the levels of noise by a learned uncertainty:
    :math:`L e^{-u(\lambda)} + u(\lambda)`.

    u is a small function of the level, trained with the network; at its best it is the log of the mean loss there.

    Source: "Analyzing and Improving the Training Dynamics of Diffusion Models" (Karras et al., 2024), section 2.2.

    Args:
        base: the weight to even out.
        features: number of cosine features of the level.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, base: Weight, features: int = 64) -> None:
        super().__init__()
        self.base = base
        spread = torch.arange(features, dtype=torch.float32)
        # Fixed, evenly spread: periods from the whole range of log-SNR down to two units of it.
        self.register_buffer("frequencies", math.pi / 40 * (1 + spread // 2))
        self.register_buffer("phases", math.pi / 2 * (spread % 2))
        self.linear = nn.Linear(features, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def check(self, process: Process[Any]) -> None:
        """As the base."""
        self.base.check(process)

    def forward(self, process: Process[Any], x0: State, x_t: State, posterior: Posterior[Any], when: When) -> State:
        """See the base class."""
        level = process.level(when.t)
        if not isinstance(level, Tensor):
            raise UserError("LearnedWeight has one uncertainty for one level; a Product has several, so use ELBOWeight")
        angle = level.to(self.frequencies.dtype)[:, None] * self.frequencies + self.phases
        u = self.linear(torch.cos(angle) * math.sqrt(2 / len(self.frequencies))).squeeze(1)
        loss = self.base(process, x0, x_t, posterior, when)
        return map_leaves(lambda leaf: leaf * torch.exp(-expand(u, leaf)) + expand(u, leaf), loss)


class Coupling(ABC):
    """Which noise, or which source, goes with which data. The independent coupling is None."""

    @abstractmethod
    def pair(self, x0: Tensor, noise: Tensor) -> Tensor:
        """The noise, (B, ...), in the order of its partners; over the global batch where there are several devices."""


class Assignment(Coupling):
    """The pairing of a batch with the least total squared distance.

    Source: "Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport" (Tong et al.,
    2024).
    """

    def pair(self, x0: Tensor, noise: Tensor) -> Tensor:
        """See the class; needs scipy."""
        try:
            from scipy.optimize import linear_sum_assignment
        except ImportError as missing:
            raise UserError("the optimal coupling needs scipy: pip install 'suffuse[coupling]'") from missing
        cost = torch.cdist(x0.flatten(1).double(), noise.flatten(1).double()) ** 2
        return noise[torch.as_tensor(linear_sum_assignment(cost.cpu().numpy())[1], device=noise.device)]


class Sinkhorn(Coupling):
    r"""Partners drawn from the entropic plan :math:`\arg\min_P \langle P, C \rangle - \epsilon H(P)` with even
    marginals.

    Source: "Sinkhorn Distances: Lightspeed Computation of Optimal Transport" (Cuturi, 2013), in the log domain.

    Args:
        epsilon: weight of the entropy, positive.
        relative: whether epsilon is a share of the mean squared distance, or a squared distance itself. With
            :math:`2 \sigma^2` of a ``Bridge`` the pairs are those of its Schroedinger bridge: "Simulation-Free
            Schroedinger Bridges via Score and Flow Matching" (Tong et al., 2024).
        iterations: of the alternating projections.
        seed: of the draw of partners.
    """

    def __init__(self, epsilon: float = 0.05, iterations: int = 100, seed: int = 0, relative: bool = True) -> None:
        self.relative = relative
        self.epsilon, self.iterations, self.seed = epsilon, iterations, seed

    def log_plan(self, x0: Tensor, noise: Tensor) -> Tensor:
        """Logarithm of the (B, B) plan; its rows sum to one."""
        cost = torch.cdist(x0.flatten(1).double(), noise.flatten(1).double()) ** 2
        kernel = -cost / (self.epsilon * cost.mean() if self.relative else self.epsilon)
        potential = torch.zeros_like(kernel[0])
        for _ in range(self.iterations):
            potential = -(kernel - (kernel + potential).logsumexp(1, keepdim=True)).logsumexp(0)
        return kernel + potential - (kernel + potential).logsumexp(1, keepdim=True)

    def pair(self, x0: Tensor, noise: Tensor) -> Tensor:
        """See the class."""
        total = self.log_plan(x0, noise).exp().cumsum(1)
        rng = Streams.of(self.seed, torch.arange(len(x0), device=x0.device))
        # The draw must differ from batch to batch: the noise itself, fresh in every batch, says how.
        u = (rng.uniform(total[:, 0]) + noise.flatten(1).double().sum(1)).remainder(1)
        return noise[torch.searchsorted(total, u[:, None] * total[:, -1:]).squeeze(1).clamp(max=len(x0) - 1)]


class Objective(nn.Module):
    r"""The loss of a denoiser, per item: the mean over an item's elements of :math:`w(t) \, (-\log q(x_0 | x_t))`.

    Times are spread evenly over consecutive samples, through the law's quantiles; noise comes from each sample's own
    stream.

    Args:
        law: distribution of t.
        weight: of the error at each level.
        coupling: of noise and data, or of a bridge's sources and data; None is the independent one. Others need
            ``Gaussian(schedule, coupled=True)`` or a ``Bridge``.
        dropout: share of the items whose conditions are taken away, for classifier-free guidance.
        pattern: which parts of an item are shown clean, at time 0, and are not asked for; None shows none. A denoiser
            that was trained so can be told parts of what it draws, see ``suffuse.Given``.

    Example:
        >>> import suffuse as sf
        >>> ones = sf.Denoiser.from_function(sf.Gaussian(sf.schedules.Flow()), lambda x_t, t, c: torch.ones_like(x_t))
        >>> Objective(weight=UniformWeight())(ones, torch.zeros(2, 3), rng=0)
        tensor([0.5000, 0.5000])
    """

    def __init__(
        self,
        law: TimeLaw | None = None,
        weight: Weight | None = None,
        coupling: Coupling | None = None,
        dropout: float = 0.0,
        pattern: Pattern | None = None,
    ) -> None:
        super().__init__()
        self.law: TimeLaw = law or Uniform()
        self.weight = weight or ELBOWeight()
        self.coupling, self.dropout, self.pattern = coupling, dropout, pattern

    def forward(
        self,
        denoiser: Denoiser,
        x0: State,
        condition: Condition = None,
        rng: RandomSource = None,
        source: State | None = None,
    ) -> Tensor:
        """Loss of each item, (B,).

        Args:
            denoiser: what is trained.
            x0: clean state.
            condition: what the denoiser is told.
            rng: source of randomness, one stream per item.
            source: state at t = 1 that is paired with the data: a bridge's source, or noise from :meth:`pair`.
        """
        process = denoiser.process
        self._check(process, source)
        rng = streams(rng, x0)
        if source is None:
            source = self.pair(x0, rng)
        t = self.law.quantile(rng.low_discrepancy()).clamp(min=EARLIEST).to(device(x0))
        if self.dropout > 0:
            keep = rng.fold("dropout").uniform(torch.empty(t.shape, device=t.device)) >= self.dropout
            condition = without(condition, keep=keep)
        given = None if self.pattern is None else self.pattern.draw(x0, rng.fold("given"))
        times: Any = t if given is None else clean_where(given, t)
        x_t = process.corrupt(x0, times, rng, source)
        posterior = denoiser(x_t, times, condition)
        loss = self.weight(process, x0, x_t, posterior, When(t, self.law.density(t), times))
        if given is not None:
            loss = map_leaves(lambda leaf, clean: leaf.masked_fill(clean, 0.0), loss, given)
        return mean_per_item(loss)

    def pair(self, x0: State, rng: Streams, source: State | None = None) -> State | None:
        """Noise, or sources in any order, paired with the data by the coupling; where there is none, as they are."""
        if self.coupling is None:
            return source
        assert isinstance(x0, Tensor)
        noise = rng.fold("coupling").normal(x0) if source is None else source
        assert isinstance(noise, Tensor)
        return self.coupling.pair(x0, noise)

    def _check(self, process: Process[Any], source: State | None) -> None:
        self.weight.check(process)
        between = isinstance(process, Bridge) and source is not None
        known = between or (isinstance(process, Gaussian) and process.coupled)
        if self.coupling is not None and not known:
            raise UserError(
                "a coupling makes noise depend on the data, and the process must know it: "
                "use Gaussian(schedule, coupled=True), or a Bridge from a source"
            )


class EachWeight(Weight):
    """A weight per leaf, for a Product; leaves that the process does not have need none.

    Args:
        parts: weight of each leaf.
    """

    process = Product

    def __init__(self, parts: Mapping[str, Weight]) -> None:
        super().__init__()
        self.names, self.weights = list(parts), nn.ModuleList(parts.values())  # a ModuleDict refuses some names

    def check(self, process: Process[Any]) -> None:
        """Leaf by leaf."""
        super().check(process)
        assert isinstance(process, Product)
        for name, part in zip(self.names, self.weights, strict=True):
            assert isinstance(part, Weight)
            if name in process.parts:
                part.check(process.parts[name])

    def forward(self, process: Process[Any], x0: State, x_t: State, posterior: Posterior[Any], when: When) -> State:
        """Leaf by leaf."""
        assert isinstance(process, Product)
        assert isinstance(posterior, Joint)
        assert isinstance(x0, Mapping)
        assert isinstance(x_t, Mapping)
        return {
            name: part(process.parts[name], x0[name], x_t[name], posterior.parts[name], when.of(name))
            for name, part in zip(self.names, self.weights, strict=True)
            if name in process.parts
        }


WEIGHTS: dict[str, type[Weight]] = {
    "elbo": ELBOWeight,
    "uniform": UniformWeight,
    "edm": OutputWeight,
    "min-snr": MinSNRWeight,
    "learned": LearnedWeight,
}
"""Every weight by its name in a recipe; the law tests run over it."""
