"""A denoiser that is told a measurement: what restoration is."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.guidance.given import Given
from suffuse.guidance.measured import METHODS, Local, Measured, Method, default_method
from suffuse.operators import Mask, Operator
from suffuse.parameterizations import Direct
from suffuse.posteriors import Normal
from suffuse.processes import Discrete, Gaussian, Product, Time
from suffuse.tree import Condition, State, map_leaves


class Observed(Denoiser):
    r"""A denoiser that is told :math:`y = A(x_0) + N(0, \text{noise}^2)`: it answers :math:`E[x_0 | x_t, y]`.

    It walks with every sampler, and its walk ends in a draw of what was measured: one of several, since a restoration
    has no single answer. ``suffuse.restoration`` has samplers that ask it for its parts. How good the answer is depends
    on the method; docs/restoration.md has the figures.

    For Discrete and Product processes a measurement is a :class:`~suffuse.operators.Mask`, for a Product one for each
    leaf: known entries, exactly as in :class:`Given`. They are without noise.

    Args:
        denoiser: of the data without the measurement; for Gaussian processes differentiable, but for ``ddnm`` and
            ``prior``.
        operator: A, or a mapping of masks.
        y: (B, ...) measurements, or (1, ...) one for all items.
        noise: deviation of the noise of each number measured, in [0, inf), in units of the state.
        method: a name in ``METHODS``, or a :class:`Method`; ``default`` is the one that measured best.

    Raises:
        UserError: the noise is negative, the method is not known, the measurement is not a number, or the operator does
            not fit the process; and when it is asked, where y does not have the shape of a measurement.

    Example:
        >>> import torch, suffuse as sf
        >>> law = sf.exact.GaussianMixture(torch.zeros(1, 2), torch.ones(1))
        >>> denoiser = law.denoiser(sf.Gaussian(sf.schedules.Flow()))
        >>> seen = sf.operators.Mask(torch.tensor([True, False]))
        >>> told = Observed(denoiser, seen, torch.tensor([[4.0, 0.0]]), noise=1.0)
        >>> told(torch.zeros(1, 2), 0.5).mean
        tensor([[1.3333, 0.0000]])
    """

    def __init__(
        self,
        denoiser: Denoiser,
        operator: Any,
        y: State,
        noise: float = 0.1,
        method: str | Method = "default",
    ) -> None:
        rule = _rule(denoiser, operator, y, noise, _method(method, operator))
        super().__init__(rule, denoiser.process, Direct.of(denoiser.parameterization), denoiser.shape)
        self.denoiser, self.operator, self.noise = denoiser, operator, noise
        self.y, self.method = y, _method(method, operator)

    def around(self, x_t: Tensor, t: Time, condition: Condition = None, through: bool = False) -> Local:
        """The denoiser without the measurement around a state, and what was measured there.

        Args:
            x_t: (B, ...) state of a Gaussian process.
            t: its time.
            condition: of the denoiser.
            through: whether gradients are taken through the denoiser.
        """
        return self._gaussian.around(x_t, t, condition, through)

    def measured(self, x: Tensor) -> Measured:
        """What was measured, around clean states (B, ...)."""
        return Measured(self.operator, self._gaussian.y, self.noise, x)

    @property
    def _gaussian(self) -> "_Told":
        assert isinstance(self.network, _Told)
        return self.network


class _Told(nn.Module):
    """A measurement of a Gaussian process's data."""

    def __init__(self, denoiser: Denoiser, operator: Operator, y: Tensor, noise: float, method: Method) -> None:
        super().__init__()
        self.denoiser, self.operator, self.y, self.noise, self.method = denoiser, operator, y, noise, method

    def around(self, x_t: Tensor, t: Time, condition: Condition, through: bool) -> Local:
        return Local(self.denoiser, self.operator, self.y, self.noise, x_t, t, condition, through)

    def forward(self, x_t: Tensor, t: Time, condition: Condition) -> Normal:
        return Normal(self.method(self.around(x_t, t, condition, self.method.through)))


def _method(method: str | Method, operator: Any) -> Method:
    if isinstance(method, Method):
        return method
    if method == "default":
        return default_method(operator)
    if method not in METHODS:
        raise UserError(f"there is no method {method!r}; there are default, {', '.join(METHODS)}")
    return METHODS[method]


def _rule(denoiser: Denoiser, operator: Any, y: Any, noise: float, method: Method) -> nn.Module:
    """What answers, for each kind of process."""
    if isinstance(denoiser.process, Discrete | Product):
        return _known(denoiser, operator, y)
    if not isinstance(denoiser.process, Gaussian):
        raise UserError(f"a {type(denoiser.process).__name__} process cannot be told a measurement; Gaussian, Discrete "
                        "and Product ones can")  # fmt: skip
    denoiser.process.refuse_coupled("a measurement", "train one without")
    if not (0 <= noise < float("inf")):
        raise UserError(f"the noise of a measurement is a deviation in [0, inf), got {noise}")
    if isinstance(operator, Mask):
        y = y.masked_fill(~operator.mask.to(y.device), 0.0)  # whatever stands where nothing was measured
    if not bool(y.isfinite().all()):
        raise UserError("the measurement holds numbers that are not finite; leave out by a Mask what was not measured")
    return _Told(denoiser, operator, y, noise, method)


def _known(denoiser: Denoiser, operator: Any, y: Any) -> Given:
    """Known entries."""
    if set(map(type, _parts(operator))) != {Mask}:
        raise UserError(f"of a {type(denoiser.process).__name__} process entries can be known and nothing else: "
                        "give a Mask, for a Product one for each leaf")  # fmt: skip
    return Given(denoiser, y, map_leaves(lambda mask: mask.mask, operator))


def _parts(operator: Any) -> list[Any]:
    if isinstance(operator, Mapping):
        return [part for child in operator.values() for part in _parts(child)]
    return [operator]
