"""How likely items are: one row for each, on the command line and in Python."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import suffuse as sf
from tests.unit.test_model import small


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("run") / "model"
    small().save(place)
    return place


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Nine pictures of two classes, and a damaged one."""
    place, rng = tmp_path_factory.mktemp("data") / "pictures", np.random.default_rng(0)
    for number in range(9):
        file = place / ("cat" if number % 2 else "dog") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file)
    (place / "cat" / "damaged.png").write_bytes((place / "cat" / "1.png").read_bytes()[:60])
    return place


def suffuse(*words):
    return subprocess.run(
        [sys.executable, "-m", "suffuse", *map(str, words)], capture_output=True, text=True, check=False
    )


def rows_of(file):
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_one_row_for_each_item(run, pictures, tmp_path):
    done = suffuse("score", run, pictures, "--evaluations", 8, "--out", tmp_path / "scores.csv")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "scores.csv")
    assert len(rows) == 9
    assert "left out 1" in done.stdout
    assert "damaged.png" in done.stdout
    worst = min(rows, key=lambda row: float(row["nats"]))
    assert done.stdout.split("least likely:\n")[1].splitlines()[0].endswith(worst["item"])
    for row in rows:
        nats, bits = float(row["nats"]), float(row["bits_per_dimension"])
        assert bits == pytest.approx(-nats / 192 / np.log(2) - np.log2(2 / 255), abs=1e-4)
        assert float(row["standard_error"]) > 0


def test_a_row_is_what_python_says(run, pictures, tmp_path):
    """Told the class that the folder says; the item's own seed, whatever is scored beside it."""
    suffuse("score", run, pictures, "--evaluations", 8, "--out", tmp_path / "scores.csv")
    rows, model = rows_of(tmp_path / "scores.csv"), sf.load(run)
    for position in (0, 4, 8):
        name = rows[position]["item"]
        with Image.open(pictures / name) as image:
            told = {"label": name.split("/")[0]}
            (alone,) = model.score([image.copy()], condition=told, evaluations=8, seed=position)
            (untold,) = model.score([image.copy()], evaluations=8, seed=position)
        assert alone.nats == pytest.approx(float(rows[position]["nats"]), abs=0.05)
        assert abs(untold.nats - alone.nats) > 0.05


def test_the_flow_agrees_with_itself_and_takes_its_steps(run, pictures):
    with Image.open(next(pictures.rglob("1.png"))) as image:
        model, pair = sf.load(run), [image.copy(), image.copy()]
    first, second = model.score(pair, condition="cat", method="flow", evaluations=16)
    error = np.hypot(first.standard_error, second.standard_error)
    assert abs(first.nats - second.nats) < 6 * error + 2  # they differ by their probes and their dequantisation
    assert first.nats != second.nats


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--evaluations", "3"], "even number"),
        (["--out", "/nowhere/scores.csv", "--evaluations", "4"], "cannot be written"),
    ],
)
def test_mistakes_are_told_in_one_line(run, pictures, words, said):
    done = suffuse("score", run, pictures, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_be_scored_is_refused(run):
    with pytest.raises(sf.UserError, match="no method 'guess'"):
        sf.load(run).score([], method="guess")
    done = suffuse("score", run, "/nowhere")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
