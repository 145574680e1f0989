"""Pictures by way of an autoencoder trained elsewhere, and latents where there is none."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor

from suffuse.codecs.base import JSON, Codec
from suffuse.codecs.image import ImageCodec
from suffuse.errors import UserError
from suffuse.rng import Streams
from suffuse.tree import State


class Latents(Codec):
    r"""Pictures as the latents of an ``AutoencoderKL``, :math:`z = c \, (E(x) - m)`, and back.

    In: the mean of the encoder's law. Out: decoded one by one, so that a picture does not depend on its batch.

    Args:
        pictures: pictures to the pixels that the autoencoder takes.
        vae: the autoencoder, whose configuration has c and m.
        size: height and width of the latents.
    """

    kind: ClassVar[str] = "diffusers-latents"

    def __init__(self, pictures: ImageCodec, vae: Any, size: tuple[int, int]) -> None:
        self.pictures, self.vae, self.size = pictures, vae.eval().requires_grad_(False), size
        self._factor, self._shift = vae.config.scaling_factor, vae.config.get("shift_factor") or 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of the latents."""
        return (self.vae.config.latent_channels, *self.size)

    def pack(self, raw: Sequence[Any]) -> State:
        """Return the pixels, uint8."""
        return self.pictures.pack(raw)

    @torch.no_grad()
    def unpack(self, packed: State, rng: Streams | None = None) -> Tensor:
        """Return the latents of packed pixels."""
        pixels = self.pictures.unpack(packed).to(self.vae.device, self.vae.dtype)
        mean = torch.cat([self.vae.encode(item[None]).latent_dist.mode() for item in pixels])
        return self._factor * (mean.float() - self._shift)

    @torch.no_grad()
    def decode(self, state: State) -> list[Any]:
        """Return a PIL picture per latent."""
        latents = cast(Tensor, state).to(self.vae.device, self.vae.dtype) / self._factor + self._shift
        return self.pictures.decode(torch.cat([self.vae.decode(item[None]).sample for item in latents]))

    def config(self) -> dict[str, JSON]:
        """Refused: the autoencoder stays in the folder it came from."""
        raise UserError("the autoencoder of a model trained elsewhere is not saved; keep the folder it came from")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Refused, as `config` is."""
        raise UserError("the autoencoder of a model trained elsewhere is read from its own folder")


class Undecoded(Codec):
    """Latents as they are, for a network that came without its autoencoder: float32 tensors in and out.

    Args:
        shape: (channels, height, width).
    """

    kind: ClassVar[str] = "diffusers-undecoded"

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width)."""
        return self._shape

    def pack(self, raw: Sequence[Any]) -> Tensor:
        """Return them stacked."""
        return torch.stack(list(raw)).float()

    def unpack(self, packed: State, rng: Streams | None = None) -> State:
        """Return them."""
        return packed

    def decode(self, state: State) -> list[Any]:
        """Return a tensor each."""
        return list(cast(Tensor, state).float().cpu())

    def config(self) -> dict[str, JSON]:
        """Return the shape."""
        return {"shape": list(self.shape)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        return cls(tuple(config["shape"]))
