"""Pairs of pictures: found in folders and tables, learned by bridges and by what is told, and translated."""

import json
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
from suffuse.data.pairs import PairSource, open_pairs
from suffuse.data.sources import open_source
from suffuse.learn import train
from suffuse.pictures import made_by
from suffuse.processes import Bridge
from suffuse.recipes import Recipe
from suffuse.recipes.recipe import DataSection, NetworkSection, ObjectiveSection, ProcessSection
from suffuse.training.config import TrainingConfig

SMALL = NetworkSection(width=16, multipliers=(1, 1), blocks=1, attention=())


def pixels(number: int, size: int = 8) -> np.ndarray:
    """Squares of four pixels, black or white."""
    return np.random.default_rng(number).integers(0, 2, (size // 2, size // 2)).repeat(2, 0).repeat(2, 1) * 255


def put(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)
    return path


def negatives(folder: Path, n: int = 40) -> Path:
    """Pairs of a picture and its negative, half of them in a sub-folder, of other suffixes."""
    for number in range(n):
        place = "more/" if number % 2 else ""
        put(folder / "source" / f"{place}{number}.png", pixels(number))
        put(folder / "target" / f"{place}{number}.bmp", 255 - pixels(number))
    return folder


def suffuse(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "suffuse", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def refused(path: Path, **how: bool) -> str:
    with pytest.raises(sf.UserError) as error:
        open_pairs(path, **how)
    return str(error.value)


# What pairs


def test_files_pair_by_their_names_and_others_are_named(tmp_path: Path):
    negatives(tmp_path, 4)
    put(tmp_path / "source/alone.png", pixels(7))
    put(tmp_path / "target/more/single.png", pixels(8))
    put(tmp_path / "source/2.jpg", pixels(9))
    source = open_source(tmp_path, kind="pairs")
    assert isinstance(source, PairSource)
    assert sorted(source.names(range(len(source)))) == ["0.bmp", "2.bmp", "more/1.bmp", "more/3.bmp"]
    exact = [place for place, name in enumerate(source.names(range(4))) if name != "2.bmp"]  # that one's is a JPEG
    for before, after in source.raw(exact):
        assert (np.asarray(before).astype(int) + np.asarray(after) == 255).all()
    summary = source.scan().summary()
    assert "4 of 7 used" in summary
    assert "there is no file of this name in target/ (source/alone.png)" in summary
    assert "there is no file of this name in source/ (target/more/single.png)" in summary
    assert "another file of this name but for the suffix comes before it (source/2.png)" in summary


def test_a_pair_of_which_one_cannot_be_read_is_left_out_and_named(tmp_path: Path):
    negatives(tmp_path, 4)
    (tmp_path / "target/2.bmp").write_bytes(b"no picture")
    (tmp_path / "source/more/1.png").write_bytes(b"")
    source = open_pairs(tmp_path)
    report = source.scan()
    assert source.names(report.keep) == ["0.bmp", "more/3.bmp"]
    assert "empty file (source/more/1.png)" in report.summary()
    assert "not a picture, or damaged from its first bytes (target/2.bmp)" in report.summary()
    with pytest.raises(sf.UserError, match=r"more/1.png of .*source cannot be read"):
        source.raw(range(4))
    (tmp_path / "source/0.png").write_bytes(b"")
    (tmp_path / "target/more/3.bmp").write_bytes(b"")
    with pytest.raises(sf.UserError, match=r"no pair of .* has two pictures that can be read; source/0.png, for one"):
        open_pairs(tmp_path).scan()


@pytest.mark.parametrize("name", ["pairs.csv", "metadata.jsonl"])
def test_a_table_names_both_files_and_says_more(tmp_path: Path, name: str):
    rows = []
    for number in range(3):
        put(tmp_path / f"a/{number}.png", pixels(number))
        put(tmp_path / f"b/{number}x.png", 255 - pixels(number))
        rows.append({"source": f"a/{number}.png", "target": f"b/{number}x.png", "label": "xyz"[number]})
    rows += [{"source": "a/0.png", "target": "b/none.png", "label": "x"}, {"source": "a/1.png", "target": None}]
    table = tmp_path / name
    if name.endswith(".csv"):
        lines = [",".join(str(row.get(key) or "") for key in ("source", "target", "label")) for row in rows]
        table.write_text("\n".join(["source,target,label", *lines]))
    else:
        table.write_text("\n".join(map(json.dumps, rows)))
    source = open_source(table if name.endswith(".csv") else tmp_path, kind="pairs")
    assert source.column("label") == ["x", "y", "z"]
    assert source.names([0, 2]) == ["b/0x.png", "b/2x.png"]
    before, after = source.raw([1])[0]
    assert (np.asarray(before).astype(int) + np.asarray(after) == 255).all()
    assert "it names no file that is there as its target (row 4, row 5)" in source.scan().summary()


def test_what_does_not_pair_is_refused_and_says_what_is_missing(tmp_path: Path):
    put(tmp_path / "one/source/1.png", pixels(1))
    assert f"{tmp_path / 'one'} has no folder target; pairs are folders source/ and target/" in refused(
        tmp_path / "one"
    )
    (tmp_path / "one/target").mkdir()
    assert f"the folder {tmp_path / 'one/target'} is empty" in refused(tmp_path / "one")
    put(tmp_path / "one/target/2.png", pixels(2))
    assert "source/1.png, for one, has no partner in target/" in refused(tmp_path / "one")
    (tmp_path / "two").mkdir()
    assert "has no folder source and no folder target" in refused(tmp_path / "two")
    (tmp_path / "pairs.csv").write_text("source,picture\na.png,b.png\n")
    assert "pairs.csv has no column target; pairs are" in refused(tmp_path / "pairs.csv")
    (tmp_path / "pairs.csv").write_text("source,target\na.png,b.png\n")
    assert "no row of" in refused(tmp_path / "pairs.csv")
    assert "1.png holds no pairs" in refused(tmp_path / "one/source/1.png")
    with pytest.raises(sf.UserError, match=r"there is no .*three"):
        open_source(tmp_path / "three", kind="pairs")


def test_two_kinds_need_not_pair(tmp_path: Path):
    for number in range(5):
        put(tmp_path / f"source/{number}.png", pixels(number))
    for number in range(2):
        put(tmp_path / f"target/t{number}.png", pixels(9 + number))
    source = open_pairs(tmp_path, paired=False)
    pairs = source.raw(range(len(source)))
    assert len(pairs) == 5
    assert {np.asarray(before).tobytes() for before, _ in pairs} == {
        pixels(k).astype(np.uint8).tobytes() for k in range(5)
    }
    assert len({np.asarray(after).tobytes() for _, after in pairs}) == 2
    assert "5 sources and 2 targets, which need not pair" in source.scan().summary()


# What is learned


def learned(folder: Path, out: Path, steps: int = 150, **process: str) -> sf.Model:
    recipe = Recipe(
        data=DataSection(kind="pairs"),
        network=SMALL,
        process=ProcessSection(**process),
        objective=ObjectiveSection(condition_dropout=0.0),
        training=TrainingConfig(
            batch=16,
            learning_rate=1e-2,
            schedule="constant",
            warmup=0,
            steps=steps,
            evaluate_every=1e9,
            sample_every=1e9,
        ),
    )
    return train(folder, recipe, out)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return negatives(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def bridge(pairs: Path) -> sf.Model:
    return learned(pairs, pairs / "bridge")


def far(drawn: list[Image.Image], wanted: list[np.ndarray]) -> float:
    """Mean distance of pixels, of 255."""
    return float(np.mean([np.abs(np.asarray(a).astype(int) - b).mean() for a, b in zip(drawn, wanted, strict=True)]))


def unseen(n: int = 8) -> tuple[list[Image.Image], list[np.ndarray]]:
    """Pictures that were not trained on, larger ones among them, and their negatives."""
    before = [pixels(1000 + number) for number in range(n)]
    pictures = [Image.fromarray(each.astype(np.uint8)) for each in before]
    pictures[0] = pictures[0].resize((16, 16), Image.Resampling.NEAREST)
    return pictures, [255 - each for each in before]


def test_a_bridge_learns_what_belongs_to_a_picture(bridge: sf.Model):
    assert isinstance(bridge.denoiser.process, Bridge)
    assert bridge.recipe.process.correlation == -0.95  # a negative, but kept from -1
    pictures, wanted = unseen()
    assert far(bridge.translate(pictures), wanted) < 12
    assert far(bridge.translate(pictures, sampler="bridge-mean", steps=4), wanted) < 12
    assert far(bridge.translate(pictures, sampler="ddim"), wanted) < 12
    assert far([Image.fromarray((255 - each).astype(np.uint8)) for each in wanted], wanted) == 255
    with pytest.raises(sf.UserError, match="a bridge has no prior: it starts from source data"):
        bridge.generate(2)
    with pytest.raises(sf.UserError, match="a bridge needs its source"):
        bridge.score(pictures[1:])


def test_a_told_source_is_learned_too(pairs: Path):
    model = learned(pairs, pairs / "told", 250, noise_schedule="edm")
    assert isinstance(model.denoiser.process, sf.Gaussian)
    pictures, wanted = unseen()
    assert far(model.translate(pictures), wanted) < 25
    assert len(model.generate(2, steps=2)) == 2  # told nothing, it draws anything


def test_a_draw_is_a_function_of_its_picture_and_seed_alone(bridge: sf.Model):
    pictures, _ = unseen(4)
    together = bridge.translate(pictures, draws=2, steps=5, seed=7)
    alone = bridge.translate(pictures[2:3], draws=2, steps=5, seed=11)
    assert [each.tobytes() for each in together[4:6]] == [each.tobytes() for each in alone]
    assert together[4].tobytes() != together[5].tobytes()
    assert made_by(together[4])["seed"] == 11
    assert made_by(together[4])["condition"] == {"source": "a picture"}


def test_it_is_saved_and_loaded_to_the_bit(bridge: sf.Model, tmp_path: Path):
    bridge.save(tmp_path / "copy")
    pictures, _ = unseen(3)
    drawn = [each.tobytes() for each in bridge.translate(pictures, steps=3)]
    loaded = sf.load(tmp_path / "copy")
    assert [each.tobytes() for each in loaded.translate(pictures, steps=3)] == drawn
    assert "source: a picture of 1 channels" in loaded.describe()


@pytest.mark.parametrize("process", [{}, {"noise_schedule": "edm"}, {"coupling": "sinkhorn"}])
def test_a_run_goes_on_where_it_stopped(pairs: Path, tmp_path: Path, process: dict[str, str]):
    whole = learned(pairs, tmp_path / "whole", 6, **process)
    stopped = learned(pairs, tmp_path / "stopped", 3, **process)
    gone_on = learned(pairs, tmp_path / "stopped", 6, **process)
    assert stopped.origin.images == 3 * 16
    assert gone_on.origin.images == 6 * 16
    for name, value in whole.denoiser.state_dict().items():
        assert torch.equal(value, gone_on.denoiser.state_dict()[name])
    assert not all(map(torch.equal, stopped.denoiser.state_dict().values(), whole.denoiser.state_dict().values()))


def test_both_sides_are_mirrored_alike(pairs: Path):
    from suffuse.recipes.registry import KINDS
    from suffuse.rng import Streams

    items = {"source": torch.arange(8.0).reshape(8, 1, 1, 1) + torch.tensor([[[0.1, 0.2]]])}
    items["target"] = -items["source"]
    recipe = Recipe(data=DataSection(kind="pairs", flip=True))
    x0, told, source = KINDS["pairs"].shown(items, Streams.of(0, range(8)), recipe)
    assert isinstance(x0, torch.Tensor)
    turned = x0[:, 0, 0, 0].abs() % 1 > 0.15
    assert 0 < int(turned.sum()) < 8
    assert torch.equal(told["source"], -x0)
    assert source is told["source"]


def test_what_a_bridge_cannot_be_is_refused(pairs: Path, tmp_path: Path):
    for process, words in (
        ({"parameterization": "flow"}, "the output of a bridge's network has one meaning, and flow is not it"),
        ({"coupling": "assignment"}, "coupled by sinkhorn"),
        ({"coupling": "sinkhorn", "noise_schedule": "edm"}, "pictures that do not pair are coupled by a bridge"),
    ):
        with pytest.raises(sf.UserError, match=words):
            learned(pairs, tmp_path / "none", **process)
    for objective in (ObjectiveSection(time_law="log-normal"), ObjectiveSection(weight="min-snr")):
        with pytest.raises(sf.UserError, match="a bridge has no noise schedule"):
            train(pairs, Recipe(data=DataSection(kind="pairs"), objective=objective), tmp_path / "none")
    with pytest.raises(sf.UserError, match="a bridge goes between pairs: add --kind pairs"):
        train(pairs / "source", Recipe(process=ProcessSection(noise_schedule="bridge")), tmp_path / "none")


def test_without_pairs_each_picture_goes_to_the_nearest_of_the_other_kind(tmp_path: Path):
    """Dark ones on the left or on the right, to bright ones there: pairs that nobody gave."""
    rng = np.random.default_rng(0)
    for number in range(40):
        for side, bright in (("source", 110), ("target", 235)):
            array = np.full((8, 8), 20)
            array[2:6, slice(0, 4) if number % 2 else slice(4, 8)] = bright + rng.integers(-15, 15)
            put(tmp_path / side / f"{side}{number}.png", array)
    model = learned(tmp_path, tmp_path / "run", 150, coupling="sinkhorn")
    assert not model.conditions
    sources = [
        Image.fromarray(np.asarray(each)) for each in open_source(tmp_path / "source", kind="image").raw(range(16))
    ]
    drawn = np.stack([np.asarray(each) for each in model.translate(sources)]).astype(int)
    was = np.stack([np.asarray(each) for each in sources]).astype(int)
    left, is_left = (each[:, 2:6, :4].mean((1, 2)) > each[:, 2:6, 4:].mean((1, 2)) for each in (was, drawn))
    assert (
        left == is_left
    ).mean() >= 14 / 16  # a batch has not as many left ones of both; by chance they would be half
    assert drawn.max((1, 2)).mean() > 200 > 150 > was.max((1, 2)).mean()


# The command line


def test_the_command_line_trains_and_translates(pairs: Path, tmp_path: Path):
    small = ["--width", 8, "--multipliers", 1, 1, "--blocks", 1, "--batch", 8, "--steps", 2]
    done = suffuse("train", pairs, "--kind", "pairs", "--out", tmp_path / "run", *small)
    assert done.returncode == 0, done.stderr
    assert "40 of 40 used" in done.stdout
    assert (tmp_path / "run/samples").is_dir()
    done = suffuse(
        "translate", tmp_path / "run", pairs / "source", "--out", tmp_path / "new", "--steps", 2, "--draws", 2
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert len(names) == 40 * 3 + 1
    assert {"0-1.png", "0-2.png", "0-mean.png", "more-1-1.png", "sheet.png"} <= names
    both, mean = (
        [np.asarray(Image.open(tmp_path / f"new/0-{n}.png")).astype(float) for n in which]
        for which in ((1, 2), ("mean",))
    )
    assert np.abs(np.mean(both, 0) - mean[0]).max() <= 0.51
    with Image.open(tmp_path / "new/0-mean.png") as image:
        assert made_by(image)["model"] == "run"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "{0}/source", "--kind", "pairs"), "has no folder source and no folder target"),
        (("translate", "{0}/bridge", "{0}/nothing"), "there is no {0}/nothing"),
        (("translate", "{0}/bridge", "{0}/empty"), "the folder {0}/empty is empty"),
        (("translate", "{0}/bridge", "{0}/bad.png"), "none of the 1 pictures of {0} can be read; bad.png, for one"),
        (("translate", "{0}/bridge", "{0}/source", "--draws", "0"), "draws must be at least 1"),
        (("generate", "{0}/bridge"), "a bridge has no prior"),
    ],
)
def test_mistakes_are_one_sentence(bridge: sf.Model, pairs: Path, arguments, words, capsys: pytest.CaptureFixture[str]):
    (pairs / "empty").mkdir(exist_ok=True)
    (pairs / "bad.png").write_bytes(b"no picture")
    assert run([argument.format(pairs) for argument in arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert words.format(pairs) in said
    assert "\n" not in said


def test_a_model_of_single_pictures_translates_nothing(pairs: Path, tmp_path: Path):
    recipe = Recipe(network=SMALL, training=TrainingConfig(batch=8, steps=1))
    model = train(pairs / "target", recipe, tmp_path / "run")
    with pytest.raises(sf.UserError, match="run was not trained on pairs, an item and what to make of it"):
        model.translate(unseen(1)[0])


def test_a_bridge_is_no_pipeline_of_diffusers(bridge: sf.Model, tmp_path: Path):
    from suffuse.interop.diffusers import export

    with pytest.raises(sf.UserError, match="bridge starts from pictures and not from noise"):
        export(bridge, tmp_path / "pipeline")
