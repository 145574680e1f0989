r"""What was measured: :math:`y = A(x) + N(0, \text{noise}^2)`, an operator and a number.

An operator knows nothing of diffusion. Restoration is an operator and a measurement, see ``suffuse.guidance.Observed``.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.operators.gradients import conjugate_gradients
from suffuse.operators.spectrum import Spectrum, per_item
from suffuse.tree import sum_per_item

_POWERS = 1000


class Operator(ABC):
    """A map from clean states (B, ...) to measurements (B, ...), differentiable or with a gradient to stand for it."""

    linear: ClassVar[bool] = False
    """Whether it is a :class:`Linear`, or made of such alone."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """The measurement of states (B, ...), without its noise."""

    def __call__(self, x: Tensor) -> Tensor:
        """As :meth:`forward`."""
        return self.forward(x)

    def __matmul__(self, inner: "Operator") -> "Composed":
        """This operator of what the other one measures."""
        return Composed(self, inner)

    def adjoint(self, y: Tensor, at: Tensor | None = None) -> Tensor:
        r"""The transposed Jacobian applied to measurements, :math:`J_A(x)^\top y`; of linear ones :math:`A^\top y`.

        Args:
            y: (B, ...) of the shape of a measurement.
            at: (B, ...) the state x to take it at; operators that are not linear need it.

        Raises:
            UserError: it is needed, and was not given.
        """
        if at is None:
            raise UserError(f"{type(self).__name__} is not linear: say at which state, adjoint(y, at=x)")
        with torch.enable_grad():
            x = at.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.forward(x), x, y)
        return gradient


class Linear(Operator):
    """A linear map A. It is known by :meth:`forward` and :meth:`adjoint`; all else follows, by iteration."""

    linear: ClassVar[bool] = True

    @abstractmethod
    def adjoint(self, y: Tensor, at: Tensor | None = None) -> Tensor:
        r"""The transposed map, :math:`A^\top y`.

        Args:
            y: (B, ...) of the shape of a measurement.
            at: not needed: it is the same at every state.
        """

    def solve(self, y: Tensor, a: float | Tensor, b: float | Tensor) -> Tensor:
        r""":math:`(a A A^\top + b I)^{-1} y`; for b = 0, with the pseudo-inverse.

        By conjugate gradients, where the operator knows no closed form.

        Args:
            y: (B, ...) of the shape of a measurement.
            a: positive; a number, or one for each item, (B,) or (B, 1, ...).
            b: at least 0, likewise.
        """
        a, b = per_item(a, y), per_item(b, y)
        if bool((b == 0).any()):  # without b there is a solution only for what the operator can give
            y = torch.where(b == 0, self(self.pseudo_inverse(y)), y)
        return conjugate_gradients(lambda v: a * self(self.adjoint(v)) + b * v, y)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        r""":math:`A^+ y = A^\top (A A^\top)^+ y`: of the states that fit best, the one of least norm."""
        return conjugate_gradients(lambda x: self.adjoint(self(x)), self.adjoint(y))

    def norm(self, like: Tensor) -> float:
        r"""The largest singular value, by power iteration on :math:`A^\top A`.

        Args:
            like: (B, ...) a batch of states, for shape, type and device.
        """
        noise = torch.randn(like[:1].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        x, square = noise.to(like), 0.0
        for _ in range(_POWERS):
            x = x / sum_per_item(x**2).sqrt()
            x, before = self.adjoint(self(x)), square
            square = float(sum_per_item(x**2).sqrt())
            if square - before <= square * 1e-6:
                break
        return square**0.5

    def spectrum(self, like: Tensor) -> Spectrum | None:
        """The singular value decomposition on such states, where there is a closed one.

        Args:
            like: (B, ...) a batch of states, for shape, type and device.
        """
        return None


class Decomposed(Linear):
    """A linear map whose singular value decomposition is closed, and with it all that a :class:`Linear` answers."""

    @abstractmethod
    def spectrum(self, like: Tensor) -> Spectrum:
        """See :meth:`Linear.spectrum`."""

    def place(self, y: Tensor) -> Tensor:
        """A batch like the states that such measurements are of, in shape, type and device; values do not matter."""
        return y

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        spectrum = self.spectrum(x)
        return spectrum.shown(spectrum.values * spectrum.to(x))

    def adjoint(self, y: Tensor, at: Tensor | None = None) -> Tensor:
        """See the class."""
        spectrum = self.spectrum(self.place(y))
        return spectrum.back(spectrum.values * spectrum.measured(y))

    def solve(self, y: Tensor, a: float | Tensor, b: float | Tensor) -> Tensor:
        """See :meth:`Linear.solve`; in closed form."""
        spectrum = self.spectrum(self.place(y))
        c = torch.where(spectrum.seen, spectrum.measured(y), 0)
        inside = spectrum.shown(c / torch.where(spectrum.seen, per_item(a, c) * spectrum.values**2 + per_item(b, c), 1))
        b = per_item(b, y)
        return inside + torch.where(b > 0, (y - spectrum.shown(c)) / torch.where(b > 0, b, 1), 0)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """See :meth:`Linear.pseudo_inverse`; in closed form."""
        spectrum = self.spectrum(self.place(y))
        return spectrum.back(spectrum.inverted(spectrum.measured(y)))

    def norm(self, like: Tensor) -> float:
        """The largest singular value."""
        return float(self.spectrum(like).values.amax())


class Composed(Operator):
    """One operator after another, ``outer @ inner``: linear if both are.

    Args:
        outer: of what ``inner`` measures.
        inner: of the state.

    Example:
        >>> import suffuse as sf
        >>> dark = sf.operators.Clip(0.5) @ sf.operators.Grey()
        >>> dark(torch.ones(1, 3, 1, 1)), dark.linear
        (tensor([[[[0.5000]]]]), False)
    """

    def __new__(cls, outer: Operator, inner: Operator) -> "Composed":
        """Of two linear ones, a linear one."""
        both = isinstance(outer, Linear) and isinstance(inner, Linear)
        return object.__new__(_LinearComposed if both else cls)

    def __init__(self, outer: Operator, inner: Operator) -> None:
        self.outer, self.inner = outer, inner

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.outer(self.inner(x))

    def adjoint(self, y: Tensor, at: Tensor | None = None) -> Tensor:
        """By the chain rule: of the outer one, then of the inner one."""
        between = None if at is None else self.inner(at)
        return self.inner.adjoint(self.outer.adjoint(y, between), at)


class _LinearComposed(Composed, Linear):
    """Of two linear operators."""


def space(item: Sequence[int], axes: int, who: str) -> tuple[int, ...]:
    """Lengths of the last so many space axes of an item (C, *space).

    Raises:
        UserError: there are not so many.
    """
    if len(item) <= axes:
        wanted = f"{axes} space {'axis' if axes == 1 else 'axes'}"
        raise UserError(f"{who} needs items of at least {wanted} after the channels, and these are {tuple(item)}")
    return tuple(item[len(item) - axes :])


def placed(y: Tensor, *shape: int) -> Tensor:
    """A batch of such items that takes no memory."""
    return y.new_zeros(()).expand(len(y), *shape)
