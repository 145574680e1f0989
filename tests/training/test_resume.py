"""Law 11, first half: a run killed at any moment and resumed ends with the bits of one that was not."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from suffuse.files import digest, verify
from suffuse.training.checkpoint import read
from suffuse.training.ema import SNAPSHOTS
from suffuse.training.log import read_metrics

HERE = Path(__file__).parent


def same_end(one: Path, other: Path) -> None:
    """Two runs ended in the same state: every file of their last checkpoints, snapshots and samples."""
    ends = [sorted((run / "checkpoints").glob("[0-9]*"))[-1] for run in (one, other)]
    assert ends[0].name == ends[1].name
    names = {path.relative_to(ends[0]) for path in ends[0].rglob("*.safetensors")}
    assert {Path("model.safetensors"), Path("optimizer.safetensors"), Path("model/model.safetensors")} < names
    for name in names:
        assert digest(ends[0] / name) == digest(ends[1] / name), name
    states = [read(end)["progress"] for end in ends]
    assert states[0] | {"seconds": 0} == states[1] | {"seconds": 0}
    pictures = [
        {p.name: digest(p) for p in [*(run / "samples").iterdir(), run / "samples.png"]} for run in (one, other)
    ]
    assert pictures[0] == pictures[1]
    kept = [{path.name: digest(path) for path in (run / SNAPSHOTS).iterdir()} for run in (one, other)]
    assert kept[0] == kept[1]
    measured = [[line for line in read_metrics(run) if line["event"] == "held_out"] for run in (one, other)]
    assert measured[0] == measured[1]


def test_killed_ten_times(tmp_path: Path) -> None:
    command = [sys.executable, HERE / "kill.py", tmp_path, "10"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    kills = [line.split() for line in said.stdout.splitlines() if line.startswith("-")]
    assert len(kills) == 10
    assert len({place for _, place in kills}) > 3, "killed at the same place again and again"
    same_end(tmp_path / "undisturbed", tmp_path / "killed")
    images = [line["images"] for line in read_metrics(tmp_path / "killed") if line["event"] == "train"]
    assert images == sorted(set(images)), "what was said before a kill is said twice"
    assert not list((tmp_path / "killed" / "checkpoints").glob(".tmp-*"))


def start(run: Path, command: list[str] | None = None) -> subprocess.Popen[str]:
    """A training in a process of its own, once it makes steps."""
    settings = json.dumps({"batch": 32, "minutes": 5, "evaluate_every": 5, "sample_every": 5})
    command = command or [sys.executable, str(HERE / "ring.py"), str(run), settings]
    before = len(read_metrics(run))
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(read_metrics(run)) == before:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)
    return process


def test_signals_keep_what_there_is_and_say_how_to_go_on(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    process = start(run)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    first = sorted((run / "checkpoints").glob("[0-9]*"))[-1]
    verify(first)
    assert read(first)["progress"]["images"] == int(first.name) > 0
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if "to go on: " in line]
    command = shlex.split(line.partition("to go on: ")[2])
    assert command[0] == "python"

    process = start(run, [sys.executable, *command[1:]])
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 143
    assert f"going on from {first}" in said
    second = sorted((run / "checkpoints").glob("[0-9]*"))[-1]
    assert int(second.name) > int(first.name)
    assert read(second)["progress"]["seconds"] > read(first)["progress"]["seconds"]


def test_a_larger_budget_goes_on_and_a_complete_run_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import ring

    settings = {"batch": 32, "schedule": "constant", "warmup": 0, "evaluate_every": 10, "sample_every": 10}
    ring.run(tmp_path / "at once", steps=40, **settings)
    ring.run(tmp_path / "in two", steps=20, **settings)
    ring.run(tmp_path / "in two", steps=40, **settings)
    ends = [tmp_path / name / "checkpoints" / "0000001280" for name in ("at once", "in two")]
    for name in ("model.safetensors", "optimizer.safetensors", "ema-0.05.safetensors", "model/model.safetensors"):
        assert digest(ends[0] / name) == digest(ends[1] / name)
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "in two").rglob("*")}
    denoiser, result = ring.run(tmp_path / "in two", steps=40, **settings)
    assert "is complete" in capsys.readouterr().err
    assert (result.steps, result.images, result.reason) == (40, 1280, "budget")
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "in two").rglob("*") if path.is_file()}
    unchanged = {path for path in after if path.suffix in {".safetensors", ".png"} or path.name == "trainer.json"}
    assert all(after[path] == before[path] for path in unchanged)
    saved = ends[1] / "model" / "model.safetensors"
    ring.save_model(tmp_path, denoiser.state_dict(), None)
    assert digest(tmp_path / "model.safetensors") == digest(saved)
