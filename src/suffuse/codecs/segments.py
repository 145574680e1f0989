"""Label maps: pictures of few colours, each of which is a class."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from suffuse.codecs.base import JSON, Codec
from suffuse.codecs.image import canonical, centred, upright
from suffuse.codecs.pictures import SOURCE
from suffuse.errors import UserError
from suffuse.rng import Streams
from suffuse.tree import State

MOST = 64
"""Colours that a label map may have."""


class SegmentCodec(Codec):
    """Pictures of few colours to states of class numbers, (B, H, W) int64 in [0, K), and back.

    Class k is the k-th colour. A picture of another size is cropped to its centre and resized to the nearest pixel, so
    that no colour comes about that was not there. 16-bit pictures have their classes below 256 as they are. A colour
    that is none of the classes becomes the class of the nearest. ``decode(encode(x))`` is exact for pictures of the
    codec's own size and of these colours. A pair of a picture and its label map is taken as well, and tells the
    picture.

    Args:
        size: (height, width), in pixels.
        colours: (r, g, b, a) of each class, from 0 to 255, in any order.

    Example:
        >>> mask = Image.new("RGB", (2, 2), (0, 0, 0))
        >>> mask.putpixel((1, 0), (255, 0, 0))
        >>> codec = SegmentCodec.fit([("mask.png", mask)], (2, 2))
        >>> codec.encode([mask])
        tensor([[[0, 1],
                 [0, 0]]])
        >>> codec.decode(codec.encode([mask]))[0].getpixel((1, 0))
        (255, 0, 0)
    """

    kind: ClassVar[str] = "segments"
    places_apart: ClassVar[bool] = True

    def __init__(self, size: tuple[int, int], colours: Sequence[Sequence[int]]) -> None:
        self.height, self.width = size
        self._colours = np.array(colours, np.uint8).reshape(-1, 4)

    @classmethod
    def fit(cls, masks: Iterable[tuple[str, Image.Image]], size: tuple[int, int]) -> Self:
        """The codec of all colours that occur, in their order by value.

        Args:
            masks: names and pictures.
            size: (height, width), in pixels.

        Raises:
            UserError: there are more than 64 colours or only one.
        """
        found = np.zeros((0, 4), np.uint8)
        for name, mask in masks:
            found = np.unique(np.concatenate([found, _distinct(mask)]), axis=0)
            if len(found) > MOST:
                raise UserError(f"{name} brings the colours of the label maps to more than {MOST}, of which each is a "
                                "class; give PNG files with one flat colour for each class")  # fmt: skip
        if len(found) < 2:
            raise UserError("the label maps have one colour alone, so that there is nothing to tell apart; give "
                            "pictures with a colour for each class")  # fmt: skip
        return cls(size, found.tolist())

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return (self.height, self.width)

    @property
    def vocabulary(self) -> int:
        """K, the number of classes."""
        return len(self._colours)

    def pack(self, raw: Sequence[Any]) -> Tensor:
        """Return the classes, (B, H, W) uint8."""
        packed = torch.empty((len(raw), *self.shape), dtype=torch.uint8)
        for item, mask in zip(packed, raw, strict=True):
            item.copy_(torch.from_numpy(self._classes(self._fit(_flat(_map_of(mask))))))
        return packed

    def tells(self, raw: Any) -> Mapping[str, Any]:
        """The picture, of a pair."""
        return {} if isinstance(raw, Image.Image) else {SOURCE: raw[0]}

    def unpack(self, packed: State, rng: Streams | None = None) -> Tensor:
        """Return the classes, int64."""
        return cast(Tensor, packed).long()

    def decode(self, state: State) -> list[Any]:
        """Return label maps in the colours of their classes: mode L where all of these are grey, else RGB or RGBA."""
        painted = self._colours[cast(Tensor, state).cpu().numpy()]
        if (self._colours[:, 3] < 255).any():
            return [Image.fromarray(item) for item in painted]
        grey = (self._colours[:, :1] == self._colours[:, 1:3]).all()
        return [Image.fromarray(np.ascontiguousarray(item[..., 0] if grey else item[..., :3])) for item in painted]

    def together(self, draws: Sequence[Any]) -> Image.Image:
        """The commonest class of each pixel; of several, the first."""
        return self.decode(self._shares(draws).argmax(-1)[None])[0]

    def summaries(self, draws: Sequence[Any]) -> dict[str, Any]:
        """The commonest classes, and how uncertain they are: the share of draws that disagree, from black to white."""
        doubt = (255 * (1 - self._shares(draws).amax(-1))).round().to(torch.uint8)
        return {"commonest": self.together(draws), "uncertainty": Image.fromarray(doubt.numpy())}

    def _shares(self, draws: Sequence[Any]) -> Tensor:
        """(H, W, K): share of the draws that have each class."""
        return torch.nn.functional.one_hot(self.unpack(self.pack(draws)), self.vocabulary).double().mean(0)

    def config(self) -> dict[str, JSON]:
        """Return size and colours."""
        return {"size": [self.height, self.width], "colours": [list(map(int, each)) for each in self._colours]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        height, width = config["size"]
        return cls((height, width), config["colours"])

    def _fit(self, mask: Image.Image) -> Image.Image:
        box = centred(mask, self.height, self.width)
        if mask.size == (self.width, self.height):
            return mask
        return mask.resize((self.width, self.height), Image.Resampling.NEAREST, box)

    def _classes(self, mask: Image.Image) -> np.ndarray:
        """(H, W): the nearest colour; one distance for each colour of the mask, as there are few."""
        pixels = np.asarray(mask)
        colours, places = np.unique(pixels.reshape(-1, 4), axis=0, return_inverse=True)
        apart = colours[:, None].astype(np.int64) - self._colours.astype(np.int64)
        return (apart**2).sum(-1).argmin(1).astype(np.uint8)[places.reshape(pixels.shape[:2])]


def _map_of(raw: Any) -> Image.Image:
    """The label map itself, or that of a picture and its label map."""
    return raw if isinstance(raw, Image.Image) else raw[1]


def _flat(mask: Image.Image) -> Image.Image:
    """Upright, and RGBA."""
    mask = upright(mask)
    if mask.mode == "I" or mask.mode.startswith("I;16"):
        classes = np.asarray(mask)
        if classes.max() > 255 or classes.min() < 0:
            raise UserError(f"a 16-bit label map has the value {classes.max()}; give classes from 0 to 255")
        mask = Image.fromarray(classes.astype(np.uint8))
    return canonical(mask).convert("RGBA")


def _distinct(mask: Image.Image) -> np.ndarray:
    """(N, 4): colours of a picture; of a photograph, some of them that are too many."""
    flat = _flat(mask)
    counted = flat.getcolors(MOST)
    if counted is not None:
        return np.array([colour for _, colour in counted], np.uint8)
    return np.unique(np.asarray(flat).reshape(-1, 4), axis=0)
