"""What is simple in the frequencies of a state: blur, band limits, Fourier samples, random projections."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.operators.base import Decomposed, placed, space
from suffuse.operators.spectrum import Spectrum, hartley


class Blur(Decomposed):
    r"""Convolution with a kernel along the last axes, which are closed to circles: :math:`A x = k * x`.

    .. math:: F A x = \hat k \cdot F x, \qquad S = |\hat k|.

    Every real kernel has a decomposition: V is Hartley's basis, and U is that basis after the filter
    :math:`\hat k / |\hat k|`.

    Args:
        kernel: with one axis for each space axis that it acts on, of odd lengths; its middle is the origin.

    Raises:
        UserError: a length is even, or the states have fewer space axes than the kernel.

    Example:
        >>> Blur(torch.tensor([0.0, 0.5, 0.5]))(torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])).round(decimals=5).abs()
        tensor([[[0.5000, 0.5000, 0.0000, 0.0000]]])
    """

    def __init__(self, kernel: Tensor) -> None:
        if kernel.ndim == 0 or any(n % 2 == 0 for n in kernel.shape):
            raise UserError(f"a kernel has odd lengths, so that it has a middle, and this one is {tuple(kernel.shape)}")
        self.kernel = kernel

    @classmethod
    def gaussian(cls, sigma: float, axes: int = 2) -> "Blur":
        """With a Gaussian of this deviation in elements, cut at four deviations, along so many axes.

        Raises:
            UserError: the deviation is not positive.
        """
        if not 0 < sigma < math.inf:
            raise UserError(f"the deviation of a blur is a positive number of elements, and not {sigma}")
        reach = math.ceil(4 * sigma)
        line = torch.exp(-((torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2) / 2)
        kernel = line
        for _ in range(axes - 1):
            kernel = kernel[..., None] * line
        return cls(kernel / kernel.sum())

    @classmethod
    def motion(cls, length: float, angle: float) -> "Blur":
        """Along a line of two space axes, as of a camera that moved while it was open.

        Args:
            length: of the line in pixels, at least 1.
            angle: in degrees, 0 for along the rows and then against the clock.

        Raises:
            UserError: the length is below 1.
        """
        if not 1 <= length < math.inf:
            raise UserError(f"the length of a motion is a number of pixels, at least 1, and not {length}")
        reach = math.ceil(length / 2)
        steps = torch.linspace(-0.5, 0.5, 16 * reach + 1, dtype=torch.float64) * (length - 1)
        turn = math.radians(angle)
        grid = torch.arange(-reach, reach + 1, dtype=torch.float64)
        # A point of the line is shared by the pixels around it, by how near it is.
        rows = (1 - (grid + math.sin(turn) * steps[:, None]).abs()).clamp(min=0)
        columns = (1 - (grid - math.cos(turn) * steps[:, None]).abs()).clamp(min=0)
        kernel = rows.T @ columns
        return cls(kernel / kernel.sum())

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self._filtered(x, self._transfer(x))

    def adjoint(self, y: Tensor, at: Tensor | None = None) -> Tensor:
        """See the class."""
        return self._filtered(y, self._transfer(y).conj())

    def spectrum(self, like: Tensor) -> Spectrum:
        """See :meth:`Linear.spectrum`."""
        transfer = self._transfer(like)
        values = transfer.abs()
        phase = torch.where(values > 0, transfer / torch.where(values > 0, values, 1), 1)
        axes = self._axes

        return Spectrum(
            values,
            to=lambda x: hartley(x, axes),
            back=lambda c: hartley(c, axes),
            measured=lambda y: hartley(self._filtered(y, phase.conj()), axes),
            shown=lambda c: self._filtered(hartley(c, axes), phase),
        )

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-self.kernel.ndim, 0))

    def _filtered(self, x: Tensor, transfer: Tensor) -> Tensor:
        return torch.fft.ifftn(torch.fft.fftn(x, dim=self._axes) * transfer, dim=self._axes).real

    def _transfer(self, x: Tensor) -> Tensor:
        """The Fourier transform of the kernel on the circle, where a kernel that is longer lies over itself."""
        lengths = space(x.shape[1:], self.kernel.ndim, "Blur")
        places = [(torch.arange(k) - k // 2) % n for k, n in zip(self.kernel.shape, lengths, strict=True)]
        kernel = self.kernel.to(x.device, torch.float64)
        where = torch.meshgrid(*(place.to(x.device) for place in places), indexing="ij")
        circle = kernel.new_zeros(lengths).index_put(where, kernel, accumulate=True)
        return torch.fft.fftn(circle).to(torch.promote_types(x.dtype, torch.complex64))


class BandLimit(Decomposed):
    """The lower frequencies of the last axis, which is closed to a circle: an ideal low pass.

    A measurement has the shape of a state. To undo it is to widen the band of a signal.

    Args:
        share: of the frequencies up to the highest, in [0, 1]; those above are left out.

    Raises:
        UserError: the share is outside.

    Example:
        >>> BandLimit(0.5)(torch.tensor([[[1.0, -1.0, 1.0, -1.0]]])).abs()
        tensor([[[0., 0., 0., 0.]]])
    """

    def __init__(self, share: float) -> None:
        if not 0 <= share <= 1:
            raise UserError(f"the share of the band that is kept lies in [0, 1], and is not {share}")
        self.share = share

    def spectrum(self, like: Tensor) -> Spectrum:
        """See :meth:`Linear.spectrum`."""
        frequency = torch.fft.fftfreq(like.shape[-1], dtype=torch.float64, device=like.device)
        kept = (2 * frequency.abs() <= self.share + 1e-12).to(like)

        def transform(x: Tensor) -> Tensor:
            return hartley(x, [-1])

        return Spectrum(kept, transform, transform, transform, transform)


class Fourier(Decomposed):
    r"""Some frequencies of the last axes, in an orthonormal Fourier transform: what a scanner of MRI measures.

    .. math:: A x = (\mathrm{Re}\,(F x)_k, \mathrm{Im}\,(F x)_k) \text{ for } k \text{ in the mask}.

    Measurements are (B, C, m, 2) for m frequencies, in the order of the mask's elements; ``torch.view_as_complex``
    makes complex numbers of them. A frequency and its negative say the same of a real state, so that values are 1
    where both are seen and :math:`1 / \sqrt 2` where one is.

    Args:
        mask: bools, or zeros and ones, for the frequencies of the space axes in the order of ``torch.fft.fftn``: zero
            comes first.

    Raises:
        UserError: the states have other space axes.

    Example:
        >>> Fourier(torch.tensor([True, False]))(torch.tensor([[[1.0, 3.0]]]))[0, 0]
        tensor([[2.8284, 0.0000]])
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask != 0
        self._axes = tuple(range(-mask.ndim, 0))

    def place(self, y: Tensor) -> Tensor:
        """See :meth:`Decomposed.place`."""
        return placed(y, *y.shape[1:-2], *self.mask.shape)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        lengths = space(x.shape[1:], self.mask.ndim, "Fourier")
        if lengths != tuple(self.mask.shape):
            raise UserError(
                f"the mask is of {tuple(self.mask.shape)} frequencies, and the space axes of the states are {lengths}"
            )
        f = torch.fft.fftn(x, dim=self._axes, norm="ortho")
        return torch.view_as_real(f[..., self.mask.to(x.device)])

    def adjoint(self, y: Tensor, at: Tensor | None = None) -> Tensor:
        """See the class."""
        place = self.place(y)
        f = torch.zeros(place.shape, dtype=torch.promote_types(y.dtype, torch.complex64), device=y.device)
        f[..., self.mask.to(y.device)] = torch.view_as_complex(y.contiguous())
        return torch.fft.ifftn(f, dim=self._axes, norm="ortho").real

    def spectrum(self, like: Tensor) -> Spectrum:
        """See :meth:`Linear.spectrum`."""
        mask = self.mask.to(like)
        negative = mask.flip(self._axes).roll((1,) * mask.ndim, self._axes)
        values = ((mask + negative) / 2).sqrt()
        one_over = torch.where(values > 0, 1 / values.clamp(min=0.5), 0)
        return Spectrum(
            values,
            to=lambda x: hartley(x, self._axes),
            back=lambda c: hartley(c, self._axes),
            measured=lambda y: one_over * hartley(self.adjoint(y), self._axes),
            shown=lambda c: self.forward(hartley(one_over * c, self._axes)),
        )


class RandomProjection(Decomposed):
    """Products of an item with random directions, which are orthonormal: what compressed sensing is.

    The signs of the elements are drawn, and some of the coefficients of the Hartley transform of what comes out are
    measured: no matrix is kept, and a product takes n log n multiplications.

    Source: "The Fast Johnson-Lindenstrauss Transform and Approximate Nearest Neighbors" (Ailon, Chazelle, 2009).

    Args:
        m: how many numbers are measured; measurements are (B, m).
        shape: of an item.
        seed: of the directions, which are the same on every device.

    Raises:
        UserError: m is below 1, or above the number of elements.

    Example:
        >>> few = RandomProjection(2, (1, 4, 4), seed=0)
        >>> y = torch.tensor([[1.0, 2.0]])
        >>> torch.allclose(few(few.adjoint(y)), y)
        True
    """

    def __init__(self, m: int, shape: Sequence[int], seed: int = 0) -> None:
        self.shape = tuple(shape)
        n = math.prod(self.shape)
        if not 1 <= m <= n:
            raise UserError(f"of items of {n} elements, 1 to {n} random projections can be measured, and not {m}")
        drawn = torch.Generator().manual_seed(seed)
        self.signs = torch.randint(2, (n,), generator=drawn).double() * 2 - 1
        self.places = torch.randperm(n, generator=drawn)[:m].sort().values

    def place(self, y: Tensor) -> Tensor:
        """See :meth:`Decomposed.place`."""
        return placed(y, *self.shape)

    def spectrum(self, like: Tensor) -> Spectrum:
        """See :meth:`Linear.spectrum`."""
        if tuple(like.shape[1:]) != self.shape:
            raise UserError(f"the projections are of items of {self.shape}, and these are {tuple(like.shape[1:])}")
        signs, places = self.signs.to(like), self.places.to(like.device)
        return Spectrum(
            torch.zeros_like(signs).index_fill(0, places, 1.0),
            to=lambda x: hartley(signs * x.flatten(1), [1]),
            back=lambda c: (signs * hartley(c, [1])).unflatten(1, self.shape),
            measured=lambda y: y.new_zeros(len(y), len(signs)).index_copy(1, places, y),
            shown=lambda c: c[:, places],
        )
