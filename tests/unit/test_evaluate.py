"""Reports as a user meets them: real folders, real processes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from suffuse.cli import run


def suffuse(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "suffuse", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def people(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(["left", "right"], n)
    place = np.where(kind == "left", -1.0, 1.0)
    frame = pd.DataFrame({"id": np.arange(n) + 1, "a": place + 0.5 * rng.normal(size=n), "kind": kind})
    return frame.assign(b=frame.a + rng.normal(size=n)).round(3)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    people(1200, 0).to_csv(folder / "train.csv", index=False)
    people(300, 1).to_csv(folder / "test.csv", index=False)
    people(12, 2).to_csv(folder / "few.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def kinds(tables, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "kinds"
    sizes = ["--width", "64", "--depth", "2", "--steps", "400", "--learning-rate", "3e-3"]
    suffuse("train", tables / "train.csv", "--out", out, "--target", "kind", *sizes)
    return out


def figures(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    return {each["name"]: each for each in json.loads((folder / "report.json").read_text())["figures"]}


def test_a_report_of_rows(kinds, tables, tmp_path):
    """Every figure has its interval; what was left out of the model is left out of the comparison."""
    out = tmp_path / "report"
    said = suffuse("evaluate", kinds, tables / "test.csv", "--training", tables / "train.csv", "--out", out)
    found = figures(out)
    names = ["nats", "bits per dimension", "column error", "pair error", "two-sample AUC"]
    assert list(found) == [*names, "AUC of kind", "lost AUC of kind", "nearer to training"]
    for each in found.values():
        assert each["found"]["low"] <= each["found"]["value"] <= each["found"]["high"]
    assert found["column error"]["found"]["value"] < 0.2
    assert found["AUC of kind"]["reference"]["value"] > 0.9
    text = (out / "report.md").read_text()
    assert "| column error |" in text
    assert "| column error |" in said
    assert "![columns](columns.png)" in text
    assert "trained on" in text
    with Image.open(out / "columns.png") as picture:
        assert picture.width > 500


def test_without_the_training_data_nothing_is_said_of_copies(kinds, tables, tmp_path):
    suffuse("evaluate", kinds, tables / "test.csv", "-n", "100", "--out", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["real"] == report["drawn"] == 100
    assert "every other item" in report["reference"]
    assert "nearer to training" not in figures(tmp_path)


def test_a_report_of_pictures(tmp_path):
    """Of classes that are told; the judge is a classifier of them."""
    for name, level in (("cat", 200), ("dog", 60)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(20):
            noise = np.random.default_rng(i).integers(-40, 40, (8, 8))
            Image.fromarray(np.uint8(level + noise)).save(tmp_path / "pets" / name / f"{i}.png")
    sizes = ["--width", "8", "--multipliers", "1", "1", "--blocks", "1", "--batch", "8", "--steps", "4"]
    suffuse("train", tmp_path / "pets", "--out", tmp_path / "run", "--condition", "label", *sizes)
    suffuse("evaluate", tmp_path / "run", tmp_path / "pets", "--training", tmp_path / "pets", "--steps", "2")
    found = figures(tmp_path / "run" / "report")
    assert list(found) == ["nats", "bits per dimension", "Frechet distance", "accuracy", "nearer to training"]
    assert found["Frechet distance"]["found"]["value"] > found["Frechet distance"]["reference"]["value"]
    assert (tmp_path / "run" / "report" / "samples.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tables}/few.csv"], "too few to compare with"),
        (["{tables}/test.csv", "--training", "{tables}/nothing.csv"], "there is no"),
        (["{tables}/test.csv", "--out", "{tables}/test.csv"], "give the name of a folder"),
    ],
)
def test_mistakes_are_named(kinds, tables, arguments, message, capsys):
    assert run(["evaluate", str(kinds), *(each.format(tables=tables) for each in arguments)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
