"""Law 9: decode(encode(x)) = x, for every registered codec, over inputs that hypothesis makes up."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from suffuse.clips import Clip
from suffuse.codecs.audio import SoundCodec
from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.cells import CategoryCells, ConstantCells, DateCells, NumberCells
from suffuse.codecs.changes import ChangeCodec, PresentCodec
from suffuse.codecs.conditions import CaptionCodec, ClassCodec, NumberCodec, normalise
from suffuse.codecs.fields import FieldCodec
from suffuse.codecs.image import ImageCodec
from suffuse.codecs.music import MusicCodec
from suffuse.codecs.pictures import PictureCodec
from suffuse.codecs.registry import CODECS, CONDITIONS
from suffuse.codecs.segments import SegmentCodec
from suffuse.codecs.series import CalendarCodec, Channel, SeriesCodec
from suffuse.codecs.spelling import Alphabet, Letters, Words
from suffuse.codecs.table import Field, TableCodec
from suffuse.codecs.text import SequenceCodec, TextCodec, TextConditionCodec
from suffuse.codecs.video import VideoCodec
from suffuse.errors import UserError
from suffuse.learn import fit_condition
from suffuse.music import HOLD, REST, Piece, normal
from suffuse.recipes.tokens import ALPHABETS
from suffuse.rng import Streams
from suffuse.sounds import Sound
from suffuse.tree import concatenate, empty, leaves, map_leaves

few = settings(deadline=None, max_examples=30, database=None, derandomize=True)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[ImageCodec, list[Image.Image]]:
    """A codec, and pictures of its own size and mode: any bytes, 1x1 and odd sizes among them."""
    height, width, channels = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.sampled_from((1, 3, 4)))
    count = draw(st.integers(0, 3))
    pixels = draw(st.binary(min_size=count * height * width * channels, max_size=count * height * width * channels))
    arrays = np.frombuffer(pixels, np.uint8).reshape(count, height, width, channels)
    shape = (height, width) if channels == 1 else (height, width, channels)
    return ImageCodec((height, width), channels), [Image.fromarray(array.reshape(shape)) for array in arrays]


@st.composite
def label_maps(draw: st.DrawFn) -> tuple[SegmentCodec, list[Image.Image]]:
    """A codec fitted to label maps of its own size and up to 64 colours, of every mode that these come in."""
    height, width, channels = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.sampled_from((1, 3, 4)))
    colour = st.tuples(*[st.integers(0, 255)] * channels)
    colours = np.array(draw(st.lists(colour, min_size=2, max_size=64, unique=True)), np.uint8)
    count = draw(st.integers(0, 3))
    places = draw(st.lists(st.integers(0, len(colours) - 1), min_size=height * width, max_size=height * width))
    arrays = [np.roll(colours[places], shift, 0).reshape(height, width, channels) for shift in range(count)]
    raw = [Image.fromarray(array.squeeze(-1) if channels == 1 else array) for array in arrays]
    if channels == 3 and draw(st.booleans()):
        raw = [image.quantize(256) for image in raw]
    palette = colours.reshape(1, -1, channels)
    every = Image.fromarray(palette.squeeze(-1) if channels == 1 else palette)
    return SegmentCodec.fit([("every", every), *(("", image) for image in raw)], (height, width)), raw


class Heard:
    """A sound, like any whose samples differ from its own by at most 80 decibels below the loudest."""

    def __init__(self, sound: Sound):
        self.sound = sound

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Heard)
        own, others = self.sound.samples, other.sound.samples
        return (
            self.sound.rate == other.sound.rate
            and own.shape == others.shape
            and float(np.abs(own - others).max()) <= 1e-4 * float(np.abs(others).max())
        )


@st.composite
def sounds(draw: st.DrawFn) -> tuple[SoundCodec, list[Sound]]:
    """Sounds of a codec's own length: one sample, odd lengths and silence among them, from 8 to 96 kHz."""
    rate, channels = draw(st.sampled_from((8000, 11025, 22050, 44100, 48000, 96000))), draw(st.integers(1, 2))
    length, hop = draw(st.integers(1, 70)), draw(st.sampled_from((None, 1, 4, 8, 64)))
    codec = SoundCodec(rate, channels, length, hop, draw(st.sampled_from((1.0, 0.5, 0.3))), 3.0)
    levels = draw(st.lists(st.sampled_from((0.0, 1.0, 0.1, 1e-3)), max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return codec, [Sound(level * rng.uniform(-1, 1, (channels, length)).astype(np.float32), rate) for level in levels]


def coloured(image: Image.Image) -> bytes:
    return image.convert("RGBA").tobytes()


def visible(image: Image.Image) -> bytes:
    """All that `ImageCodec` promises to keep: everything, but the colour under alpha 0."""
    pixels = np.array(image)
    if image.mode == "RGBA":
        pixels[pixels[..., 3] == 0] = 0
    return image.mode.encode() + pixels.tobytes()


@dataclass
class Case:
    """How to try a codec: examples of (codec, raw), and what of a raw item comes back."""

    examples: st.SearchStrategy[tuple[Any, list[Any]]]
    kept: Callable[[Any], Any]


HARD = """
grinning face with big eyes|ΑΣ ΑΣ|İstanbul|e\u0301|日本語 テキスト|👩\u200d🚀🇹🇷|\U000e0041\U0010fffd|a\u0000b|ﬁ
""".strip().split("|")
unicode = st.text(max_size=12) | st.sampled_from(("", " ", *HARD))


@st.composite
def captions(draw: st.DrawFn) -> tuple[CaptionCodec, list[str]]:
    """A vocabulary fitted on some captions, and others; 200 tokens hold all of them, whatever the fit."""
    fitted = draw(st.lists(unicode, min_size=1, max_size=4))
    return CaptionCodec(CaptionCodec.fit(fitted + fitted).pieces, 200), draw(st.lists(unicode, max_size=4))


@st.composite
def classes(draw: st.DrawFn) -> tuple[ClassCodec, list[str]]:
    names = draw(st.lists(unicode | st.integers().map(str), min_size=1, max_size=6, unique=True))
    return ClassCodec.fit(names), draw(st.lists(st.sampled_from(names), max_size=8))


COLUMNS = {
    "whole": (st.integers(-3000, 3000), NumberCells.fit),
    "decimals": (st.integers(-3000, 3000).map(lambda n: n / 100), NumberCells.fit),
    "days": (st.dates(), DateCells.fit),
    "moments": (st.integers(0, 10**6).map(lambda n: datetime.fromtimestamp(1e9 + n, UTC)), DateCells.fit),
    "texts": (unicode, CategoryCells.fit),
    "booleans": (st.booleans(), CategoryCells.fit),
    "many": (st.integers(0, 5000), lambda known: CategoryCells.fit([*known, *range(5001)])),
    "one": (st.just("x"), lambda known: ConstantCells(known[0])),
}


@st.composite
def rows(draw: st.DrawFn) -> tuple[TableCodec, list[dict[str, Any]]]:
    """Rows of some kinds of columns, with empty cells, and a codec fitted to them."""
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4, unique=True))
    count, fields, columns = draw(st.integers(0, 5)), [], {}
    if names == ["one"]:  # a table of which nothing varies has no states
        names = ["one", "whole"]
    for name in names:
        values, fit = COLUMNS[name]
        missing = name != "one" and draw(st.booleans())
        cells = draw(st.lists(values | st.none() if missing else values, min_size=count, max_size=count))
        known = [cell for cell in cells if cell is not None] or [draw(values)]
        fields.append(Field(name, fit(known), missing))
        columns[name] = cells
    return TableCodec(fields), [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@st.composite
def texts(draw: st.DrawFn) -> tuple[TextCodec, list[str]]:
    """Letters or words learned from some texts, and others, all of which fit into 200 tokens."""
    fitted = draw(st.lists(unicode, min_size=1, max_size=4))
    spelling = draw(st.sampled_from((Letters.fit, partial(Words.fit, vocabulary=300))))(fitted + fitted)
    return TextCodec(spelling, 200), draw(st.lists(unicode, max_size=4))


@st.composite
def sequences(draw: st.DrawFn) -> tuple[SequenceCodec, list[str]]:
    alphabet = draw(st.sampled_from(sorted(ALPHABETS)))
    raw = draw(st.lists(st.text(ALPHABETS[alphabet], max_size=20), max_size=4))
    return SequenceCodec(Alphabet(ALPHABETS[alphabet], alphabet), 20), raw


@st.composite
def told_texts(draw: st.DrawFn) -> tuple[TextConditionCodec, list[str]]:
    return TextConditionCodec(Letters.fit(draw(st.lists(unicode, max_size=4)), least=1), 200), draw(
        st.lists(unicode, max_size=4)
    )


@st.composite
def windows(draw: st.DrawFn) -> tuple[SeriesCodec, list[pd.DataFrame]]:
    """Windows of a whole, a positive and a drifting channel, and a codec fitted to them all."""
    count, length = draw(st.integers(0, 3)), draw(st.integers(2, 9))
    columns = {"whole": st.integers(-99, 99), "price": st.floats(0.01, 1e6), "drift": st.floats(-1e6, 1e6)}
    raw = [
        pd.DataFrame(
            {"t": range(length)}
            | {n: draw(st.lists(each, min_size=length, max_size=length)) for n, each in columns.items()}
        )
        for _ in range(count)
    ]
    for frame in raw:
        frame.attrs |= {n: max(np.abs(other[n]).max() for other in raw) for n in columns}
    channels = [Channel.fit(n, [f[n].to_numpy(float) for f in raw] or [np.arange(4.0)], length) for n in columns]
    return SeriesCodec(channels, length, "t"), raw


def near(frame: pd.DataFrame) -> tuple[object, ...]:
    """Whole numbers as they are, and others but for a hundred-thousandth of the largest of the channel."""
    whole = tuple(frame["whole"])
    return (whole, *(Near(frame[name].to_numpy(float), frame.attrs.get(name, 0.0)) for name in ("price", "drift")))


class Near:
    def __init__(self, values: np.ndarray, largest: float) -> None:
        self.values, self.largest = values, largest

    def __eq__(self, other: object) -> bool:
        scale = max(self.largest, other.largest) if isinstance(other, Near) else 0.0
        return isinstance(other, Near) and np.allclose(self.values, other.values, rtol=1e-4, atol=1e-5 * scale)


SPACES = st.sampled_from([(1,), (7,), (16,), (1, 1), (3, 5), (8, 2), (2, 3, 5), (1, 4, 1)])


@st.composite
def fields(draw: st.DrawFn) -> tuple[FieldCodec, list[xr.Dataset]]:
    """Fields of 1, 2 and 3 axes: single and double numbers, positive and skewed ones, land, uneven places, units."""
    space, count, rng = draw(SPACES), draw(st.integers(1, 3)), np.random.default_rng(draw(st.integers(0, 99)))
    axes, size = ("a", "b", "c")[: len(space)], draw(st.sampled_from([1e-6, 1.0, 1e6]))
    land = rng.random(space) < draw(st.sampled_from([0.0, 0.4]))
    land[(0,) * len(space)] = False
    places = {axis: (axis, rng.random(n).cumsum(), {"units": "m"}) for axis, n in zip(axes, space, strict=True)}
    places["height"] = (axes, rng.random(space))

    def one() -> xr.Dataset:
        u = np.where(land, np.nan, size * (rng.normal(size=space) + draw(st.sampled_from([0, 100]))))
        v, w = np.exp(3 * rng.normal(size=space)), np.full(space, 2.5)
        values = {"u": (axes, u.astype("f4"), {"units": "K"}), "v": (axes, v, {}), "w": (axes, w, {"units": "1"})}
        return xr.Dataset(values, places)

    raw = [one() for _ in range(count)]
    for item in raw:
        item.attrs |= {name: max(float(np.nanmax(np.abs(other[name]))) for other in raw) for name in item.data_vars}
    return FieldCodec.fit(raw, axes, axes[:1]), raw[: draw(st.integers(0, count))]


class Alike:
    """A field: the same names, axes, places, units and types, and numbers within a millionth of the largest."""

    def __init__(self, item: xr.Dataset) -> None:
        self.item = item

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Alike)
        places = [each.item.reset_coords()[[*each.item.coords]] for each in (self, other)]
        xr.testing.assert_identical(*(each.assign_attrs(dict.fromkeys(self.item.data_vars)) for each in places))
        for name, own in self.item.data_vars.items():
            its = other.item[name]
            assert (own.dims, own.dtype, own.attrs) == (its.dims, its.dtype, its.attrs)
            assert (np.isnan(own.values) == np.isnan(its.values)).all()
            scale = max(self.item.attrs.get(name, 0.0), other.item.attrs.get(name, 0.0))
            relative = name == "v"  # logarithms are as near as single numbers are
            np.testing.assert_allclose(own.values, its.values, rtol=1e-4 if relative else 0, atol=2e-6 * scale)
        return True


@st.composite
def changes(draw: st.DrawFn) -> tuple[ChangeCodec, list[xr.Dataset]]:
    codec, raw = draw(fields())
    rng = np.random.default_rng(0)
    kept = [codec.items_of(np.zeros((1, *codec.shape)))[0] for _ in raw]
    for item in kept:
        for each in codec.variables:
            moved = np.exp(rng.normal(size=codec.grid.shape)) if each.logarithm else rng.normal(size=codec.grid.shape)
            item[each.name].data = np.where(np.isnan(item[each.name]), np.nan, moved).astype(each.dtype)
            item.attrs[each.name] = float(np.nanmax(np.abs(item[each.name])))
    return ChangeCodec(codec, dict.fromkeys(codec.names, 0.5)), kept


@st.composite
def pieces(draw: st.DrawFn) -> tuple[MusicCodec, list[Piece]]:
    """Pieces of one to eight voices, of one note and of odd lengths among them, in the range of the codec."""
    voices, length, low = draw(st.integers(1, 8)), draw(st.integers(1, 40)), draw(st.integers(0, 100))
    names = tuple(f"voice {n}" for n in range(voices))
    raw: list[Piece] = []
    for _ in range(draw(st.integers(0, 3))):
        cell = st.sampled_from([REST, HOLD, HOLD, *range(low, low + 25)])
        count = voices * draw(st.integers(1, length))
        cells = np.array(draw(st.lists(cell, min_size=count, max_size=count)), np.uint8)
        raw.append(Piece("", normal(cells.reshape(voices, -1)), names))
    return MusicCodec(names, length, low, low + 24, [60.0] * voices), raw


@st.composite
def clips(draw: st.DrawFn) -> tuple[VideoCodec, list[Clip]]:
    """Clips of odd sizes and lengths, grey and coloured, one frame and one pixel among them."""
    length, height, width = draw(st.integers(1, 9)), draw(st.integers(1, 17)), draw(st.integers(1, 17))
    channels, rate = draw(st.sampled_from((1, 3))), draw(st.sampled_from((Fraction(25), Fraction(30000, 1001))))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shape = (draw(st.integers(0, 3)), length, height, width, channels)
    raw = [Clip(frames, rate) for frames in rng.integers(0, 256, shape, np.uint8)]
    return VideoCodec(length, (height, width), channels, rate), raw


CASES = {
    "audio": Case(sounds(), Heard),
    "video": Case(clips(), lambda clip: (clip.size, clip.rate, clip.frames.tobytes())),
    "music": Case(pieces(), lambda piece: piece.cells.tolist()),
    "field": Case(fields(), Alike),
    "next-field": Case(changes(), Alike),
    "series": Case(windows(), near),
    "image": Case(pictures(), visible),
    "segments": Case(label_maps(), coloured),
    "table": Case(rows(), dict),
    "text": Case(texts(), str),
    "sequence": Case(sequences(), str),
}


@st.composite
def single_numbers(draw: st.DrawFn) -> tuple[NumberCodec, list[float]]:
    """Numbers of six digits, in units that float32 holds."""
    mean, deviation = draw(st.integers(-999, 999)), 2.0 ** draw(st.integers(-4, 9))
    steps = draw(st.lists(st.integers(-8, 8), max_size=5))
    return NumberCodec(mean, deviation), [mean + deviation * step / 4 for step in steps]


@st.composite
def hours(draw: st.DrawFn) -> tuple[CalendarCodec, list[str]]:
    days = draw(st.lists(st.tuples(st.dates(date(1700, 1, 1), date(2200, 1, 1)), st.integers(0, 3)), max_size=4))
    return CalendarCodec(("day",)), [f"{day} {6 * quarter:02d}:00" for day, quarter in days]


@st.composite
def told_pictures(draw: st.DrawFn) -> tuple[PictureCodec, list[Image.Image]]:
    codec, raw = draw(pictures().filter(lambda example: example[0].channels < 4))
    return PictureCodec(codec), raw


@st.composite
def told_fields(draw: st.DrawFn) -> tuple[PresentCodec, list[xr.Dataset]]:
    codec, raw = draw(fields())
    return PresentCodec(codec), raw


CONDITION_CASES = {
    "present": Case(told_fields(), Alike),
    "picture": Case(told_pictures(), Image.Image.copy),
    "calendar": Case(hours(), lambda moment: f"day {100 * int(moment[-5:-3]) // 24}%"),
    "classes": Case(classes(), str),
    "captions": Case(captions(), normalise),
    "texts": Case(told_texts(), str),
    "number": Case(single_numbers(), "{:.6g}".format),
}


@pytest.mark.parametrize("kind", CODECS)
def test_decode_inverts_encode(kind: str):
    @few
    @given(CASES[kind].examples)
    def law(example: tuple[Codec, list[Any]]):
        codec, raw = example
        state = codec.encode(raw)
        like = empty(codec.shape, len(raw))
        assert map_leaves(lambda leaf: leaf.shape, state) == map_leaves(lambda leaf: leaf.shape, like)
        assert [CASES[kind].kept(item) for item in codec.decode(state)] == [CASES[kind].kept(item) for item in raw]

    law()


@pytest.mark.parametrize("kind", CODECS)
def test_an_item_is_encoded_alike_in_any_company_and_by_a_rebuilt_codec(kind: str):
    @few
    @given(CASES[kind].examples)
    def law(example: tuple[Codec, list[Any]]):
        codec, raw = example
        rebuilt = CODECS[kind].from_config(json.loads(json.dumps(codec.config())))
        assert rebuilt.config() == codec.config()
        if raw:
            alone = concatenate([rebuilt.encode([item]) for item in raw])
            assert all(map(torch.equal, leaves(alone), leaves(codec.encode(raw))))

    law()


@pytest.mark.parametrize("kind", CONDITIONS)
def test_decode_inverts_encode_of_conditions(kind: str):
    @few
    @given(CONDITION_CASES[kind].examples)
    def law(example: tuple[ConditionCodec, list[str]]):
        codec, raw = example
        rebuilt = CONDITIONS[kind].from_config(json.loads(json.dumps(codec.config())))
        values, present = rebuilt.encode([*raw, None])
        assert present.tolist() == [True] * len(raw) + [False]
        back = rebuilt.decode(values[:-1])
        wanted = [CONDITION_CASES[kind].kept(item) for item in raw]
        assert (list(map(Alike, back)) if kind == "present" else back) == wanted
        assert torch.equal(codec.encode(raw)[0], values[:-1])
        spec = codec.spec()
        if spec["kind"] == "vector":
            assert values.shape == (len(raw) + 1, spec["size"])
            assert values.isfinite().all()
        elif spec["kind"] == "picture":
            assert values.shape[:2] == (len(raw) + 1, spec["channels"])
            assert kind != "picture" or values.abs().max() <= 1
            assert not values[-1].any()
        else:
            assert spec["kind"] in ("classes", "tokens")
            assert values.numel() == 0 or 0 <= values.min() <= values.max() < spec.get("count", spec.get("vocabulary"))

    law()


@few
@given(st.lists(st.floats(-1e9, 1e9) | st.integers(-99, 99).map(str), min_size=1, max_size=9))
def test_numbers_are_told_in_deviations_from_their_mean(fitted: list[float | str]):
    codec = NumberCodec.fit([None, *fitted])
    told, present = codec.encode([None, *fitted])
    assert present.tolist() == [False] + [True] * len(fitted)
    assert told[0] == 0
    assert told.abs().max() <= len(fitted) ** 0.5 + 1e-3
    numbers = torch.tensor([float(value) for value in fitted], dtype=torch.float64)
    if numbers.std(correction=0) > 1e-6 * numbers.abs().max():
        assert told[1:].mean().abs() < 1e-3
        assert told[1:].std(correction=0) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1, 2] * 50, "classes"),
        (range(500), "number"),
        ([i / 7 for i in range(60)], "number"),
        ([f"{i / 7}" for i in range(60)], "number"),
        ([0.5, 1.5, None], "classes"),
        (["a", "b"], "classes"),
        ([True, False], "classes"),
        ([f"word {i}" for i in range(200)], "captions"),
    ],
)
def test_a_field_is_told_as_what_its_values_are(values, kind):
    assert fit_condition(list(values), range(len(values))).kind == kind


@pytest.mark.parametrize("value", ["tall", float("nan"), "inf"])
def test_what_is_no_number_is_refused(value):
    codec = NumberCodec.fit([1, 2])
    assert not codec.knows(value)
    with pytest.raises(UserError, match="no finite number"):
        codec.encode([value])


@few
@given(st.text(max_size=30))
def test_normalising_twice_is_normalising_once(caption: str):
    assert normalise(normalise(caption)) == normalise(caption)


@few
@given(st.lists(unicode, min_size=1, max_size=4), unicode)
def test_an_empty_caption_is_not_a_missing_one_and_no_sequence_is_empty(fitted: list[str], caption: str):
    tokens, _ = CaptionCodec.fit(fitted).encode([caption, "", None])
    assert (tokens[:2, 0] == 1).all()
    assert tokens[1, 1:].eq(0).all()
    assert tokens[2].eq(0).all()


@few
@given(st.data())
def test_a_visible_pixel_of_rgba_survives_whatever_its_alpha(data: st.DataObject):
    colour = data.draw(st.tuples(*[st.integers(0, 255)] * 3))
    row = np.array([[[*colour, alpha] for alpha in range(256)]], np.uint8)
    codec = ImageCodec((1, 256), 4)
    back = np.array(codec.decode(codec.encode([Image.fromarray(row)]))[0])
    assert (back[:, 1:] == row[:, 1:]).all()
    assert back[0, 0].tolist() == [0, 0, 0, 0]


# Tables


@pytest.mark.parametrize("values", [[0] * 50 + [1, 5, 5, 7], list(range(1000)) * 3, [0.5, 0.25, 3]])
def test_every_point_of_a_cell_leads_back_to_its_value(values: list[float]):
    codec = TableCodec([Field("x", NumberCells.fit(values), False)])
    raw = [{"x": value} for value in values]
    packed = codec.pack(raw)
    for seed in range(20):
        state = codec.unpack(packed, Streams.of(seed, range(len(raw))))
        assert codec.decode(state) == raw


def test_reals_come_back_within_a_millionth_of_their_range():
    for values in np.random.default_rng(1).standard_cauchy((20, 400)):
        codec = TableCodec([Field("x", NumberCells.fit(values.tolist()), False)])
        found = codec.decode(codec.encode([{"x": value} for value in values.tolist()]))
        error = np.abs(values - [row["x"] for row in found])
        assert error.max() < 1e-6 * np.ptp(values)


def test_numbers_become_normal_whatever_they_were():
    """Ties, a heavy tail and whole numbers: all of it is one standard normal law."""
    rng = np.random.default_rng(0)
    for values in (rng.poisson(2.0, 20_000), rng.pareto(1.0, 20_000), np.maximum(rng.normal(size=20_000), 0)):
        codec = TableCodec([Field("x", NumberCells.fit(values.tolist()), False)])
        packed = codec.pack([{"x": value} for value in values.tolist()])
        z = codec.unpack(packed, Streams.of(1, range(20_000)))["numbers"][:, 0].double().numpy()
        assert stats.kstest(z, stats.norm.cdf).pvalue > 1e-4
        assert stats.kstest(z * 1.07, stats.norm.cdf).pvalue < 1e-4


def test_an_empty_cell_is_asked_for_and_all_others_are_given():
    fields = [
        Field("age", NumberCells.fit([20, 30, 60]), True),
        Field("sex", CategoryCells.fit(["f", "m"]), True),
        Field("city", CategoryCells.fit(["A", "B", "C"]), False),
    ]
    codec = TableCodec(fields)
    state, given = codec.partial(
        [{"age": None, "sex": "m", "city": "unheard of"}, {"age": 30, "sex": None, "city": "B"}]
    )
    assert given["numbers"].tolist() == [[False], [True]]
    # Tokens: age there, sex there, sex, city. That a cell is not empty is always given.
    assert given["tokens"].tolist() == [[True, True, True, False], [True, True, False, True]]
    assert state["tokens"][:, :2].tolist() == [[1, 1], [1, 1]]
    filled = codec.decode(state)
    assert codec.put_back({"age": 31.5, "sex": None, "city": "Z"}, filled[1]) == {"age": 31.5, "sex": "f", "city": "Z"}


def test_many_categories_are_two_digits():
    cells = CategoryCells.fit([f"c{n}" for n in range(10_000)])
    assert cells.sizes == (100, 100)
    digits = cells.encode(["c17", "c9999", "c10000"])[1]
    assert cells.decode(np.zeros(2), digits[:2]) == ["c17", "c9999"]
    assert digits[2].tolist() == [-1, -1]


@few
@given(st.integers(2, 600), st.booleans(), st.booleans())
def test_the_part_that_is_asked_for_is_the_targets_cell(count: int, missing: bool, number: bool):
    """Its elements hold the value, whatever else a row says; without it, they alone are unknown."""
    target = NumberCells.fit([1.5, 2.5, 4.0]) if number else CategoryCells(range(count))
    rest = [Field("a", NumberCells.fit([1, 2, 3]), True), Field("b", CategoryCells("xyz"), False)]
    codec = TableCodec([rest[0], Field("t", target, missing), rest[1]], "t")
    row = {"a": 2, "t": 2.5 if number else count - 1, "b": "z"}
    question = codec.question
    assert question is not None
    assert question.values == (() if number else tuple(range(count)))
    assert codec.answer(row) == row["t"]
    state, known = codec.partial([codec.unanswered(row)])
    for name, asked in question.elements.items():
        assert torch.equal(known[name], ~asked)
    if not number:
        placed = {
            name: torch.where(asked, question.candidates[name][-1:], state[name])
            for name, asked in question.elements.items()
        }
        assert codec.decode(placed) == [row]


def test_nothing_is_asked_of_a_table_without_a_target_or_with_a_constant_one():
    fields = [Field("a", NumberCells.fit([1, 2, 3]), True), Field("c", ConstantCells(1), False)]
    assert TableCodec(fields).question is None
    assert TableCodec(fields, "c").question is None


# Texts


@pytest.mark.parametrize("make", [lambda: Letters("é大"), lambda: Words.fit(["the cat sat on the mat"] * 3, 300)])
def test_what_is_given_of_a_text_stays_to_the_letter_whatever_fills_the_gaps(make: Callable[[], Any]):
    codec = TextCodec(make(), 40)

    @settings(few, max_examples=100)
    @given(st.lists(st.text("ab é大[]\n0123", max_size=60), min_size=1, max_size=4), st.data())
    def law(parts: list[str], data: st.DataObject):
        parts = [part.replace("[[", "").replace("]]", "") for part in parts]
        sizes = data.draw(
            st.lists(st.sampled_from(["", "0", "1", "5"]), min_size=len(parts) - 1, max_size=len(parts) - 1)
        )
        text = parts[0] + "".join(f"[[{size}]]{part}" for size, part in zip(sizes, parts[1:], strict=True))
        assume(len(re.findall(r"\[\[\d*\]\]", text)) == len(sizes))
        try:
            state, known = codec.partial([text])
        except UserError:
            assume(False)
        drawn = data.draw(st.lists(st.integers(0, codec.vocabulary - 1), min_size=40, max_size=40))
        filled = codec.fill([text], torch.where(known, state, torch.tensor([drawn])))[0]
        pattern = "(.*)".join(map(re.escape, parts))
        assert re.fullmatch(pattern, filled, re.DOTALL)
        wanted = sum(int(size) for size in sizes if size)
        assert int((~known).sum()) >= wanted
        assert "" in sizes or int((~known).sum()) == wanted

    law()


def test_a_window_of_a_long_text_may_be_any_and_its_end_is_seen_as_often_as_it_should_be():
    codec = TextCodec(Letters(), 8, longest=32)
    packed = codec.pack(["abcdefghijklmnopqrst"]).expand(14_000, -1)
    seen = codec.decode(codec.unpack(packed, Streams.of(0, range(14_000))))
    windows = ["abcdefghijklmnopqrst"[at : at + 8] for at in range(14)]  # the last has seven letters, and the end
    assert set(seen) == set(windows)
    counts = np.array([seen.count(window) for window in windows])
    assert stats.chisquare(counts).pvalue > 1e-4
    assert codec.decode(codec.unpack(packed[:1])) == ["abcdefgh"]


def test_pieces_of_a_long_text_are_the_whole():
    codec = TextCodec(Letters.fit(["大江东去"] * 2), 5)
    text = "大江东去, 浪淘尽 and so on"
    assert "".join(codec.pieces(text)) == text
    assert all(len(codec.spelling.spell(piece)) <= 5 for piece in codec.pieces(text))


def test_a_text_of_the_length_of_a_window_is_shown_whole_whatever_the_streams():
    codec = TextCodec(Letters(), 8, longest=20)
    state = codec.unpack(codec.pack(["abcdefgh"] * 200), Streams.of(0, torch.arange(200)))
    assert codec.decode(state) == ["abcdefgh"] * 200


def test_a_piece_of_a_text_is_a_piece_itself():
    corpus = ["the caterpillar categorised the catalogue of other cathedrals"] * 20
    codec = TextCodec(Words.fit(corpus, 300), 6)
    pieces = codec.pieces("the cathedral of the caterpillar, the cathedrals of others " * 5)
    assert [codec.pieces(piece) for piece in pieces] == [[piece] for piece in pieces]
