"""Pictures that stand beside others: told to a network as conditions, or paired with what is to be made of them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from PIL import Image
from torch import Tensor

from suffuse.codecs.base import JSON, Codec, ConditionCodec
from suffuse.codecs.image import ImageCodec
from suffuse.errors import UserError
from suffuse.rng import Streams
from suffuse.tree import State

SOURCE, TARGET = "source", "target"
"""The two sides of a pair."""


class PictureCodec(ConditionCodec):
    """Pictures as states, by the same codec as the pictures that a model draws.

    Args:
        pictures: says their size and channels; pictures of others are resized, cropped and converted by it.

    Example:
        >>> codec = PictureCodec(ImageCodec(2, channels=1))
        >>> values, present = codec.encode([Image.new("L", (4, 4), 255), None])
        >>> values.flatten(1), present
        (tensor([[1., 1., 1., 1.],
                [0., 0., 0., 0.]]), tensor([ True, False]))
    """

    kind: ClassVar[str] = "picture"
    reads: ClassVar[str | None] = ImageCodec.kind

    def __init__(self, pictures: ImageCodec) -> None:
        self.pictures = pictures

    def encode(self, values: Sequence[Image.Image | None]) -> tuple[Tensor, Tensor]:
        """Return the states, (B, C, H, W) in [-1, 1], and which items have a picture; None is zero.

        Raises:
            UserError: a value is no picture.
        """
        wrong = next((value for value in values if not (value is None or self.knows(value))), None)
        if wrong is not None:
            raise UserError(f"{wrong!r} is no picture, which this condition takes; translate a file or a folder")
        present = torch.tensor([value is not None for value in values], dtype=torch.bool)
        states = torch.zeros(len(values), *self.pictures.shape)
        known = self.pictures.pack([value for value in values if value is not None])
        states[present] = self.pictures.unpack(known)
        return states, present

    def decode(self, values: Tensor) -> list[Image.Image]:
        """Return the pictures."""
        return self.pictures.decode(values)

    def knows(self, value: Any) -> bool:
        """Whether it is a picture."""
        return isinstance(value, Image.Image)

    def note(self, value: Any) -> JSON:
        """Nothing but that there was one."""
        return None if value is None else "a picture"

    def spec(self) -> dict[str, Any]:
        """Return `{"kind": "picture", "channels": c}`."""
        return {"kind": self.kind, "channels": self.pictures.channels}

    def config(self) -> dict[str, JSON]:
        """Return size and channels."""
        return self.pictures.config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        return cls(ImageCodec.from_config(config))


class PairPacker:
    """Pairs to pairs of states, for a loader: a mapping of ``source`` and ``target``.

    Args:
        sources: codec of the one side.
        targets: codec of the other.

    Example:
        >>> codec = ImageCodec(1, channels=1)
        >>> packer = PairPacker(codec, codec)
        >>> packed = packer.pack([(Image.new("L", (1, 1), 0), Image.new("L", (1, 1), 255))])
        >>> {side: state.item() for side, state in packer.unpack(packed).items()}
        {'source': -1.0, 'target': 1.0}
    """

    def __init__(self, sources: Codec, targets: Codec) -> None:
        self._sources, self._targets = sources, targets

    def pack(self, raw: Sequence[tuple[Any, Any]]) -> dict[str, State]:
        """Return both sides as their codecs pack them."""
        sources, targets = ([pair[side] for pair in raw] for side in (0, 1))
        return {SOURCE: self._sources.pack(sources), TARGET: self._targets.pack(targets)}

    def unpack(self, packed: State, rng: Streams | None = None) -> dict[str, State]:
        """Return the states of both sides."""
        assert isinstance(packed, Mapping)
        return {SOURCE: self._sources.unpack(packed[SOURCE], rng), TARGET: self._targets.unpack(packed[TARGET], rng)}
