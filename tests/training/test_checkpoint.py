"""Law 12 for runs: damage is found and named, a full disk loses nothing, and other folders are left alone."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import ring
import torch
from safetensors.torch import load_file

from suffuse.errors import UserError
from suffuse.files import digest, seal, verify
from suffuse.training.checkpoint import TRAINER, read

HERE = Path(__file__).parent
SETTINGS = {"batch": 32, "steps": 12, "evaluate_every": 4, "sample_every": 12, "save_every": 0.0001}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended, with two checkpoints."""
    run = tmp_path_factory.mktemp("finished") / "run"
    ring.run(run, **SETTINGS)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to do harm to."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("[0-9]*"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("model.safetensors", truncate),
        ("ema-0.1.safetensors", flip),
        ("optimizer.safetensors", Path.unlink),
        ("model/model.safetensors", flip),
        (TRAINER, empty),
        ("manifest.json", truncate),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(
    name: str, harm: Callable[[Path], None], run: Path, finished: Path, capsys: pytest.CaptureFixture
) -> None:
    before, last = checkpoints(run)
    harm(last / name)
    ring.run(run, progress=True, **SETTINGS)
    said = capsys.readouterr().err.splitlines()
    named = [line for line in said if "going on from the checkpoint before it" in line]
    assert len(named) == 1
    assert str(last) in named[0]
    assert f"going on from {before}" in said
    for file in ("model.safetensors", "ema-0.1.safetensors", "optimizer.safetensors", "model/model.safetensors"):
        assert digest(last / file) == digest(checkpoints(finished)[-1] / file)
    verify(last)


def test_all_damaged(run: Path) -> None:
    for checkpoint in checkpoints(run):
        flip(checkpoint / "model.safetensors")
    with pytest.raises(UserError, match=r"no checkpoint in .* can be read; train in a new folder"):
        ring.run(run, **SETTINGS)


def test_another_version(run: Path) -> None:
    for checkpoint in checkpoints(run):
        said = read(checkpoint) | {"format": 999}
        (checkpoint / TRAINER).write_text(json.dumps(said))
        (checkpoint / "manifest.json").unlink()
        seal(checkpoint)
    with pytest.raises(UserError, match="is of format 999, and this version of Suffuse reads 1"):
        ring.run(run, **SETTINGS)


def test_a_folder_with_something_else_in_it(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("my only copy")
    with pytest.raises(UserError, match="has files in it but is no run folder"):
        ring.run(tmp_path, **SETTINGS)
    with pytest.raises(UserError, match="is a file"):
        ring.run(tmp_path / "thesis.tex", **SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_other_settings_are_named(run: Path) -> None:
    with pytest.raises(UserError, match=r"another batch \(was 32\), clip \(was 1.0\); set it back"):
        ring.run(run, **SETTINGS | {"batch": 64, "clip": 2.0})
    with pytest.raises(UserError, match=r"another budget \(was in steps\)"):
        ring.run(run, **{**SETTINGS, "steps": None, "images": 4000})
    with pytest.raises(UserError, match=r"another training data \(was 450 items\)"):
        ring.run(run, data=ring.Ring(100), **SETTINGS)


def test_another_network(run: Path) -> None:
    with pytest.raises(UserError, match=r"is of another network: denoiser.network.* differs"):
        ring.run(run, width=64, **SETTINGS)


def test_batches_that_cannot_be_shared_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a batch of 32 does not divide by 1 processes times accumulate 5"):
        ring.run(tmp_path / "run", **SETTINGS, accumulate=5)


def test_no_pickle_is_written(run: Path) -> None:
    kinds = {path.suffix for path in (run / "checkpoints").rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json"}


def test_the_last_two_and_the_best_are_kept(tmp_path: Path) -> None:
    class Elsewhere(ring.Ring):
        """What is held out lies where training never looks, so that measurements get worse."""

        def held_out(self, n: int) -> tuple:
            points, condition, source = super().held_out(n)
            return 4 * points, condition, source

    settings = {
        "batch": 32,
        "steps": 400,
        "evaluate_every": 20,
        "sample_every": 400,
        "patience": 4,
        "save_every": 0.0005,
    }
    settings |= {"learning_rate": 0.01, "warmup": 0}
    denoiser, result = ring.run(tmp_path / "run", data=Elsewhere(), **settings)
    assert result.reason == "patience"
    kept = checkpoints(tmp_path / "run")
    last = read(kept[-1])["progress"]
    assert result.images == last["images"] < 400 * 32
    assert last["stale"] == 4
    assert last["images"] - last["best"] == 4 * 20 * 32
    assert len(kept) == 3
    assert int(kept[0].name) == last["best"]
    best = load_file(kept[0] / "ema-0.05.safetensors")
    model = load_file(kept[-1] / "model" / "model.safetensors")
    assert all(torch.equal(model[name], best[name]) for name in best)
    assert all(torch.equal(value, model[name]) for name, value in denoiser.state_dict().items())
    again = read(kept[-1])["progress"]
    _, result = ring.run(tmp_path / "run", data=Elsewhere(), **settings)
    assert result.reason == "patience"
    assert read(checkpoints(tmp_path / "run")[-1])["progress"] == again


def test_a_full_disk_loses_nothing_and_is_tried_again(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "full.py"), str(tmp_path / "run"), "for a while"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cannot write" in done.stderr
    assert "training goes on, and it is tried again" in done.stderr
    end = checkpoints(tmp_path / "run")[-1]
    verify(end)
    assert read(end)["progress"]["steps"] == 12
    ring.run(tmp_path / "free", **SETTINGS)
    assert digest(end / "optimizer.safetensors") == digest(checkpoints(tmp_path / "free")[-1] / "optimizer.safetensors")


def test_a_disk_that_is_full_at_the_end(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "full.py"), str(tmp_path / "run"), "for good"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("UserError: cannot write ")
    assert "nothing that was there is lost" in done.stderr.splitlines()[-1]
    for checkpoint in checkpoints(tmp_path / "run"):
        verify(checkpoint)
    assert 0 < read(checkpoints(tmp_path / "run")[-1])["progress"]["steps"] < 12
    assert not list((tmp_path / "run" / "checkpoints").glob(".tmp-*"))
