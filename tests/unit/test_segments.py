"""Label maps of pictures: read, learned by a masked process that is told the picture, drawn and summed up."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import suffuse as sf
from suffuse.cli import run
from suffuse.codecs.segments import SegmentCodec
from suffuse.learn import train
from suffuse.metrics.segments import calibration, mean_iou
from suffuse.networks import UNet
from suffuse.networks.labels import LabelNetwork
from suffuse.pictures import made_by
from suffuse.recipes import Recipe
from suffuse.recipes.recipe import DataSection, NetworkSection, ProcessSection
from suffuse.training.config import TrainingConfig
from suffuse.translating import odds

SIZE = 8
COLOURS = np.array([(0, 0, 0), (250, 120, 3), (7, 200, 255)], np.uint8)
"""Of a label map."""
SHADES = np.array([40, 120, 220])
"""Of a picture, at the same places."""


def classes(number: int, size: int = SIZE) -> np.ndarray:
    """Squares of two pixels, each of one of three classes."""
    return np.random.default_rng(number).integers(0, 3, (size // 2, size // 2)).repeat(2, 0).repeat(2, 1)


def picture(number: int, size: int = SIZE) -> Image.Image:
    """Grey, with noise that is too faint to mistake a class."""
    noise = np.random.default_rng(number + 1000).integers(-15, 16, (size, size))
    return Image.fromarray((SHADES[classes(number, size)] + noise).astype(np.uint8))


def mask(number: int, size: int = SIZE) -> Image.Image:
    return Image.fromarray(COLOURS[classes(number, size)])


def put(path: Path, image: Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def pairs(folder: Path, n: int = 48) -> Path:
    """Masks of twice the size of their pictures, half of them of a palette."""
    for number in range(n):
        put(folder / "source" / f"{number}.png", picture(number))
        large = mask(number).resize((2 * SIZE, 2 * SIZE), Image.Resampling.NEAREST)
        put(folder / "target" / f"{number}.png", large.quantize(3) if number % 2 else large)
    return folder


def suffuse(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "suffuse", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


# The whole way


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segments")
    done = suffuse("train", pairs(folder / "data"), "--kind", "segments", "--out", folder / "run", "--width", 16,
                   "--multipliers", 1, 1, "--blocks", 1, "--attention", 0, "--images", 2400, "--batch", 32,
                   "--learning-rate", 0.005, "--flip", "--size", SIZE)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_pictures_that_were_not_seen_get_their_label_maps(trained: Path):
    model = sf.load(trained)
    drawn = model.translate([picture(number) for number in range(500, 520)])
    right = [np.asarray(each) == COLOURS[classes(number)] for each, number in zip(drawn, range(500, 520), strict=True)]
    assert np.mean([each.all(-1) for each in right]) > 0.95  # 1280 pixels; a third of them by chance


def test_translate_writes_draws_their_commonest_classes_and_how_uncertain_they_are(trained: Path, tmp_path: Path):
    put(tmp_path / "in/a.png", picture(600))
    put(tmp_path / "in/b.png", picture(601).convert("RGB").resize((20, 30)))
    done = suffuse("translate", trained, tmp_path / "in", "--draws", 3, "--steps", 4, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    ends = ("1", "2", "3", "commonest", "uncertainty")
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {f"{a}-{e}" for a in "ab" for e in ends} | {"sheet"}
    for name in "ab":
        draws = [np.asarray(Image.open(tmp_path / f"out/{name}-{number}.png")) for number in (1, 2, 3)]
        commonest, doubt = (np.asarray(Image.open(tmp_path / f"out/{name}-{what}.png")) for what in ends[3:])
        for each in (*draws, commonest):
            assert {*map(tuple, each.reshape(-1, 3).tolist())} <= {*map(tuple, COLOURS.tolist())}
        agree = np.mean([(each == commonest).all(-1) for each in draws], axis=0)
        assert (doubt == np.rint(255 * (1 - agree))).all()
    with Image.open(tmp_path / "out/a-commonest.png") as image:
        assert made_by(image)["name"] == "a-commonest"


def test_without_draws_translate_writes_the_likeliest_class_of_every_pixel(trained: Path, tmp_path: Path):
    put(tmp_path / "in/a.png", picture(600))
    put(tmp_path / "in/b.png", picture(601))
    done = suffuse("translate", trained, tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    model = sf.load(trained)
    best = model.codec.decode(odds(model, [picture(600), picture(601)]).argmax(-1))
    for name, each in zip("ab", best, strict=True):
        with Image.open(tmp_path / f"out/{name}.png") as image:
            assert np.array_equal(np.asarray(image), np.asarray(each))
            assert made_by(image)["steps"] == 1
    drawn = model.translate([picture(600)], draws=1, seed=1)[0]
    assert np.mean(np.asarray(drawn) == np.asarray(best[0])) > 0.9


def test_the_likeliest_takes_no_walk(trained: Path):
    with pytest.raises(sf.UserError, match="ask for draws"):
        sf.load(trained).translate([picture(600)], steps=4)


def test_a_saved_model_draws_alike(trained: Path, tmp_path: Path):
    model = sf.load(trained)
    model.save(tmp_path / "copy")
    first, again = (each.translate([picture(700)], draws=1, seed=3)[0] for each in (model, sf.load(tmp_path / "copy")))
    assert first.tobytes() == again.tobytes()


# What several draws are like


def test_the_commonest_class_and_the_share_that_disagrees_are_counted():
    codec = SegmentCodec((1, 2), [(0, 0, 0, 255), (90, 90, 90, 255), (200, 200, 200, 255)])
    draws = codec.decode(torch.tensor([[[0, 2]], [[1, 2]], [[1, 2]], [[2, 1]]]))
    summed = codec.summaries(draws)
    assert np.asarray(summed["commonest"]).tolist() == [[90, 200]]
    assert np.asarray(summed["uncertainty"]).tolist() == [[128, 64]]  # half and a quarter, of 255


# Reading


def test_a_mask_of_another_size_is_cut_and_resized_to_colours_that_it_has():
    large = Image.new("L", (12, 8))
    large.paste(255, (2, 0, 6, 8))  # the left half of the square in the middle
    codec = SegmentCodec.fit([("large", large)], (4, 4))
    assert codec.encode([large]).tolist() == [[[1, 1, 0, 0]] * 4]


def test_classes_of_16_bits_are_kept_apart():
    deep = Image.fromarray(np.array([[0, 1], [2, 19]], np.uint16))
    codec = SegmentCodec.fit([("deep", deep)], (2, 2))
    assert codec.encode([deep]).tolist() == [[[0, 1], [2, 3]]]
    with pytest.raises(sf.UserError, match="16-bit label map has the value 300; give classes from 0 to 255"):
        codec.encode([Image.fromarray(np.array([[0, 300]], np.uint16))])


# What is refused


def refused(folder: Path, process: ProcessSection | None = None) -> str:
    recipe = Recipe(
        data=DataSection(kind="segments", size=SIZE),
        network=NetworkSection(width=16, multipliers=(1, 1), blocks=1, attention=()),
        process=process or ProcessSection(),
        training=TrainingConfig(images=32, batch=16),
    )
    with pytest.raises(sf.UserError) as error:
        train(folder, recipe, folder / "run")
    return str(error.value)


def test_targets_that_are_no_label_maps_are_refused(tmp_path: Path):
    for number in range(4):
        put(tmp_path / f"many/source/{number}.png", picture(number))
        put(tmp_path / f"one/source/{number}.png", picture(number))
        put(tmp_path / f"one/target/{number}.png", Image.new("L", (SIZE, SIZE)))
    photograph = np.arange(8 * 4 * SIZE * SIZE // 8, dtype=np.uint8).reshape(2 * SIZE, 2 * SIZE)
    for number in range(4):
        put(tmp_path / f"many/target/{number}.png", mask(number) if number < 3 else Image.fromarray(photograph))
    said = refused(tmp_path / "many")
    assert said.startswith("3.png brings the colours of the label maps to more than 64, of which each is a class; give")
    assert refused(tmp_path / "one").startswith(
        "the label maps have one colour alone, so that there is nothing to tell"
    )


def test_what_does_not_pair_and_couplings_are_refused(tmp_path: Path):
    put(tmp_path / "source/a.png", picture(0))
    put(tmp_path / "target/b.png", mask(0))
    assert "nothing in" in refused(tmp_path)
    assert "source/a.png, for one, has no partner" in refused(tmp_path)
    put(tmp_path / "target/a.png", mask(0))
    said = refused(tmp_path, ProcessSection(coupling="sinkhorn"))
    assert said == "a label map belongs to its picture; leave out --coupling"


def test_the_command_line_refuses_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    put(tmp_path / "source/a.png", picture(0))
    assert run(["train", str(tmp_path), "--kind", "segments", "--out", str(tmp_path / "run")]) == 2
    assert "has no folder target" in capsys.readouterr().err


# Figures, and verbs that make no sense


def test_overlap_and_calibration_have_their_closed_forms():
    """A third of two halves; odds that are drawn from are calibrated, and surer ones are off by as much as they say."""
    truth = torch.tensor([0, 0, 0, 1, 1, 1])
    assert mean_iou(truth, truth) == 1
    assert mean_iou(torch.tensor([0, 0, 1, 1, 1, 0]), truth) == pytest.approx(0.5)
    assert mean_iou(torch.zeros(6, dtype=torch.long), truth) == pytest.approx(0.25)
    odds = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0)).softmax(-1)
    drawn = torch.multinomial(odds, 1, generator=torch.Generator().manual_seed(1))[:, 0]
    assert calibration(odds, drawn) < 0.02
    sure = torch.nn.functional.one_hot(odds.argmax(-1), 2).double()
    wrong = 1 - float((odds.argmax(-1) == drawn).double().mean())
    assert calibration(sure, drawn) == pytest.approx(wrong)


@pytest.mark.parametrize("shape", [(7,), (6, 5), (3, 4, 2)])
@torch.no_grad()
def test_a_network_of_labels_sees_classes_and_what_is_hidden(shape: tuple[int, ...]):
    torch.manual_seed(0)
    network = LabelNetwork(4, 6, UNet(6, dimensions=len(shape), width=8, multipliers=(1, 2), out_channels=4))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, level = torch.randint(0, 5, (3, *shape)), torch.tensor([0.2, 0.5, 0.9])
    out = network(x, level)
    assert out.shape == (3, *shape, 4)
    torch.testing.assert_close(network(x[1:2], level[1:2]), out[1:2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network(x, level.reshape(3, *(1,) * len(shape)).expand_as(x)), out)
    for other in range(4):
        assert float((network(torch.where(x == 4, other, x), level) - out).abs().max()) > 1e-3


def test_verbs_that_label_maps_have_and_those_that_they_have_not(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source, maps = put(tmp_path / "a.png", picture(600)), pairs(tmp_path / "pairs", 16)
    for arguments, message in (
        (["generate", trained, "-n", 2, "--out", tmp_path / "new"], None),
        (["edit", trained, maps, "--out", tmp_path / "edited"], None),
        (["edit", trained, source], "holds no pairs"),
        (["infill", trained, maps], "was not trained to infill"),
        (["restore", trained, maps, "--operator", "denoise:0.1"], "not one Gaussian tensor"),
        (["evaluate", trained, maps], "nothing is measured yet of models of segments"),
        (["classify", trained, maps], "train it with --condition"),
    ):
        assert run([*map(str, arguments)]) == (2 if message else 0)
        said = capsys.readouterr().err.strip().splitlines()
        assert message is None or message in said[-1], said


def test_a_label_map_is_scored_given_its_picture(trained: Path):
    """That of another picture is far less likely."""
    model = sf.load(trained)
    right = [(picture(number), mask(number)) for number in range(600, 604)]
    wrong = [(picture(number), mask(number + 50)) for number in range(600, 604)]
    for good, bad in zip(model.score(right, evaluations=16), model.score(wrong, evaluations=16), strict=True):
        assert good.nats > bad.nats + 10


def test_odds_need_no_draw(trained: Path):
    """A probability for each class of each pixel, of which the largest is nearly always that of the truth."""
    model, numbers = sf.load(trained), range(700, 712)
    found = odds(model, [picture(number) for number in numbers])
    assert found.shape == (12, SIZE, SIZE, 3)
    assert torch.allclose(found.sum(-1), torch.ones(12, SIZE, SIZE), atol=1e-4)
    truth = model.codec.encode([mask(number) for number in numbers])
    assert isinstance(truth, torch.Tensor)
    assert float((found.argmax(-1) == truth).float().mean()) > 0.95
    recipe = Recipe(data=DataSection(size=8, channels=1), network=NetworkSection(width=8, multipliers=(1, 1)))
    pictures = sf.model.Model(sf.codecs.image.ImageCodec(8, 1), {}, recipe, sf.model.Origin("pictures"))
    with pytest.raises(sf.UserError, match="was not trained on pairs"):
        odds(pictures, [picture(0)])
