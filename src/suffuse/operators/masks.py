"""What is seen of a state as it is."""

from torch import Tensor

from suffuse.errors import UserError
from suffuse.operators.base import Decomposed
from suffuse.operators.spectrum import Spectrum


class Identity(Decomposed):
    r"""All of the state: :math:`A x = x`. With noise, what denoising is.

    Example:
        >>> import torch
        >>> Identity()(torch.tensor([[1.0, 2.0]]))
        tensor([[1., 2.]])
    """

    def spectrum(self, like: Tensor) -> Spectrum:
        """See :meth:`Linear.spectrum`."""
        return _elementwise(like.new_ones(()))


class Mask(Decomposed):
    r"""Some elements of the state: :math:`A x = m \cdot x` for m of zeros and ones. What inpainting is.

    A measurement has the shape of a state, with zeros where nothing is seen; what stands there in y does not matter.

    Args:
        mask: of bools, or of zeros and ones, that broadcasts against an item (C, ...): true where it is seen.

    Raises:
        UserError: it holds other numbers, or does not fit the states.

    Example:
        >>> import torch
        >>> Mask(torch.tensor([True, False])).pseudo_inverse(torch.tensor([[3.0, 4.0]]))
        tensor([[3., 0.]])
    """

    def __init__(self, mask: Tensor) -> None:
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise UserError("a mask holds zeros and ones, 1 where an element is seen, and this one holds other numbers")
        self.mask = mask != 0

    def spectrum(self, like: Tensor) -> Spectrum:
        """See :meth:`Linear.spectrum`."""
        item = tuple(like.shape[1:])
        if self.mask.ndim > len(item) or any(
            m not in (1, n) for m, n in zip(self.mask.shape[::-1], item[::-1], strict=False)
        ):
            raise UserError(f"the mask is of shape {tuple(self.mask.shape)}, and does not fit items of shape {item}")
        return _elementwise(self.mask.to(like))


def _elementwise(values: Tensor) -> Spectrum:
    """In the basis of the elements themselves."""
    return Spectrum(values, _same, _same, _same, _same)


def _same(x: Tensor) -> Tensor:
    return x
