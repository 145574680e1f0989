"""Linear multistep methods: one evaluation a step, and a polynomial through the last ones."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.processes import Gaussian
from suffuse.rng import Streams
from suffuse.samplers.base import Sampler
from suffuse.samplers.integrals import (
    Data,
    Form,
    LogRatio,
    Noise,
    Place,
    Scales,
    Step,
    Straight,
    Velocity,
    coefficients,
    earlier,
    fused,
    integrals,
    scales,
)
from suffuse.tree import Condition, State


class Plan(NamedTuple):
    """The numbers of one step."""

    step: Step
    """Of the posterior mean here, and of the quantities at the nodes before, newest first."""
    quantity: float | None
    """Factor of the mean beside that of the state in what is kept; where there is none, the mean itself is."""
    noise: float


class Memory(NamedTuple):
    """What one step leaves to the next."""

    plans: Sequence[Plan]
    number: int = 0
    quantities: tuple[Tensor, ...] = ()
    """At the last nodes, newest first."""


class LinearMultistep(Sampler):
    r"""A step by the polynomial through the last quantities of a form; see :mod:`suffuse.samplers.integrals`.

    With a corrector, each step is taken once more when the quantity at its end is known, at the state that was
    predicted: the polynomial then goes through that one too. It costs no evaluation, and raises the order by one.

    Args:
        terms: number of quantities that a step uses, the order of the predictor.
        corrector: whether there is one.
        eta: share of the noise.
    """

    process = Gaussian
    one_step = False
    orders: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(self, terms: int, corrector: bool, eta: float = 0.0) -> None:
        if terms not in self.orders:
            raise ValueError(f"{type(self).__name__} has orders {_listed(self.orders)}, got {terms}")
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        self.terms, self.corrector, self.eta = terms, corrector, eta
        # With noise, how the mean answers to the noise of its own step is not followed.
        self.order = terms + corrector if eta == 0 else min(terms + corrector, 2)
        self.stochastic = eta > 0

    @abstractmethod
    def form(self, denoiser: Denoiser) -> Form:
        """How the ODE is written."""

    @abstractmethod
    def place(self, denoiser: Denoiser) -> Place:
        """The variable of the polynomial."""

    def weights(self, form: Form, place: Place, start: Scales, end: Scales, nodes: Sequence[Scales]) -> Tensor:
        """Of the quantity at all nodes but the first."""
        return integrals(form, place, start, end, nodes)

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> Memory:
        """All coefficients, as numbers."""
        process = denoiser.process
        assert isinstance(process, Gaussian)
        if self.stochastic:
            process.refuse_coupled("noise on the way (eta > 0)")
        form, place = self.form(denoiser), self.place(denoiser)
        at = scales(process.schedule, times)
        start, end = at.pick(slice(-1)), at.pick(slice(1, None))
        nodes = [earlier(start, steps) for steps in range(self.terms)]
        predict = self.weights(form, place, start, end, nodes)
        if self.corrector:
            correct = integrals(form, place, start, end, [start, end, *nodes[1:]])
            steps = fused(form, start, end, predict, correct)
        else:
            steps = coefficients(form, start, end, predict)
        noise = form.noise(start, end).tolist() if isinstance(form, Data) else [0.0] * len(start.t)
        p, r = form.quantity(start)
        if not p.any():
            return Memory([Plan(step, None, size) for step, size in zip(steps.rows(), noise, strict=True)])
        # What is kept is q / p, which takes one operation less.
        back = steps.others.shape[1]
        units = torch.nn.functional.pad(p[:-1], (back, 0)).unfold(0, back, 1).flip(1)
        steps = steps._replace(others=steps.others * units)
        return Memory([Plan(*row) for row in zip(steps.rows(), (r / p).tolist(), noise, strict=True)])

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Memory, rng: Streams
    ) -> tuple[State, Memory]:
        """See the class."""
        plan = state.plans[state.number]
        mean = denoiser(x_t, t, condition).mean
        x_s = plan.step.take(x_t, mean, state.quantities)
        if plan.noise > 0:
            x_s = x_s.add_(rng.fold("reverse").brownian(x_t, t, s), alpha=plan.noise)
        q = mean if plan.quantity is None else torch.add(x_t, mean, alpha=plan.quantity)
        return x_s, Memory(state.plans, state.number + 1, (q, *state.quantities[: self.terms + self.corrector - 2]))


def _listed(orders: Sequence[int]) -> str:
    return ", ".join(map(str, orders[:-1])) + f" and {orders[-1]}"


class Adams(LinearMultistep):
    r"""Adams' method on the velocity of the straightened flow: the fewest evaluations for a given error.

    With c the deviation of the data, :math:`y = x / (c \alpha + \sigma)` moves over
    :math:`\tau = \sigma / (c \alpha + \sigma)` as

    .. math:: \frac{dy}{d\tau} = E[\varepsilon - x_0 / c \, | \, x_t],

    whose right side hardly changes where data is far from or near to being decided, and is finite at both ends. It is
    extrapolated through the last steps (Bashforth) and each step is corrected when its end is known (Moulton), at no
    further evaluation. Use it with ``grids.straight``, whose steps are even in :math:`\tau`.

    Sources: the methods of Adams, as in "Solving Ordinary Differential Equations I" (Hairer, Norsett, Wanner, 1993);
    the velocity as in "Flow Straight and Fast" (Liu, Gong, Liu, 2023), here in units of the data.

    Args:
        order: 1 to 4, the number of velocities that are extrapolated.
        corrector: whether steps are corrected.
        scale: c, in deviations of the data.
    """

    orders = (1, 2, 3, 4)

    def __init__(self, order: int = 3, corrector: bool = True, scale: float = 1.0) -> None:
        if not scale > 0:
            raise ValueError(f"a scale must lie in (0, inf), got {scale}")
        super().__init__(order, corrector)
        self.scale = scale

    def form(self, denoiser: Denoiser) -> Form:
        """See the class."""
        return Velocity(self.scale * denoiser.sigma_data)

    def place(self, denoiser: Denoiser) -> Place:
        """See the class."""
        return Straight(self.scale * denoiser.sigma_data)


class Multistep(LinearMultistep):
    r"""DPM-Solver++ of order 1 to 3: the posterior mean is extrapolated through the last steps.

    The probability-flow ODE has the exact solution, with :math:`\rho = \alpha / \sigma`,

    .. math:: x_s = \frac{\sigma_s}{\sigma_t} x_t + \sigma_s \int_{\rho_t}^{\rho_s} E[x_0 | x_\rho] \, d\rho,

    and the mean is taken for a polynomial: here one in :math:`\tau = \sigma / (c \alpha + \sigma)`, which is finite
    at both ends, so that walks may start at :math:`\alpha = 0` and end at :math:`\sigma = 0` without a special case,
    and in which the mean is smoother than in the log-SNR. The step is affine in posterior means alone, and so keeps
    to what they keep to. Use it with guidance and many steps.

    Source: "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models" (Lu, Zhou, Bao, Chen,
    Li, Zhu, 2022), whose polynomial is in the log-SNR.

    Args:
        order: 1, 2 or 3.
    """

    def __init__(self, order: int = 2) -> None:
        super().__init__(order, corrector=False)

    def form(self, denoiser: Denoiser) -> Form:
        """See the class."""
        return Data(self.eta)

    def place(self, denoiser: Denoiser) -> Place:
        """See the class."""
        return Straight(denoiser.sigma_data)


class MultistepSDE(Multistep):
    r"""DPM-Solver++ for the reverse SDE: :class:`Multistep` with fresh noise at every step, on a Brownian path.

    With a share :math:`\eta` of the noise (1 for the reverse SDE itself, 0 for the ODE),

    .. math:: x_s = \frac{\sigma_s}{\sigma_t} \left(\frac{\rho_t}{\rho_s}\right)^{\eta^2} x_t +
        \sigma_s \rho_s^{-\eta^2} \int E[x_0 | x_\rho] \, d\rho^{1 + \eta^2} +
        \sigma_s \sqrt{1 - (\rho_t / \rho_s)^{2 \eta^2}} \; \varepsilon.

    Noise mends errors of earlier steps and of the network, where 20 steps or more can be afforded. Halving the steps
    refines the same path, so that a seed's sample changes little.

    Source: "DPM-Solver++" (Lu, Zhou, Bao, Chen, Li, Zhu, 2022); "SA-Solver: Stochastic Adams Solver for Fast Sampling
    of Diffusion Models" (Xue et al., 2023) for shares of the noise.

    Args:
        terms: number of means that a step uses, 1 to 3; the weak order is 2 at most, but three have a smaller error.
        eta: share of the noise, in (0, 1].
    """

    def __init__(self, terms: int = 2, eta: float = 1.0) -> None:
        LinearMultistep.__init__(self, terms, False, eta)


class UniPC(LinearMultistep):
    r"""Predictor and corrector on the posterior mean, in the log-SNR.

    The predictor is DPM-Solver++, the corrector the same with the new mean at its end. The steps from
    :math:`\alpha = 0` and to :math:`\sigma = 0`, where the log-SNR is infinite, are of the first order; use it with
    ``grids.log_snr``.

    Source: "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models" (Zhao, Bai, Rao,
    Zhou, Lu, 2023), with exact integrals in place of their B(h).

    Args:
        order: of the predictor, 2 or 3; the corrector is of one more.
    """

    orders = (2, 3)

    def __init__(self, order: int = 3) -> None:
        super().__init__(order, corrector=True)

    def form(self, denoiser: Denoiser) -> Form:
        """See the class."""
        return Data()

    def place(self, denoiser: Denoiser) -> Place:
        """See the class."""
        return LogRatio()


class SASolver(LinearMultistep):
    r"""Stochastic Adams: :class:`MultistepSDE` in the log-SNR with a corrector.

    Source: "SA-Solver: Stochastic Adams Solver for Fast Sampling of Diffusion Models" (Xue et al., 2023).

    Args:
        order: of the predictor, 1 to 3; the corrector is of one more.
        eta: share of the noise, in [0, 1].
    """

    def __init__(self, order: int = 2, eta: float = 1.0) -> None:
        super().__init__(order, corrector=True, eta=eta)

    def form(self, denoiser: Denoiser) -> Form:
        """See the class."""
        return Data(self.eta)

    def place(self, denoiser: Denoiser) -> Place:
        """See the class."""
        return LogRatio()


class DEIS(LinearMultistep):
    r"""Exponential Adams-Bashforth on the expected noise, in the log-SNR (the log-rho form of DEIS).

    .. math:: x_s = \frac{\alpha_s}{\alpha_t} x_t + \alpha_s \int E[\varepsilon | x_t] \, d(\sigma / \alpha),

    with a polynomial for the noise. The steps from :math:`\alpha = 0` and to :math:`\sigma = 0`, where the log-SNR is
    infinite, are DDIM's. Good where the data is much smaller than what a unit of noise is; use ``grids.log_snr``.

    Source: "Fast Sampling of Diffusion Models with Exponential Integrator" (Zhang, Chen, 2023).

    Args:
        terms: number of steps used, 1 to 4.
    """

    orders = (1, 2, 3, 4)

    def __init__(self, terms: int = 3) -> None:
        super().__init__(terms, corrector=False)

    def form(self, denoiser: Denoiser) -> Form:
        """See the class."""
        return Noise()

    def place(self, denoiser: Denoiser) -> Place:
        """See the class."""
        return LogRatio()


class IPNDM(DEIS):
    r"""Adams-Bashforth on the expected noise with the weights of even steps, whatever the steps are.

    On even steps of :math:`\sigma / \alpha` it is of the order of its terms, on other grids that are smooth in the
    number of the step of the second: a baseline rather than a method to choose.

    Sources: "Pseudo Numerical Methods for Diffusion Models on Manifolds" (Liu, Ren, Lin, Zhao, 2022), improved as in
    "Fast Sampling of Diffusion Models with Exponential Integrator" (Zhang, Chen, 2023).

    Args:
        terms: number of steps used, 1 to 4.
    """

    def __init__(self, terms: int = 4) -> None:
        super().__init__(terms)
        self.order = min(terms, 2)

    _BASHFORTH = ((), (-1 / 2,), (-16 / 12, 5 / 12), (-59 / 24, 37 / 24, -9 / 24))

    def weights(self, form: Form, place: Place, start: Scales, end: Scales, nodes: Sequence[Scales]) -> Tensor:
        """Those of the method of as many steps as there are by then."""
        rows = torch.zeros(len(start.t), self.terms - 1, dtype=torch.float64)
        for number, row in enumerate(rows):
            known = min(number, self.terms - 1)
            row[:known] = torch.tensor(self._BASHFORTH[known])
        return rows
