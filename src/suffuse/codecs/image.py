"""Pictures: any mode and size in, [-1, 1] out."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from suffuse.codecs.base import JSON, Codec
from suffuse.errors import UserError
from suffuse.rng import Streams
from suffuse.tree import State

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class ImageCodec(Codec):
    """PIL pictures to float32 states of shape (B, C, H, W) in [-1, 1], and back to 8-bit pictures.

    In: the EXIF orientation is applied, the shorter side resized (Lanczos, with the anti-aliasing of an
    area filter when shrinking) and the centre cropped, in the values as stored (colour profiles are not
    applied). Of an animation the first frame is read. 16-bit grey is scaled by 65535; float grey by the
    smallest of 1, 255 and 65535 that holds its largest value.

    An 8-bit value v becomes 2 v / 255 - 1. With 1 or 3 channels transparency is laid on white, and grey is
    the luma of ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B. With 4 channels the state is
    (a (2 R - 1), a (2 G - 1), a (2 B - 1), 2 a - 1), for R, G, B and a in [0, 1]: colour premultiplied about
    mid-grey, so that what lies under a transparent pixel has no influence (its colour is 0), and an average
    of states, which is what a denoiser predicts, is an average of what one sees.

    Out: clamped and rounded to modes L, RGB or RGBA; a pixel of alpha 0 becomes (0, 0, 0, 0).

    For pictures of the codec's own size `decode(encode(x))` is exact: L and RGB everywhere, RGBA wherever
    alpha > 0.

    Args:
        size: side of the square, or (height, width), in pixels.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.

    Raises:
        UserError: the size is not positive, or the number of channels none of 1, 3, 4.

    Example:
        >>> from PIL import Image
        >>> codec = ImageCodec(2, channels=1)
        >>> codec.encode([Image.new("L", (4, 2), 255)])
        tensor([[[[1., 1.],
                  [1., 1.]]]])
        >>> codec.decode(codec.encode([Image.new("RGB", (2, 2), (255, 0, 0))]))[0].getpixel((0, 0))
        76
    """

    kind: ClassVar[str] = "image"

    def __init__(self, size: int | tuple[int, int], channels: Literal[1, 3, 4] = 3) -> None:
        self.height, self.width = (size, size) if isinstance(size, int) else size
        self.channels: Literal[1, 3, 4] = channels
        if min(self.height, self.width) < 1:
            raise UserError(f"a picture size of {self.height}x{self.width} is empty; give at least 1 pixel")
        if channels not in _MODES:
            raise UserError(f"pictures of {channels} channels are not known; give 1 (grey), 3 (RGB) or 4 (RGBA)")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return (self.channels, self.height, self.width)

    @property
    def quantum(self) -> float:
        """2 / 255; the premultiplied colour of what is half transparent has its values closer together."""
        return 2 / 255

    def pack(self, raw: Sequence[Any]) -> Tensor:
        """Return pictures upright, resized and cropped: uint8, (B, C, H, W), colour not yet premultiplied."""
        packed = torch.empty((len(raw), *self.shape), dtype=torch.uint8)
        for item, image in zip(packed, raw, strict=True):
            pixels = np.array(self._fit(canonical(upright(image))))
            item.copy_(torch.from_numpy(pixels.reshape(self.height, self.width, self.channels)).permute(2, 0, 1))
        return packed

    def unpack(self, packed: State, rng: Streams | None = None) -> Tensor:
        """Return the states of packed pictures, float32 in [-1, 1]."""
        state = cast(Tensor, packed).float() / 127.5 - 1
        if self.channels < 4:
            return state
        colour, alpha = state.split((3, 1), dim=1)
        return torch.cat((colour * (alpha + 1) / 2, alpha), dim=1)

    def decode(self, state: State) -> list[Any]:
        """Return a PIL picture per state: mode L, RGB or RGBA, values clamped and rounded."""
        values = cast(Tensor, state).detach().float().cpu()
        if self.channels == 4:
            values = _straight(values)
        levels = ((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        pixels = levels.permute(0, 2, 3, 1).numpy()
        return [Image.fromarray(item.squeeze(-1) if self.channels == 1 else item) for item in pixels]

    def together(self, draws: Sequence[Any]) -> Image.Image:
        """The mean of pictures: of all guesses the one whose squared error is least."""
        return self.decode(self.unpack(self.pack(draws)).mean(0, keepdim=True))[0]

    def resized(self, size: int | Sequence[int] | None) -> Self:
        """See the base class; (height, width) in pixels."""
        size = (self.height, self.width) if size is None else (size, size) if isinstance(size, int) else tuple(size)
        if len(size) != 2:
            raise UserError(f"the size of a picture is its side, or height and width, not {len(size)} numbers")
        return type(self)((size[0], size[1]), self.channels)

    def of_size(self, raw: Any) -> Self:
        """See the base class; of a picture that is upright."""
        if not isinstance(raw, Image.Image):
            raise UserError(f"this model is told a picture or a tensor, not a {type(raw).__name__}")
        width, height = upright(raw).size
        return self.resized((height, width))

    def measured(self, shape: tuple[int, ...]) -> "ImageCodec | None":
        """See the base class; a picture of any size, grey, coloured or with as many channels."""
        if len(shape) != 3 or shape[0] not in (1, 3, self.channels):
            return None
        return ImageCodec((shape[1], shape[2]), shape[0])

    @property
    def bounds(self) -> tuple[float, float]:
        """Black and white."""
        return (-1.0, 1.0)

    def changes(self, mask: Any, raw: Any) -> State:
        """See the base class; the mask is a picture of the size of the other, white (from mid-grey up) for change."""
        if not isinstance(mask, Image.Image):
            raise UserError(
                f"a mask of pictures is a picture, white where they may change, not a {type(mask).__name__}"
            )
        mask, own = upright(mask), upright(raw).size
        if mask.size != own:
            raise UserError(f"the mask is of {mask.width}x{mask.height} pixels and the picture of {own[0]}x{own[1]}; "
                            "give one of the same size")  # fmt: skip
        white = ImageCodec((self.height, self.width), 1).pack([mask]) >= 128
        return white.expand(1, *self.shape)

    def config(self) -> dict[str, JSON]:
        """Return size and channels."""
        return {"size": [self.height, self.width], "channels": self.channels}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        height, width = config["size"]
        return cls((height, width), config["channels"])

    def _fit(self, image: Image.Image) -> Image.Image:
        """Resize and crop a picture of mode L, RGB or RGBA, then bring it to the codec's mode."""
        if image.size != (self.width, self.height):
            # PIL premultiplies RGBA while it resizes, so what lies under transparency bleeds into no edge.
            image = image.resize(
                (self.width, self.height), Image.Resampling.LANCZOS, centred(image, self.height, self.width)
            )
        if image.mode == "RGBA" and self.channels < 4:
            # After resizing: the two commute, and the picture is small by now.
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert(_MODES[self.channels])


def centred(image: Image.Image, height: int, width: int) -> tuple[float, float, float, float]:
    """The largest centred box of these proportions: left, upper, right, lower."""
    scale = min(image.width / width, image.height / height)
    left = max((image.width - scale * width) / 2, 0.0)
    upper = max((image.height - scale * height) / 2, 0.0)
    return (left, upper, image.width - left, image.height - upper)


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation."""
    image.load()  # first, so that only the parsing of EXIF is forgiven below
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # its parser raises whatever it met; a broken EXIF block is no reason to lose a picture
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def canonical(image: Image.Image) -> Image.Image:
    """Return a picture of any mode as 8-bit L, RGB or RGBA."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        return Image.fromarray(_from_16_bits(np.asarray(image)))
    if image.mode == "F":
        return Image.fromarray(_from_float(np.asarray(image)))
    mode = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode)  # which would copy a large picture


def _from_16_bits(values: np.ndarray) -> np.ndarray:
    """Scale 0 … 65535 to 0 … 255, by a table: a large scan as floats would take four times its memory."""
    table = ((np.arange(65536) + 128) // 257).astype(np.uint8)
    return table[values if values.dtype.itemsize == 2 else values.clip(0, 65535)]


def _from_float(values: np.ndarray) -> np.ndarray:
    """Scale 0 … 1, 0 … 255 or 0 … 65535, the first that holds the largest value, to 0 … 255."""
    values = np.nan_to_num(values, posinf=0, neginf=0)
    scale = next((scale for scale in (1, 255) if values.max() <= scale), 65535)
    return np.rint(values.clip(0, scale) * (255 / scale)).astype(np.uint8)


def _straight(state: Tensor) -> Tensor:
    """Undo the premultiplication, dividing by alpha as rounded: with that alpha the colour will be seen."""
    alpha = ((state[:, 3:] + 1) * 127.5).round().clamp(0, 255) / 255
    colour = torch.where(alpha > 0, state[:, :3] / alpha, -1.0)
    return torch.cat((colour, 2 * alpha - 1), dim=1)
