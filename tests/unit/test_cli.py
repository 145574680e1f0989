"""The command line as a user meets it: real folders, real processes, one line for a mistake and never a traceback."""

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


def test_the_same_command_again_says_that_it_is_done(trained, pictures):
    before = model_bytes(trained)
    done = suffuse("train", pictures, "--out", trained, "--condition", "label", *TINY)
    assert done.returncode == 0, done.stderr
    assert "complete" in done.stdout + done.stderr
    assert model_bytes(trained) == before


MISTAKES = {
    "wrong path": (["train", "{pictures}s"], "did you mean|no such|there is no"),
    "empty folder": (["train", "{empty}"], "empty|no picture"),
    "folder of texts": (["train", "{texts}"], "picture"),
    "label column missing": (["train", "{pictures}", "--condition", "lable"], "did you mean 'label'"),
    "negative steps": (["train", "{pictures}", "--steps", "-1"], "--steps -1"),
    "negative generation steps": (["generate", "{trained}", "--steps", "-1"], "steps must be at least 1"),
    "no number": (["generate", "{trained}", "--steps", "many"], "--steps"),
    "unknown field": (["train", "{pictures}", "--widht", "8"], "did you mean --width"),
    "unknown class": (["generate", "{trained}", "--condition", "dgo"], "did you mean 'dog'"),
    "unknown verb": (["trian", "{pictures}"], "did you mean 'train'"),
    "no model there": (["generate", "{empty}"], "no trained model"),
    "no such run": (["generate", "{empty}/nothing"], "no folder"),
    "another training": (["train", "{pictures}", "--out", "{trained}", *TINY, "--width", "16"], "width"),
    "budget twice": (["train", "{pictures}", "--steps", "3", "--minutes", "1"], "steps|minutes"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(mistake, pictures, trained, tmp_path, capsys, monkeypatch):
    arguments, expected = MISTAKES[mistake]
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no picture")
    places = {"pictures": pictures, "trained": trained, "empty": tmp_path / "empty", "texts": tmp_path / "texts"}
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
