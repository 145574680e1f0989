"""Classes as a user meets them: pictures by what they could have been told, rows by their target; real processes."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import suffuse as sf
from suffuse.cli import run

PICTURES = [
    "--size",
    "8",
    "--width",
    "8",
    "--multipliers",
    "1",
    "1",
    "--blocks",
    "1",
    "--batch",
    "16",
    "--steps",
    "200",
]
ROWS = ["--width", "64", "--depth", "2", "--steps", "500", "--learning-rate", "3e-3"]


def suffuse(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "suffuse", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Light cats and dark dogs; twice as many cats."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, level, count in (("cat", 200, 16), ("dog", 60, 8)):
        (folder / name).mkdir()
        for i in range(count):
            noise = np.random.default_rng(i).integers(-40, 40, (8, 8))
            Image.fromarray(np.uint8(level + noise)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def pets(pictures, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pets"
    suffuse("train", pictures, "--out", out, "--condition", "label", *PICTURES)
    return out


def people(n: int, seed: int) -> pd.DataFrame:
    """A kind that two numbers tell, and a sum of them."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["left", "right", "both"], n)
    place = np.select([kind == "left", kind == "right"], [-2.0, 2.0], 0.0)
    frame = pd.DataFrame({"a": place + 0.3 * rng.normal(size=n), "b": rng.normal(size=n), "kind": kind})
    return frame.assign(total=frame.a + frame.b).round(3)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    people(1500, 0).to_csv(folder / "train.csv", index=False)
    people(200, 1).to_csv(folder / "test.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def kinds(tables, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "kinds"
    suffuse("train", tables / "train.csv", "--out", out, "--target", "kind", *ROWS)
    return out


@pytest.fixture(scope="module")
def totals(tables, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "totals"
    suffuse("train", tables / "train.csv", "--out", out, "--target", "total", *ROWS)
    return out


def test_pictures_have_a_row_each_with_their_chances(pets, pictures, tmp_path):
    table = tmp_path / "classes.csv"
    said = suffuse("classify", pets, pictures, "--evaluations", "80", "--out", table)
    found = rows(table)
    assert list(found[0]) == ["name", "class", "cat", "dog"]
    right = [row["name"].startswith(row["class"]) for row in found]
    assert np.mean(right) > 0.7
    assert f"accuracy {np.mean(right):.2%}" in said
    assert "calibration error" in said
    model = sf.load(pets)
    answers = model.classify([Image.open(pictures / row["name"]) for row in found], evaluations=80)
    for row, chances in zip(found, answers.probabilities.tolist(), strict=True):
        assert [float(row["cat"]), float(row["dog"])] == pytest.approx(chances, abs=1e-3)
        assert sum(chances) == pytest.approx(1)


def test_the_prior_is_even_or_that_of_the_data(pets, pictures):
    model = sf.load(pets)
    items = [Image.open(pictures / "cat" / "0.png")]
    even, data = (model.classify(items, evaluations=40, prior=prior) for prior in ("even", "data"))
    assert (data.log_odds == even.log_odds).all()
    assert data.log_prior.exp().tolist() == pytest.approx([2 / 3, 1 / 3])
    with pytest.raises(sf.UserError, match="no prior 'odd'"):
        model.classify(items, prior="odd")


def test_an_answer_is_a_function_of_item_seed_and_place(pets, pictures):
    model = sf.load(pets)
    items = [Image.open(file) for file in sorted(pictures.glob("*/*.png"))] * 3  # more than one batch
    many, few = (model.classify(part, evaluations=40, seed=3) for part in (items, items[:2]))
    assert few.log_odds.tolist() == [pytest.approx(row, rel=1e-3) for row in many.log_odds[:2].tolist()]
    assert len(model.classify([]).predicted) == 0


def test_a_temperature_is_kept_and_taken(pets, pictures, tmp_path):
    said = suffuse("classify", pets, pictures, "--evaluations", "40", "--out", tmp_path / "a.csv", "--calibrate")
    assert "24 items is kept" in said
    kept = json.loads((pets / "calibration.json").read_text())
    again = suffuse("classify", pets, pictures, "--evaluations", "40", "--out", tmp_path / "b.csv")
    assert f"temperature {kept['temperature']:.2f}" in again
    sf.load(pets).save(tmp_path / "copy")
    assert sf.load(tmp_path / "copy").calibration.temperature == kept["temperature"]
    (pets / "calibration.json").write_text("{")
    with pytest.raises(sf.UserError, match="damaged"):
        sf.load(pets)
    (pets / "calibration.json").unlink()


def test_a_target_has_its_probabilities_given_the_rest(kinds, tables, tmp_path):
    table = tmp_path / "classes.csv"
    suffuse("classify", kinds, tables / "test.csv", "--out", table)
    found, truth = rows(table), people(200, 1)
    assert sorted(found[0]) == ["both", "class", "left", "name", "right"]
    assert np.mean([row["class"] == kind for row, kind in zip(found, truth.kind, strict=True)]) > 0.9
    # What the rows say of the target is not looked at, and need not be there.
    hidden = sf.load(kinds).classify(truth.drop(columns="kind"))
    assert hidden.predicted == [row["class"] for row in found]


def test_a_row_with_holes_has_a_class_too(kinds):
    truth = people(200, 1)
    model = sf.load(kinds)
    assert np.mean(np.array(model.classify(truth.assign(b=None)).predicted) == truth.kind) > 0.8
    assert np.mean(np.array(model.classify(truth.assign(a=None, total=None)).predicted) == truth.kind) < 0.5


def test_a_number_has_a_mean_and_quantiles(totals, tables, tmp_path):
    few = tmp_path / "few.csv"
    people(40, 1).to_csv(few, index=False)
    said = suffuse("classify", totals, few, "--out", tmp_path / "classes.csv")
    found, truth = rows(tmp_path / "classes.csv"), people(40, 1).total
    assert list(found[0]) == ["name", "mean", "q05", "q25", "q50", "q75", "q95"]
    assert np.corrcoef([float(row["mean"]) for row in found], truth)[0, 1] > 0.9
    inside = [float(row["q05"]) <= value <= float(row["q95"]) for row, value in zip(found, truth, strict=True)]
    assert np.mean(inside) > 0.6
    assert f"{np.mean(inside):.1%} inside" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{pets}", "{pictures}", "--of", "breed"], "no classes 'breed'; it knows label"),
        (["{pets}", "{pictures}", "--evaluations", "10"], "allow at least 20"),
        (["{pets}", "{pictures}", "--condition", "cat"], "say which condition is cat"),
        (["{kinds}", "{tables}/test.csv", "--of", "breed"], "train it with --condition and a field of classes"),
        (["{totals}", "{few}", "--calibrate"], "leave out --calibrate"),
    ],
)
def test_mistakes_are_named(arguments, message, pets, pictures, kinds, totals, tables, tmp_path, capsys):
    people(2, 1).to_csv(tmp_path / "few.csv", index=False)
    places = {"pets": pets, "pictures": pictures, "kinds": kinds, "totals": totals, "tables": tables}
    filled = [argument.format(few=tmp_path / "few.csv", **places) for argument in arguments]
    assert run(["classify", *filled, "--out", str(tmp_path / "c.csv")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
