"""Pictures of every mode come out right in value, size and orientation."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

from suffuse.codecs.conditions import CaptionCodec, ClassCodec
from suffuse.codecs.image import ImageCodec
from suffuse.errors import UserError


def saved(image: Image.Image, form: str, **options: object) -> Image.Image:
    """The picture as a file of that form gives it back."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return Image.open(io.BytesIO(stream.getvalue()))


def levels(image: Image.Image, channels: int) -> np.ndarray:
    """The codec's own picture of it, at its own size, as 8-bit levels."""
    codec = ImageCodec((image.height, image.width), channels)
    return np.array(codec.decode(codec.encode([image]))[0])


def test_16_bit_grey_is_scaled_and_not_clipped():
    values = np.array([[0, 1, 128, 129, 257, 5000, 32768, 65535]], np.uint16)
    right = np.rint(values / 257)
    for form, stored in (("PNG", values), ("TIFF", values), ("TIFF", values.astype(np.int32))):
        image = saved(Image.fromarray(stored), form)
        assert image.mode in ("I;16", "I")
        assert (levels(image, 1) == right).all()
        assert (levels(image, 3) == right[..., None]).all()
    big_endian = Image.frombytes("I;16B", (8, 1), values.astype(">u2").tobytes())
    assert (levels(big_endian, 1) == right).all()


def test_16_bit_colour_png_keeps_its_high_byte():
    # PIL writes no 16-bit RGB: a PNG by hand, of one pixel.
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    pixel = zlib.compress(b"\0" + struct.pack(">3H", 65535, 32896, 257))
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")
    assert levels(Image.open(io.BytesIO(data)), 3).tolist() == [[[255, 128, 1]]]


@pytest.mark.parametrize("scale", [1, 255, 65535])
def test_float_grey_is_scaled_by_the_range_that_holds_it(scale: int):
    values = np.array([[0, 0.25, 0.5, 1]], np.float32) * scale
    image = saved(Image.fromarray(values), "TIFF")
    assert image.mode == "F"
    assert levels(image, 1).tolist() == [[0, 64, 128, 255]]


def test_float_grey_may_hold_what_is_no_number():
    assert levels(Image.fromarray(np.array([[np.nan, np.inf, 1]], np.float32)), 1).tolist() == [[0, 0, 255]]


def test_palette_with_and_without_transparency():
    palette = Image.new("P", (3, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 255])
    palette.putdata([0, 1, 2])
    assert levels(saved(palette, "PNG"), 3).tolist() == [[[10, 20, 30], [200, 100, 50], [0, 0, 255]]]
    image = saved(palette, "PNG", transparency=bytes([255, 0, 128]))
    assert image.mode == "P"
    assert levels(image, 4).tolist() == [[[10, 20, 30, 255], [0, 0, 0, 0], [0, 0, 255, 128]]]
    assert levels(image, 3).tolist() == [[[10, 20, 30], [255, 255, 255], [127, 127, 255]]]
    gif = saved(palette, "GIF", transparency=1)
    assert levels(gif, 4).tolist() == [[[10, 20, 30, 255], [0, 0, 0, 0], [0, 0, 255, 255]]]


def test_a_colour_that_stands_for_transparency():
    image = saved(Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)), "PNG", transparency=(1, 2, 3))
    assert image.mode == "RGB"
    assert levels(image, 3).tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_grey_with_alpha_one_bit_and_cmyk():
    pair = Image.fromarray(np.array([[[100, 255], [100, 0], [100, 51]]], np.uint8), "LA")
    assert levels(saved(pair, "PNG"), 1).tolist() == [[100, 255, 224]]
    bits = saved(Image.fromarray(np.array([[True, False]])), "PNG")
    assert bits.mode == "1"
    assert levels(bits, 1).tolist() == [[255, 0]]
    assert levels(bits, 3).tolist() == [[[255] * 3, [0] * 3]]
    cmyk = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    assert cmyk.mode == "CMYK"
    assert np.abs(levels(cmyk, 3).astype(int) - [255, 0, 0]).max() <= 2


def test_lab_is_brought_to_rgb():
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    colours = Image.fromarray(np.array([[[200, 30, 60], [20, 120, 220]]], np.uint8))
    lab = saved(ImageCms.applyTransform(colours, transform), "TIFF")
    assert lab.mode == "LAB"
    assert levels(lab, 3).shape == (1, 2, 3)


def test_grey_from_colour_is_the_luma_of_the_itu():
    primaries = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8))
    assert levels(primaries, 1).tolist() == [[round(255 * part) for part in (0.299, 0.587, 0.114, 1)]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_the_orientation_of_exif_is_applied(orientation: int, form: str):
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 10
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = saved(Image.fromarray(pixels), form, exif=exif)
    upright = np.array(ImageOps.exif_transpose(image))
    codec = ImageCodec(upright.shape[:2])
    assert (np.array(codec.decode(codec.encode([image]))[0]) == upright).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_broken_exif_loses_no_picture():
    image = saved(Image.new("RGB", (8, 8), "white"), "JPEG", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff\x01")
    assert (levels(image, 3) == 255).all()


def test_shrinking_averages_what_it_cannot_show():
    board = (np.indices((96, 96)).sum(0) % 2 * 255).astype(np.uint8)
    small = ImageCodec(8, 1).encode([Image.fromarray(board)])
    assert small.abs().max() < 0.02


def test_the_shorter_side_is_fitted_and_the_centre_kept():
    thirds = np.repeat(np.array([10, 128, 250], np.uint8), 12)
    wide, tall = np.tile(thirds, (12, 1)), np.tile(thirds[:, None], (1, 12))
    codec = ImageCodec(12, 1)
    for pixels in (wide, tall):
        assert (np.array(codec.decode(codec.encode([Image.fromarray(pixels)]))[0]) == 128).all()
    banner = ImageCodec((4, 12), 1)
    cut = np.array(banner.decode(banner.encode([Image.fromarray(wide)]))[0])
    assert cut.shape == (4, 12)
    assert [cut[:, 1].max(), cut[:, -2].min()] == pytest.approx([10, 250], abs=3)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (299, 1), (7, 5)])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_any_size_goes_in_and_a_flat_picture_stays_flat(size: tuple[int, int], mode: str):
    colour = {"L": 77, "RGB": (1, 128, 254), "RGBA": (1, 128, 254, 255)}[mode]
    codec = ImageCodec((6, 11), 4)
    (back,) = codec.decode(codec.encode([Image.new(mode, size, colour)]))
    assert (np.array(back) == (colour if mode == "RGBA" else np.append(np.broadcast_to(colour, 3), 255))).all()


def test_resizing_draws_no_fringe_from_under_transparency():
    def disc(hidden: tuple[int, int, int]) -> Image.Image:
        y, x = np.indices((64, 64)) - 31.5
        inside = (x**2 + y**2 < 25**2)[..., None]
        return Image.fromarray(np.where(inside, [200, 40, 40, 255], [*hidden, 0]).astype(np.uint8))

    codec = ImageCodec(16, 4)
    green, blue = codec.encode([disc((0, 255, 0)), disc((0, 0, 255))])
    assert torch.equal(green, blue)
    back = np.array(codec.decode(green[None])[0]).astype(int)
    edge = back[(back[..., 3] > 20) & (back[..., 3] < 235)]
    assert len(edge) > 10
    assert np.abs(edge[:, :3] - [200, 40, 40]).max() <= 255 / 20
    on_white = np.array(ImageCodec(16, 3).decode(ImageCodec(16, 3).encode([disc((0, 255, 0))]))[0]).astype(int)
    assert (on_white[..., 1] - on_white[..., 2] == 0).all()  # no green


def test_the_mean_of_two_states_looks_like_the_mean_of_two_pictures():
    codec = ImageCodec(1, 4)
    clear, red = Image.new("RGBA", (1, 1), (0, 255, 0, 0)), Image.new("RGBA", (1, 1), (255, 0, 0, 255))
    (mean,) = codec.decode(codec.encode([clear, red]).mean(0, keepdim=True))
    assert mean.getpixel((0, 0)) == (255, 0, 0, 128)


def test_decoding_clamps_and_rounds_and_takes_any_float():
    state = torch.tensor([-3.0, -1.0, -1 + 0.98 / 127.5 / 2, 0.5 / 127.5 - 1 + 0.01, 1.0, 7.0]).reshape(1, 1, 1, 6)
    assert np.array(ImageCodec((1, 6), 1).decode(state)[0]).tolist() == [[0, 0, 0, 2, 255, 255]]
    grid = torch.arange(256).reshape(1, 1, 16, 16) / 127.5 - 1
    for dtype in (torch.float32, torch.float64):
        assert np.array(ImageCodec(16, 1).decode(grid.to(dtype))[0]).ravel().tolist() == list(range(256))
    wild = 3 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    (image,) = ImageCodec(8, 4).decode(wild)
    pixels = np.array(image)
    assert (pixels[pixels[..., 3] == 0] == 0).all()
    assert (pixels[..., 3] == ((wild[0, 3] + 1) * 127.5).round().clamp(0, 255).numpy()).all()


def test_the_first_frame_of_an_animation_is_read():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    assert levels(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), 3)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("size", "channels"), [(0, 3), ((4, -1), 3), (8, 2)])
def test_a_codec_that_cannot_be_is_refused(size: int, channels: int):
    with pytest.raises(UserError):
        ImageCodec(size, channels)


def test_classes_keep_the_order_of_numbers_and_of_people():
    assert ClassCodec.fit([10, 9, "2", 2, None]).names == ("2", "9", "10")
    assert ClassCodec.fit([0.0, -1, 2.5]).names == ("-1", "0", "2.5")
    assert ClassCodec.fit(["size 10", "Size 9", "size 9"]).names == ("Size 9", "size 9", "size 10")
    assert ClassCodec.fit(["nan", "1", "x"]).names == ("1", "nan", "x")
    codec = ClassCodec.fit(range(12))
    assert codec.encode([11, "11", None])[0].tolist() == [11, 11, 0]


@pytest.mark.parametrize(
    ("names", "asked", "said"),
    [
        (["cats", "dogs"], "cat", "did you mean 'cats'?"),
        (["cats", "dogs"], "DOGS", "did you mean 'dogs'?"),
        (["cats", "dogs"], 0, "2 classes: cats, dogs"),
        ([str(i) for i in range(100)], "zebra", "…"),
    ],
)
def test_an_unknown_class_is_named_with_the_nearest(names: list[str], asked: str, said: str):
    with pytest.raises(UserError) as error:
        ClassCodec.fit(names).encode([asked])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: ClassCodec.fit([None, None]),
        lambda: ClassCodec(["a", "b", "a"]),
        lambda: CaptionCodec.fit([None]),
        lambda: CaptionCodec.fit([["a list", "of captions"]]),
    ],
)
def test_conditions_that_cannot_be_fitted_are_refused(mistake: object):
    with pytest.raises(UserError):
        mistake()


def test_words_seen_twice_are_one_token_and_others_are_spelled():
    codec = CaptionCodec.fit(["red cat", "red dog", "猫 cat", "猫 dog", "猫"])
    tokens, _ = codec.encode(["red cat", "猫猫", "cow"])
    used = (tokens > 0).sum(1).tolist()
    assert used == [3, 4, 5]  # start + 2 words; start + space + 2 letters; start + " cow" byte by byte
    assert codec.decode(tokens) == ["red cat", "猫猫", "cow"]


def test_two_spellings_of_one_caption_are_one():
    codec = CaptionCodec.fit(["café noir", "noir café"])
    spellings = ["café noir", "CAFÉ\u00a0 NOIR\n", "cafe\u0301 noir"]
    tokens, _ = codec.encode(spellings)
    assert (tokens == tokens[0]).all()
    assert codec.decode(codec.encode(["a\ud800b"])[0]) == ["a?b"]  # what a terminal makes of bytes that are no UTF-8


def test_what_is_said_once_is_no_word():
    assert CaptionCodec.fit(["one two 三", "two three"]).pieces == (" two",)


def test_a_caption_longer_than_the_codec_is_cut():
    codec = CaptionCodec.fit(["a b c"] * 2)
    tokens, _ = codec.encode(["a b c " * 50])
    assert tokens.shape == (1, codec.length)
    assert ("a b c " * 50).startswith(codec.decode(tokens)[0])


def test_a_vocabulary_does_not_depend_on_the_order_of_the_captions():
    captions = ["a cat sat", "the cat sat", "a dog sat", "日本 日本"] * 2
    assert CaptionCodec.fit(captions).config() == CaptionCodec.fit(captions[::-1]).config()
