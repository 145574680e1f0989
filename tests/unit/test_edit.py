"""Editing: what changes and what stays, masks, sizes, ways between items, and every mistake in asking for them."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import suffuse as sf
from suffuse.cli import run
from suffuse.codecs.conditions import ClassCodec
from suffuse.codecs.image import ImageCodec
from suffuse.codecs.spelling import Letters
from suffuse.codecs.text import TextCodec
from suffuse.model import Model, Origin
from suffuse.parameterizations import Direct
from suffuse.pictures import made_by
from suffuse.posteriors import Categorical
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe, SamplingSection

STD, SHIFT = 0.3, 0.3
"""Deviation of every pixel, and how much lighter or darker than grey the mean of a class is."""


class Pixels(nn.Module):
    """The exact denoiser of independent Gaussian pixels, whose mean a class moves."""

    def __init__(self, process: sf.Gaussian) -> None:
        super().__init__()
        self.process, self.shift, self.batches = process, nn.Parameter(torch.tensor(SHIFT)), []

    def forward(self, x_t: Tensor, t: Tensor, condition: dict[str, Tensor] | None) -> Tensor:
        self.batches.append(len(x_t))
        mean = torch.zeros(len(x_t))
        if condition is not None:
            mean = torch.where(condition["label/present"], self.shift * (2 * condition["label"] - 1), 0.0)
        alpha, sigma = self.process.coordinates(t, x_t)
        alpha_mean = alpha * mean[:, None, None, None]
        return mean[:, None, None, None] + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x_t - alpha_mean)


def exact(size: int = 16, channels: int = 3) -> Model:
    process = sf.Gaussian(sf.schedules.Flow())
    denoiser = sf.Denoiser(Pixels(process), process, Direct(STD), (channels, size, size))
    told = {"label": ClassCodec(["dark", "light"])}
    return Model(ImageCodec(size, channels), told, None, Origin("exact"), denoiser, SamplingSection(sampling_steps=20))


def small() -> Model:
    """An untrained network that sees its neighbours and its condition."""
    torch.manual_seed(0)
    recipe = Recipe(
        data=DataSection(size=8, channels=3, condition=("label",)),
        network=NetworkSection(width=16, multipliers=(1, 2), blocks=1),
        sampling=SamplingSection(sampling_steps=3),
    )
    model = Model(ImageCodec(8, 3), {"label": ClassCodec(["cat", "dog"])}, recipe, Origin("small"))
    for parameter in model.denoiser.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


class Alphabet(nn.Module):
    """The exact denoiser of independent letters from a to z, all alike."""

    def __init__(self, codec: TextCodec) -> None:
        super().__init__()
        logits = torch.full((codec.vocabulary,), -torch.inf)
        logits[codec.encode(["abcdefghijklmnop", "qrstuvwxyzqrstuv"]).flatten()] = 0.0
        self.logits = nn.Parameter(logits)

    def forward(self, x_t: Tensor, t: Tensor, condition: None) -> Categorical:
        return Categorical(self.logits.expand(*x_t.shape, -1))


def of_texts() -> Model:
    """Of texts of up to 16 letters."""
    codec = TextCodec(Letters(), 16)
    denoiser = sf.Denoiser(Alphabet(codec), sf.Discrete.masked(codec.vocabulary), Direct(), (16,))
    recipe = Recipe(data=DataSection(kind="text"), sampling=SamplingSection(sampling_steps=10))
    return Model(codec, {}, recipe, Origin("texts"), denoiser)


def picture(width: int = 16, height: int = 16, mode: str = "RGB", seed: int = 0) -> Image.Image:
    channels = len(mode.replace("A", "")) + ("A" in mode)
    levels = np.random.default_rng(seed).normal(127.5, STD * 127.5, (height, width, channels)).clip(1, 255)
    return Image.fromarray(levels.round().astype(np.uint8).squeeze())


def half(width: int, height: int) -> Image.Image:
    """White on the left."""
    mask = Image.new("L", (width, height))
    mask.paste(255, (0, 0, width // 2, height))
    return mask


def states(images: list[Image.Image]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(image, dtype=np.float32)) for image in images]) / 127.5 - 1


def pixels(images: list[Image.Image]) -> list[bytes]:
    return [image.tobytes() for image in images]


@pytest.fixture(scope="module")
def model() -> Model:
    return exact()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    small().save(folder)
    return folder


# What changes


@pytest.mark.parametrize("strength", [0.2, 0.5, 0.8])
def test_of_gaussian_pixels_as_much_is_kept_as_the_noise_left(strength: float):
    """The walk brings alpha x_0 + sigma eps to the size of data: the correlation is alpha s / sqrt(alpha^2 s^2 +
    sigma^2), here over 49,152 pixels: the standard error is 0.004 at most. The law of the edited pixels is theirs.
    """
    model, before = exact(64), [picture(64, 64, seed=seed) for seed in range(4)]
    after = states(model.edit(before, strength, steps=40)).flatten()
    time = float(sf.samplers.default(model.denoiser, 40)[1][40 - round(40 * strength)])
    expected = (1 - time) * STD / ((1 - time) ** 2 * STD**2 + time**2) ** 0.5
    found = float(torch.corrcoef(torch.stack([states(before).flatten(), after]))[0, 1])
    assert abs(found - expected) < 0.015
    assert abs(float(after.std()) - STD) < 0.01
    other = model.edit(before, strength + 0.1, steps=40)
    assert float(torch.corrcoef(torch.stack([states(before).flatten(), states(other).flatten()]))[0, 1]) < found - 0.03


def test_a_condition_moves_what_is_drawn_anew(model: Model):
    """All the way at full strength, and on the way there part of it: the mean of the kept part stays."""
    before = [picture(seed=seed) for seed in range(20)]
    light = states(model.edit(before, 1.0, condition="light", guidance=1)).mean()
    assert abs(float(light) - SHIFT) < 0.02
    part = float(states(model.edit(before, 0.6, condition="light", guidance=1)).mean())
    assert 0.05 < part < SHIFT - 0.03
    assert abs(float(states(model.edit(before, 0.6)).mean())) < 0.02


def test_full_strength_is_a_new_sample():
    model = small()
    old = [picture(8, 8, seed=1)] * 3
    new = model.generate(3, condition="cat", seed=5)
    assert pixels(model.edit(old, 1.0, condition="cat", seed=5)) == pixels(new)
    assert pixels(model.edit(old, 0.9, steps=10, condition="cat", seed=5)) != pixels(new)
    table = [[0.5, 0.5], [0.2, 0.4, 0.4], [0.0, 0.0, 0.0, 1.0]]
    model.solvers.put(sf.samplers.Tuned([1.0, 0.6, 0.3, 0.0], table), 1.0)
    assert made_by(model.generate(1, steps=3)[0])["sampler"] == "Tuned"
    assert pixels(model.edit(old, 1.0, steps=3)) == pixels(model.generate(3, steps=3))
    assert len(model.edit(old, 0.5, steps=3)) == 3  # a tuned solver has no half


def test_a_draw_is_a_function_of_its_item_and_seed(model: Model):
    one, other = picture(seed=1), picture(seed=2)
    together = model.edit([one, other], draws=2, seed=7, condition=["dark", "light"])
    alone = [model.edit([one], seed=8, condition="dark")[0], model.edit([other], seed=9, condition="light")[0]]
    assert pixels([together[1], together[2]]) == pixels(alone)
    assert len(set(pixels(together))) == 4
    told = made_by(together[2])
    assert (told["seed"], told["strength"], told["condition"]) == (9, 0.5, {"label": "light"})
    assert pixels(model.variations(one, 2, 0.5, seed=3)) == pixels(model.edit([one], 0.5, draws=2, seed=3))


def test_no_more_of_the_walk_than_its_share(model: Model):
    for strength, spent in ((0.01, 1), (0.25, 5), (0.5, 10), (1.0, 20)):
        model.denoiser.network.batches.clear()
        model.edit([picture()], strength, guidance=1)
        assert len(model.denoiser.network.batches) == spent


# What stays


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("size", [(16, 16), (37, 21)])
def test_what_is_not_masked_stays_to_the_bit(mode: str, size: tuple[int, int]):
    model, before = exact(16, len(mode) if mode != "L" else 1), picture(*size, mode)
    after = model.edit([before], 0.8, half(*size))[0]
    middle = size[0] // 2
    left, right = (np.array(before) != np.array(after))[:, :middle], (np.array(before) != np.array(after))[:, middle:]
    assert after.mode == mode
    assert after.size == size
    assert not right.any()
    assert left.mean() > 0.9


def test_a_white_mask_is_none_and_any_picture_is_a_mask(model: Model):
    before = [picture()]
    white = Image.new("L", (16, 16), 255)
    assert pixels(model.edit(before, 0.7, white)) == pixels(model.edit(before, 0.7))
    expected = pixels(model.edit(before, 0.7, half(16, 16)))
    for mode in ("1", "RGB", "P"):
        assert pixels(model.edit(before, 0.7, half(16, 16).convert(mode))) == expected
    assert made_by(model.edit(before, 0.7, white)[0])["masked"]


def test_smaller_pictures_and_their_masks_are_resized_as_in_training(model: Model):
    before = picture(8, 8)
    after = model.edit([before], 0.8, half(8, 8))[0]
    seen = model.codec.decode(model.codec.encode([before]))[0]
    assert after.size == (16, 16)
    assert pixels([after.crop((8, 0, 16, 16))]) == pixels([seen.crop((8, 0, 16, 16))])
    assert pixels([after.crop((0, 0, 8, 16))]) != pixels([seen.crop((0, 0, 8, 16))])


# Sizes


def test_larger_pictures_keep_their_size_and_memory_is_bounded():
    """1500 x 1000 pixels in windows of 64, at most 64 at a time; beside a small one, which goes by itself."""
    model = exact(64, 1)
    large, little = picture(1500, 1000, "L"), picture(64, 64, "L", 1)
    after = model.edit([large, little, large], 0.5, steps=4)
    assert [each.size for each in after] == [(1500, 1000), (64, 64), (1500, 1000)]
    assert max(model.denoiser.network.batches) == 64
    assert pixels([after[1]]) == pixels(model.edit([little], 0.5, steps=4, seed=1))
    assert pixels([after[2]]) != pixels([after[0]])
    found = torch.corrcoef(torch.stack([states([large]).flatten(), states([after[0]]).flatten()]))[0, 1]
    small_ones = [picture(64, 64, "L", seed) for seed in range(20)]
    expected = states(model.edit(small_ones, 0.5, steps=4))
    assert (
        abs(float(found - torch.corrcoef(torch.stack([states(small_ones).flatten(), expected.flatten()]))[0, 1])) < 0.02
    )


def test_conditions_by_region(model: Model):
    """Of what sees single pixels each half is what its class alone would draw, and between them is grey."""
    left, grey = half(40, 24), Image.new("L", (40, 24), 128)
    right = left.point(lambda level: 255 - level)
    for masks, here in (((left, right), slice(0, 20)), ((right, left), slice(20, 40))):
        both = model.generate(2, size=(24, 40), regions=[(masks[0], "dark"), (masks[1], "light")])
        alone = [model.generate(2, size=(24, 40), condition=name) for name in ("dark", "light")]
        there = slice(20, 40) if here.start == 0 else slice(0, 20)
        for mixed, dark, light in zip(*map(list, (map(np.array, each) for each in (both, *alone))), strict=True):
            assert np.array_equal(mixed[:, here], dark[:, here])
            assert np.array_equal(mixed[:, there], light[:, there])
    mixed = states(model.generate(40, size=(24, 40), regions=[(grey, "dark"), (grey, "light")]))
    dark, light = (states(model.generate(4, size=24, condition=name)) for name in ("dark", "light"))
    assert abs(float(mixed.mean() - (dark.mean() + light.mean()) / 2)) < 0.05


def test_samples_of_any_larger_size(model: Model):
    assert model.generate(1, size=24)[0].size == (24, 24)
    wide = model.generate(40, size=(17, 40), guidance=1)
    assert wide[0].size == (40, 17)
    assert abs(float(states(wide).std()) - STD) < 0.01  # pixels are independent: so they are in windows
    assert pixels(model.generate(2, size=16, seed=3)) == pixels(model.generate(2, seed=3))
    assert pixels(model.generate(1, size=24, seed=1)) == pixels(model.generate(2, size=24, seed=0))[1:]
    with pytest.raises(sf.UserError, match="draws items of 16x16 and larger, and 15x40 is smaller"):
        model.generate(1, size=(15, 40))


class Smooth(Pixels):
    """Pixels are what their neighbours are, and beyond the edge there is what is at the edge."""

    def forward(self, x_t: Tensor, t: Tensor, condition: dict[str, Tensor] | None) -> Tensor:
        around = nn.functional.avg_pool2d(nn.functional.pad(x_t, (2, 2, 2, 2), mode="replicate"), 5, 1)
        return super().forward(around, t, condition)


def test_seamless_pictures_go_on_at_their_edges():
    """Opposite edges differ by as much as neighbours inside; without being asked to, they have nothing in common."""
    process = sf.Gaussian(sf.schedules.Flow())
    denoiser = sf.Denoiser(Smooth(process), process, Direct(STD), (1, 16, 16))
    sampling = SamplingSection(sampling_steps=20)
    model = Model(ImageCodec(16, 1), {}, None, Origin("smooth"), denoiser, sampling)
    ratios: list[float] = []
    for seamless in (True, False):
        x = states(model.generate(30, size=(36, 48), seamless=seamless))
        inside = [x.diff(dim=axis).square().mean() for axis in (1, 2)]
        across = [(x.select(axis, 0) - x.select(axis, -1)).square().mean() for axis in (1, 2)]
        ratios.append(float(sum(across) / sum(inside)))
    assert 0.85 < ratios[0] < 1.15
    assert ratios[1] > 3


# From item to item


def test_a_way_ends_where_it_was_told_and_has_the_law_of_data(model: Model):
    """Of Gaussian pixels the way is the great circle itself, to a level of 255 and the walks' error."""
    a, b = picture(seed=1), picture(seed=2)
    way = model.interpolate(a, b, 5)
    levels = states(way) * 127.5
    assert float((levels[0] - states([a])[0] * 127.5).abs().max()) <= 1
    assert float((levels[-1] - states([b])[0] * 127.5).abs().max()) <= 1
    middle = states([a])[0] + states([b])[0]
    middle *= float(states([a]).norm() + states([b]).norm()) / 2 / float(middle.norm())
    assert float((states(way)[2] - middle).abs().max()) < 0.03
    wide = model.interpolate(picture(40, 20), b, 3)
    assert [each.size for each in wide] == [(40, 20)] * 3


def test_from_class_to_class_without_pairs(model: Model):
    """The map of one Gaussian to the other: every pixel is lighter by the distance of the means."""
    before = [picture(seed=seed) for seed in range(3)] + [picture(40, 20)]
    after = model.translate(before, from_condition="dark", condition="light")
    assert [each.size for each in after] == [each.size for each in before]
    for old, new in zip(before, after, strict=True):
        moved = states([new]) - states([old])
        inside = (states([new]).abs() < 1) & (states([old]).abs() < 1)
        assert float((moved[inside] - 2 * SHIFT).abs().max()) < 0.02
    to_another = model.translate(before[:1], to=exact())
    assert float((states(to_another) - states(before[:1])).abs().max()) < 0.02
    for arguments, message in (
        ({"to": exact(8)}, "train both on one size"),
        ({"condition": "light", "draws": 2}, "leave out draws and sampler"),
        ({"condition": "green"}, "green"),
        ({}, "was not trained on pairs"),
    ):
        with pytest.raises(sf.UserError, match=message):
            model.translate(before, **arguments)


# Other kinds of data


def test_hidden_letters_of_texts_are_drawn_anew_and_the_rest_stays():
    """Of 6,400 letters a share of 0.4 is hidden, of which 1 in 26 is drawn as it was: the standard error is 0.006."""
    model, random = of_texts(), np.random.default_rng(0)
    texts = ["".join(map(chr, row)) for row in random.integers(97, 123, (400, 16))]

    def changed(after: list[str]) -> Tensor:
        return torch.tensor([[a != b for a, b in zip(*each, strict=True)] for each in zip(texts, after, strict=True)])

    assert model.infills
    assert abs(float(changed(model.edit(texts, 0.4)).double().mean()) - 0.4 * 25 / 26) < 0.02
    after = changed(model.edit(texts, 1.0, torch.arange(16)[None] >= 6))
    assert not after[:, :6].any()
    assert abs(float(after[:, 6:].double().mean()) - 25 / 26) < 0.01


def test_what_other_kinds_do_not_have_is_refused():
    model = of_texts()
    for make, message in (
        (lambda: model.edit(["a" * 17]), "an item is longer than what texts sees at once"),
        (lambda: model.edit(["abc"], mask=half(4, 4)), r"a bool for every element of a state, of shape \(1, 16\)"),
        (lambda: model.edit(["abc"], mask=torch.zeros(1, 16, dtype=torch.bool)), "nothing may change"),
        (lambda: model.generate(1, size=20), "no size to choose; pictures have"),
        (lambda: model.generate(1, seamless=True), "no size to choose; pictures have"),
        (lambda: model.interpolate("abc", "cab"), "no path from an item to its noise"),
    ):
        with pytest.raises(sf.UserError, match=message):
            make()


# Mistakes


def test_what_cannot_be_edited_is_refused_in_a_sentence(model: Model):
    before = [picture()]
    for arguments, message in (
        ({"strength": 0.0}, "a strength lies above 0 and is at most 1, .* not 0"),
        ({"strength": 1.2}, "not 1.2"),
        ({"strength": float("nan")}, "not nan"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"condition": "green"}, "green"),
        ({"mask": half(8, 16)}, "the mask is of 8x16 pixels and the picture of 16x16; give one of the same size"),
        ({"mask": Image.new("L", (16, 16))}, "black all over"),
        ({"mask": torch.ones(1, 3, 16, 16)}, "a mask of pictures is a picture"),
    ):
        with pytest.raises(sf.UserError, match=message) as refused:
            model.edit(before, **arguments)
        assert "\n" not in str(refused.value)
    with pytest.raises(sf.UserError, match="n = 2, not 1"):
        model.interpolate(picture(), picture(), 1)


# The command line


def test_pictures_are_edited_from_files(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder, mask = tmp_path / "pictures", tmp_path / "mask.png"
    folder.mkdir()
    picture(8, 8).save(folder / "a.png")
    picture(20, 12, seed=1).save(folder / "b.png")
    half(8, 8).save(mask)
    one = ["edit", str(run_folder), str(folder / "a.png"), "--strength", "0.7", "--condition", "cat", "--draws", "3"]
    assert run([*one, "--mask", str(mask), "--seed", "4", "--out", str(tmp_path / "one")]) == 0
    assert capsys.readouterr().out.strip().endswith("one/sheet.png")
    names = ["000004.png", "000005.png", "000006.png"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [*names, "sheet.png"]
    with Image.open(tmp_path / "one/000005.png") as edited:
        assert made_by(edited)["condition"] == {"label": "cat"}
        assert pixels([edited.crop((4, 0, 8, 8))]) == pixels([picture(8, 8).crop((4, 0, 8, 8))])
    with Image.open(tmp_path / "one/sheet.png") as sheet:
        assert sheet.size == (4 * 66 + 2, 68)  # it, and three draws
    assert run(["edit", str(run_folder), str(folder), "--steps", "2"]) == 0
    with Image.open(run_folder / "edited/000001.png") as edited:
        assert edited.size == (20, 12)
    way = ["edit", str(run_folder), str(folder / "a.png"), "--towards", str(folder / "b.png"), "-n", "4"]
    assert run([*way, "--out", str(tmp_path / "way")]) == 0
    assert len(list((tmp_path / "way").glob("0*.png"))) == 4
    across = [
        "translate",
        str(run_folder),
        str(folder),
        "--from-condition",
        "cat",
        "--condition",
        "dog",
        "--steps",
        "9",
    ]
    assert run([*across, "--out", str(tmp_path / "across")]) == 0
    assert {path.name for path in (tmp_path / "across").iterdir()} == {"a.png", "b.png", "sheet.png"}
    with Image.open(tmp_path / "across/sheet.png") as sheet:
        assert sheet.size == (2 * 82 + 2, 68 + 52)  # two of 8x8, eight times magnified, over two of 20x12, four times
    same = ["translate", str(run_folder), str(folder / "a.png"), "--to", str(run_folder), "--steps", "150"]
    assert run([*same, "--out", str(tmp_path / "same")]) == 0
    with Image.open(tmp_path / "same/a.png") as back:
        assert float((states([back]) - states([picture(8, 8)])).abs().max()) < 0.05
    tiles = [
        "generate",
        str(run_folder),
        "-n",
        "2",
        "--size",
        "20",
        "12",
        "--seamless",
        "--out",
        str(tmp_path / "tiles"),
    ]
    assert run(tiles) == 0
    with Image.open(tmp_path / "tiles/000000.png") as tile:
        assert tile.size == (12, 20)


def test_regions_are_said_on_the_command_line(run_folder: Path, tmp_path: Path):
    half(12, 8).save(tmp_path / "left.png")
    half(12, 8).point(lambda level: 255 - level).save(tmp_path / "right.png")
    wanted = ["generate", str(run_folder), "-n", "2", "--size", "8", "12", "--guidance", "2", "--out", str(tmp_path)]
    assert run([*wanted, "--regions", f"{tmp_path}/left.png:cat", f"{tmp_path}/right.png:label=dog"]) == 0
    masks = [half(12, 8), half(12, 8).point(lambda level: 255 - level)]
    drawn = sf.load(run_folder).generate(
        2, size=(8, 12), guidance=2.0, regions=list(zip(masks, ("cat", "dog"), strict=True))
    )
    with Image.open(tmp_path / "000001.png") as image:
        assert np.array_equal(np.array(image), np.array(drawn[1]))


def test_mistakes_on_the_command_line(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    good, bad, words = tmp_path / "good.png", tmp_path / "bad.png", tmp_path / "words.md"
    picture(8, 8).save(good)
    bad.write_bytes(b"not a picture")
    words.write_text("no picture")
    for arguments, message in (
        (["edit", good, "--mask", bad], "bad.png of .* cannot be read: not a picture"),
        (["edit", good, "--mask", words], "words.md is no picture"),
        (["edit", good, "--mask", tmp_path / "none.png"], "there is no .*none.png"),
        (["edit", bad], "none of the 1 pictures .* can be read; bad.png, for one: not a picture"),
        (["edit", words], "words.md is no picture"),
        (["edit", good, "--strength", "2"], "a strength lies above 0"),
        (["edit", good, "--towards", bad], "can be read"),
        (["generate", "--size", "4"], "draws items of 8x8 and larger"),
        (["generate", "--size", "8", "8", "8"], "is its side, or height and width, not 3 numbers"),
        (["generate", "--regions", "cat"], "the region 'cat' is not understood; write MASK.png:CONDITION"),
        (["generate", "--regions", f"{tmp_path}/none.png:cat"], "there is no .*none.png"),
        (["generate", "--regions", f"{good}:bird"], "bird"),
        (
            ["generate", "--regions", f"{good}:cat", "--size", "16"],
            "as large as what is drawn, 16x16 pixels, and .* 8x8",
        ),
    ):
        verb, *rest = map(str, arguments)
        assert run([verb, str(run_folder), *rest]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert re.search(message, said), said
