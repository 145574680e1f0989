"""What becomes of sounds on their way: voices are mixed, and rooms answer."""

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.operators.base import Linear


class Mixture(Linear):
    r"""The mean of all channels, as of voices that one microphone hears: :math:`A x = \tfrac{1}{C} \sum_c x_c`.

    States are (B, C, ...), measurements (B, 1, ...). To undo it is to separate what channels hold.

    Args:
        channels: C.

    Raises:
        UserError: the states have another number.

    Example:
        >>> Mixture(2)(torch.tensor([[[1.0, 2.0], [3.0, 0.0]]]))
        tensor([[[2., 1.]]])
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if x.shape[1] != self.channels:
            raise UserError(f"a mixture of {self.channels} channels is not one of states that have {x.shape[1]}")
        return x.mean(1, keepdim=True)

    def adjoint(self, y: Tensor, at: Tensor | None = None) -> Tensor:
        """See the class."""
        return y.expand(-1, self.channels, *y.shape[2:]) / self.channels


class Response(Linear):
    r"""What a room, a loudspeaker or a line makes of a signal: :math:`y_t = \sum_{k \le t} h_k x_{t-k}`.

    Before the first sample there was silence; what sounds on behind the last is not heard.

    Args:
        response: h, (K,), to a click.

    Raises:
        UserError: it is empty, or has more than one axis.

    Example:
        >>> Response(torch.tensor([1.0, 0.5]))(torch.tensor([[[1.0, 0.0, 0.0]]])).round(decimals=4).abs()
        tensor([[[1.0000, 0.5000, 0.0000]]])
    """

    def __init__(self, response: Tensor) -> None:
        if response.ndim != 1 or not len(response):
            raise UserError(f"the response to a click is a row of samples, and this one is {tuple(response.shape)}")
        self.response = response

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self._convolved(x)

    def adjoint(self, y: Tensor, at: Tensor | None = None) -> Tensor:
        """The same backwards in time."""
        return self._convolved(y.flip(-1)).flip(-1)

    def _convolved(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        response = self.response[:length].to(x)
        size = length + len(response) - 1
        return torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(response, size), size)[..., :length]
