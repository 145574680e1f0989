"""The command line as a user meets it: real folders, real processes, one line for a mistake and never a traceback."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import suffuse as sf
from suffuse.cli import run
from suffuse.pictures import made_by

TINY = ["--size", "8", "--width", "8", "--multipliers", "1", "1", "--blocks", "1", "--batch", "8", "--steps", "4"]


def suffuse(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "suffuse", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def model_bytes(run: Path) -> bytes:
    return sorted(run.glob("checkpoints/*/model/model.safetensors"))[-1].read_bytes()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Red cats and blue dogs, with captions."""
    folder = tmp_path_factory.mktemp("pictures")
    colours = {"cat": (200, 30, 30), "dog": (30, 30, 200)}
    rows = ["file_name,caption"]
    for name, colour in colours.items():
        (folder / name).mkdir()
        for i in range(12):
            noise = np.random.default_rng(i).integers(-20, 20, (12, 12, 3))
            Image.fromarray(np.uint8(np.array(colour) + noise)).save(folder / name / f"{i}.png")
            rows.append(f"{name}/{i}.png,a {name} number {i}")
    return folder


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pets"
    done = suffuse("train", pictures, "--out", out, "--condition", "label", *TINY)
    assert done.returncode == 0, done.stderr
    return out


def test_a_run_leaves_everything_a_user_looks_for(trained):
    for name in ("data-report.json", "metrics.jsonl", "loss.png", "samples.png"):
        assert (trained / name).stat().st_size > 0, name
    assert sf.load(trained).origin.images == 4 * 8
    assert json.loads((trained / "data-report.json").read_text())["kept"] == 24
    assert opened(trained / "samples.png").size[0] > 64


def test_generate_writes_pictures_that_name_their_seed(trained, tmp_path):
    done = suffuse(
        "generate", trained, "-n", "3", "--condition", "dog", "--steps", "2", "--seed", "7", "--out", tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"000007.png", "000008.png", "000009.png", "sheet.png"}
    made = made_by(opened(tmp_path / "000008.png"))
    assert (made["seed"], made["steps"], made["condition"]) == (8, 2, {"label": "dog"})
    (image,) = sf.load(trained).generate(1, condition="dog", steps=2, seed=8)
    assert image.tobytes() == opened(tmp_path / "000008.png").tobytes()


def test_info_of_a_run_and_of_a_source(trained, pictures, capsys):
    assert run(["info", str(trained)]) == 0
    said = capsys.readouterr().out
    assert "2 classes: cat, dog" in said
    assert "parameters" in said
    assert run(["info", str(pictures)]) == 0
    assert "24" in capsys.readouterr().out


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_score_writes_a_row_for_every_picture(trained, pictures, tmp_path):
    """In the source's order and by its names; each is told what the source says of it."""
    done = suffuse("score", trained, pictures, "--evaluations", "8", "--seed", "5", "--out", tmp_path / "a" / "s.csv")
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "a" / "s.csv")
    assert list(found[0]) == ["name", "nats", "standard_error", "bits_per_dimension"]
    names = [row["name"] for row in found]
    assert sorted(names) == sorted(f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(12))
    items, labels = [opened(pictures / name) for name in names], [name[:3] for name in names]
    scores = sf.load(trained).score(items, condition=labels, evaluations=8, seed=5)
    for row, score in zip(found, scores, strict=True):
        assert float(row["nats"]) == pytest.approx(score.nats, abs=1e-3)
        assert float(row["standard_error"]) == pytest.approx(score.standard_error, abs=1e-3)
        assert float(row["bits_per_dimension"]) == pytest.approx(score.bits_per_dimension, abs=1e-3)
    mean = sum(score.nats for score in scores) / 24
    assert f"mean bound {mean:.2f} +-" in done.stdout
    assert "over 24 items" in done.stdout
    assert done.stdout.strip().endswith(str(tmp_path / "a" / "s.csv"))


def test_score_by_the_flow_of_pictures_of_one_class(trained, pictures, capsys):
    """By default into the run folder; what all are said to be goes before what the source says."""
    assert (
        run(["score", str(trained), str(pictures), "--method", "ode", "--evaluations", "4", "--condition", "cat"]) == 0
    )
    assert "mean log-likelihood" in capsys.readouterr().out
    found = rows(trained / "scores.csv")
    items = [opened(pictures / row["name"]) for row in found]
    scores = sf.load(trained).score(items, condition="cat", method="ode", evaluations=4)
    for row, score in zip(found, scores, strict=True):
        assert float(row["nats"]) == pytest.approx(score.nats, abs=0.1)


def test_score_leaves_out_what_cannot_be_read_and_tells_what_it_can(trained, pictures, tmp_path, capsys):
    folder = tmp_path / "mixed"
    shutil.copytree(pictures / "cat", folder / "cat")
    shutil.copytree(pictures / "dog", folder / "cow")
    (folder / "cat" / "0.png").write_bytes((folder / "cat" / "0.png").read_bytes()[:60])
    table = tmp_path / "s.csv"
    assert run(["score", str(trained), str(folder), "--evaluations", "4", "--out", str(table)]) == 0
    said = capsys.readouterr().out
    assert "23 of 24 used" in said
    assert "cat/0.png" in said
    assert "label: 12 have values the model does not know (cow), and are scored without" in said
    found = rows(table)
    assert "cat/0.png" not in [row["name"] for row in found]
    told = ["cat" if row["name"].startswith("cat") else None for row in found]
    items = [opened(folder / row["name"]) for row in found]
    for row, score in zip(found, sf.load(trained).score(items, condition=told, evaluations=4), strict=True):
        assert float(row["nats"]) == pytest.approx(score.nats, abs=1e-3)


def test_the_same_command_again_says_that_it_is_done(trained, pictures):
    before = model_bytes(trained)
    done = suffuse("train", pictures, "--out", trained, "--condition", "label", *TINY)
    assert done.returncode == 0, done.stderr
    assert "complete" in done.stdout + done.stderr
    assert model_bytes(trained) == before


MISTAKES = {
    "wrong path": (["train", "{pictures}s"], "did you mean|no such|there is no"),
    "empty folder": (["train", "{empty}"], "empty|no picture"),
    "folder of other files": (["train", "{others}"], "found: 1 .odd"),
    "label column missing": (["train", "{pictures}", "--condition", "lable"], "did you mean 'label'"),
    "negative steps": (["train", "{pictures}", "--steps", "-1"], "--steps -1"),
    "negative generation steps": (["generate", "{trained}", "--steps", "-1"], "steps must be at least 1"),
    "no number": (["generate", "{trained}", "--steps", "many"], "--steps"),
    "unknown field": (["train", "{pictures}", "--widht", "8"], "did you mean --width"),
    "unknown class": (["generate", "{trained}", "--condition", "dgo"], "did you mean 'dog'"),
    "unknown verb": (["trian", "{pictures}"], "did you mean 'train'"),
    "no model there": (["generate", "{empty}"], "no trained model"),
    "no such run": (["generate", "{empty}/nothing"], "no folder"),
    "nothing to score": (["score", "{trained}", "{pictures}s"], "did you mean|no such|there is no"),
    "nothing to score with": (["score", "{empty}", "{pictures}"], "no trained model"),
    "no such method": (["score", "{trained}", "{pictures}", "--method", "odd"], "--method"),
    "odd evaluations": (["score", "{trained}", "{pictures}", "--evaluations", "7"], "even number of evaluations"),
    "scores into a folder": (["score", "{trained}", "{pictures}", "--out", "{empty}"], "is a folder"),
    "scores of an unknown class": (["score", "{trained}", "{pictures}", "--condition", "dgo"], "did you mean 'dog'"),
    "another training": (["train", "{pictures}", "--out", "{trained}", *TINY, "--width", "16"], "width"),
    "channels of sounds": (["train", "{pictures}", "--channels", "2"], "pictures have 1 channel"),
    "parts of pictures": (["train", "{pictures}", "--given", "0.5"], "restore --operator inpaint"),
    "budget twice": (["train", "{pictures}", "--steps", "3", "--minutes", "1"], "steps|minutes"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(mistake, pictures, trained, tmp_path, capsys, monkeypatch):
    arguments, expected = MISTAKES[mistake]
    (tmp_path / "empty").mkdir()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "a.odd").write_text("no picture")
    places = {"pictures": pictures, "trained": trained, "empty": tmp_path / "empty", "others": tmp_path / "others"}
    monkeypatch.chdir(tmp_path)
    assert run([argument.format(**places) for argument in arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("suffuse: ")
    assert len(said.splitlines()) == 1
    assert re.search(expected, said), said


def test_a_mistake_in_a_process_has_no_traceback():
    done = suffuse("train", "/nowhere/at/all")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert suffuse("nonsense").returncode == 2


def test_damage_in_the_data_is_reported_and_the_rest_trains(pictures, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(pictures, folder)
    whole = (folder / "cat" / "0.png").read_bytes()
    (folder / "cat" / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "cat" / "empty.png").write_bytes(b"")
    (folder / "cat" / "notes.txt").write_text("not a picture")
    done = suffuse("train", folder, "--out", tmp_path / "run", *TINY)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "data-report.json").read_text())
    assert report["kept"] == 24
    assert {Path(name).name for name, _ in report["left_out"]} >= {"broken.png", "empty.png"}
