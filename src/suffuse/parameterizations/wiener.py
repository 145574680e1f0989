"""The form that knows the mean and the spectrum of the data: what a network is spared to learn."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from suffuse.operators.spectrum import cosines, from_cosines, hartley
from suffuse.parameterizations.affine import EDM
from suffuse.parameterizations.apart import axis_apart, conditional
from suffuse.parameterizations.base import Parameterization
from suffuse.parameterizations.spread import Spread
from suffuse.posteriors import Normal
from suffuse.processes import Gaussian, Time
from suffuse.processes.base import as_time
from suffuse.tree import expand, latest

_LEAST = 1e-6
"""What a frequency has at least, of the mean variance of all, or of the data where items are all alike."""
_KNOWN = 1e-12
"""Variance, of that of the data, below which an item is known as a whole, and nothing is asked of it."""


class Wiener(nn.Module, Parameterization):
    r"""EDM's form for each frequency, about Gaussian data of the same mean and spectrum.

    With the coefficients :math:`V^\top x` of the cosine transform, of Hartley's along periodic axes, the data's mean
    :math:`\mu` and the variances :math:`\Lambda` of its coefficients,

    .. math:: x_0 = \mu + V \left( \frac{\alpha_t \Lambda}{\alpha_t^2 \Lambda + \sigma_t^2} \odot V^\top (x_t - \alpha_t
    \mu) + \sqrt{\frac{\sigma_t^2 \Lambda}{\alpha_t^2 \Lambda + \sigma_t^2}} \odot V^\top F \right).

    An output of 0 is Wiener's filter, the best that is linear where elements vary alike everywhere, and the output is
    in units of the deviation that this leaves. White data, :math:`\Lambda = s^2`, of mean 0 makes it ``EDM``; as there,
    the input is scaled as a whole. A network of ``EDM`` has to learn the spectrum first, and learns it last where there
    is little noise: at :math:`\sigma_t = s / 5` fields of climate were left noisy by it as long as it was trained.

    Where elements have times of their own that differ along one axis of up to 32 elements, as between frames that are
    known and others that are not, an output of 0 is what a Gaussian knows of the one by the other, and the output is
    in units of what that leaves. Where they differ along several, or along one of several circles, what the filter does
    better than ``EDM`` is found as if all were as noisy as the noisiest, and an element takes of it the share that its
    own noise is of that one's.

    An item of another size is thought to have the same power at the same number of waves per element, and the mean
    stretched.

    Sources: "Extrapolation, Interpolation, and Smoothing of Stationary Time Series" (Wiener, 1949); "Elucidating the
    Design Space of Diffusion-Based Generative Models" (Karras et al., 2022), section 5, for the form; that a Gaussian
    is most of what is learned: "The Unreasonable Effectiveness of Gaussian Score Approximation for Diffusion Models"
    (Wang, Vastola, 2024).

    Args:
        sigma_data: s, the deviation of the data; until :meth:`fit`, that of every coefficient.
        shape: (C, ...) of an item.
        periodic: space axes that close to a circle, from 0.

    Example:
        >>> form = Wiener(1.0, (1, 4))
        >>> form.fit([torch.ones(2, 1, 4) * torch.tensor([[[1.0]], [[-1.0]]])])  # all that varies is the level
        >>> from suffuse.schedules import EDM as Noise
        >>> x_t, t = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), Noise().inverse(torch.tensor(0.0))
        >>> form.posterior(torch.zeros(1, 1, 4), x_t, t, Gaussian(Noise())).mean  # 4 of them beside noise of 1
        tensor([[[0.2000, 0.2000, 0.2000, 0.2000]]])
    """

    process = Gaussian
    mean: Tensor
    spectrum: Tensor

    def __init__(self, sigma_data: float, shape: Sequence[int], periodic: Sequence[int] = ()) -> None:
        super().__init__()
        self.form, self.sigma_data = EDM(sigma_data), sigma_data
        self._circles = tuple(2 + axis for axis in periodic)
        self._lines = tuple(axis for axis in range(2, len(shape) + 1) if axis not in self._circles)
        self.register_buffer("mean", torch.zeros(*shape))
        self.register_buffer("spectrum", torch.full(tuple(shape), sigma_data**2))

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Take the mean and the spectrum of these states, (B, C, ...) each.

        Along a periodic axis, of which nothing says where it begins, the mean is one number and waves to either side
        have one variance.
        """
        count, total, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for x0 in batches:
            c = self._to(x0.double())
            count, total, squares = count + len(x0), total + c.sum(0, keepdim=True), squares + (c**2).sum(0)
        mean = self._back(total / count)
        if self._circles:
            mean = mean.mean(self._circles, keepdim=True).expand_as(mean)
        variance = squares[None] / count - self._to(mean) * (2 * total / count - self._to(mean))
        if self._circles:
            variance = (variance + variance.flip(self._circles).roll([1] * len(self._circles), self._circles)) / 2
        self.mean.copy_(mean[0])
        self.spectrum.copy_(variance[0].clamp(min=_LEAST * max(float(variance.mean()), self.sigma_data**2)))

    def weight(self, t: Time, process: Gaussian, like: Tensor) -> Tensor:
        r"""One over the mean of :math:`c_{\text{out}}^2`: unit error, on average, of what the filter leaves.

        Where elements have times that differ along several axes, as at the latest.
        """
        t = as_time(t, like)
        axis = self._axis(t, like) if t.ndim > 1 else None
        if axis is None:
            left = self._left(*process.coordinates(latest(t), like), like) ** 2
        else:
            left = self._conditional(torch.zeros_like(like), t, process, axis)[1]
        return expand(1 / left.flatten(1).mean(1).clamp(min=_KNOWN * self.sigma_data**2), like)

    def spread(self, x_t: Tensor, t: Time, process: Gaussian) -> Spread:
        """What the filter leaves, at the noisiest of the times of elements."""
        left = self._left(*process.coordinates(latest(as_time(t, x_t)), x_t), x_t).expand_as(x_t)
        width = expand((left**2).flatten(1).mean(1), x_t)
        return Spread(width, lambda noise: self._back(left * self._to(noise)))

    def inputs(self, x_t: Tensor, t: Time, process: Gaussian) -> tuple[Tensor, Tensor]:
        """As of ``EDM``."""
        return self.form.inputs(x_t, t, process)

    def posterior(self, output: Tensor, x_t: Tensor, t: Time, process: Gaussian) -> Normal:
        """See the class."""
        t, output = as_time(t, x_t), output.to(x_t.dtype)
        if t.ndim < 2:
            return Normal(self._filtered(output, x_t, *process.coordinates(t, x_t)))
        axis = self._axis(t, x_t)
        if axis is not None:
            return Normal(self._apart(output, x_t, t, process, axis))
        last = latest(t)
        alpha_t, (alpha, sigma) = process.coordinates(t, x_t)[0], process.coordinates(last, x_t)
        alike = x_t * torch.where(alpha_t > 0, alpha / alpha_t, 1)
        better = self._filtered(output, alike, alpha, sigma) - self.form.posterior(output, alike, last, process).mean
        level, noisiest = expand(process.level(t), x_t), expand(process.level(last), x_t)
        share = ((noisiest - level) / 2).exp().to(x_t.dtype)
        return Normal(self.form.posterior(output, x_t, t, process).mean + share * better)

    def _axis(self, t: Tensor, like: Tensor) -> int | None:
        """The one axis along which times differ and coefficients can be told apart; Hartley's do not factor."""
        axis = axis_apart(t, like)
        return None if axis in self._circles and len(self._circles) > 1 else axis

    def _conditional(self, y: Tensor, t: Tensor, process: Gaussian, axis: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of what differs from the mean, the axis last: elements along it, else coefficients."""
        for other in set(range(2, t.ndim)) - {axis}:
            t = t.narrow(other, 0, 1)
        alpha_t, sigma_t = process.coordinates(t, y)
        seen = self._to(torch.where(alpha_t > 0, y / alpha_t - self._mean(y), 0), axis).movedim(axis, -1)
        power = self._power(y).movedim(axis - 1, -1)
        return conditional(seen, ((alpha_t / sigma_t) ** 2).movedim(axis, -1), power, self._modes(y, axis))

    def _apart(self, output: Tensor, x_t: Tensor, t: Tensor, process: Gaussian, axis: int) -> Tensor:
        """Exact for Gaussian data where times differ along one axis: coefficients of the others are independent."""
        known, variance = self._conditional(x_t, t, process, axis)
        left = self._left(*process.coordinates(latest(t), x_t), x_t).expand_as(x_t)
        alike = (left**2).movedim(axis, -1) @ self._modes(x_t, axis) ** 2  # were all as noisy as the noisiest
        open_ = self._to(self._back(left * self._to(output)), axis).movedim(axis, -1)
        share = (variance / alike.clamp(min=torch.finfo(alike.dtype).tiny)).sqrt()
        return self._mean(x_t) + self._back((known + share * open_).movedim(-1, axis), axis)

    def _modes(self, like: Tensor, axis: int) -> Tensor:
        """(n, n): a row for each coefficient along an axis."""
        eye = torch.eye(like.shape[axis], dtype=like.dtype, device=like.device)
        return hartley(eye, [0]) if axis in self._circles else cosines(eye, [0])

    def _filtered(self, output: Tensor, x_t: Tensor, alpha_t: Tensor, sigma_t: Tensor) -> Tensor:
        power = self._power(x_t)
        mean = self._mean(x_t)
        kept = alpha_t * power / (alpha_t**2 * power + sigma_t**2) * self._to(x_t - alpha_t * mean)
        return mean + self._back(kept + self._left(alpha_t, sigma_t, x_t) * self._to(output))

    def _left(self, alpha_t: Tensor, sigma_t: Tensor, like: Tensor) -> Tensor:
        """Deviations of coefficients that the filter leaves."""
        power = self._power(like)
        return sigma_t * (power / (alpha_t**2 * power + sigma_t**2)).sqrt()

    def _mean(self, like: Tensor) -> Tensor:
        return _resized(self.mean, like.shape[2:], 0.5).to(like.dtype)

    def _power(self, like: Tensor) -> Tensor:
        return _resized(self.spectrum, like.shape[2:], 0).to(like.dtype)

    def _to(self, x: Tensor, but: int | None = None) -> Tensor:
        """Coefficients; along one axis elements, where that is asked for."""
        circles, lines = (tuple(axis for axis in axes if axis != but) for axes in (self._circles, self._lines))
        return cosines(hartley(x, circles) if circles else x, lines)

    def _back(self, c: Tensor, but: int | None = None) -> Tensor:
        """The inverse."""
        circles, lines = (tuple(axis for axis in axes if axis != but) for axes in (self._circles, self._lines))
        x = from_cosines(c, lines)
        return hartley(x, circles) if circles else x


def _resized(values: Tensor, sizes: Sequence[int], centre: float) -> Tensor:
    """(C, ...) stretched linearly to other sizes; an element stands for what is at its number and ``centre``.

    Example:
        >>> _resized(torch.tensor([[0.0, 2.0, 4.0]]), [6], 0)
        tensor([[0., 1., 2., 3., 4., 4.]])
    """
    for axis, size in enumerate(sizes, 1):
        had = values.shape[axis]
        if had != size:
            place = ((torch.arange(size, device=values.device) + centre) * (had / size) - centre).clamp(0, had - 1)
            low = place.long()
            part = (place - low).reshape(-1, *(1,) * (values.ndim - 1 - axis))
            after = (low + 1).clamp(max=had - 1)
            values = torch.lerp(values.index_select(axis, low), values.index_select(axis, after), part.to(values))
    return values
