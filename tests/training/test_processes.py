"""Law 11, second half: k processes with a batch of b are one process with k b."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import CASES
from safetensors.torch import load_file

from suffuse.training.log import read_metrics

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str, str]:
    """The same trainings by one process and by two, and what these said."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    said = []
    for words, folder in ([], one), (launch, two):
        command = [sys.executable, *words, str(HERE / "processes.py"), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        assert f"{1 + bool(words)} processes" in done.stdout
        said.append(done.stdout + done.stderr)
    return one, two, *said


def end(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("[0-9]*"))[-1]


@pytest.mark.parametrize("case", CASES)
def test_weights_agree_in_float64(case: str, runs: tuple[Path, Path, str, str]) -> None:
    one, two, *_ = runs
    start = load_file(one / case / "checkpoints" / "0000000000" / "model.safetensors")
    for file in ("model.safetensors", "ema-0.05.safetensors"):
        ours, theirs = load_file(end(one / case) / file), load_file(end(two / case) / file)
        assert ours.keys() == theirs.keys()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-10)
    weights = load_file(end(two / case) / "model.safetensors")
    moved = torch.cat([(weights[name] - start[name]).flatten() for name in start])
    assert moved.abs().max() > 1e-3, "nothing was learned, so that agreement says nothing"


def test_accumulation_changes_nothing(runs: tuple[Path, Path, str, str]) -> None:
    one, _, *_ = runs
    for case, other in (("plain", "accumulate"), ("plain", "accumulate more"), ("coupling", "coupling, accumulate")):
        ours, theirs = (load_file(end(one / name) / "model.safetensors") for name in (case, other))
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-10)


def test_loss_and_gradient_of_one_step_agree_in_float32(runs: tuple[Path, Path, str, str]) -> None:
    one, two, *_ = runs
    losses = [
        next(line["loss"] for line in read_metrics(run / "one step") if line["event"] == "train") for run in (one, two)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    moments = [load_file(end(run / "one step") / "optimizer.safetensors") for run in (one, two)]
    # After one step AdamW's first moment is a tenth of the reduced gradient.
    ours, theirs = (torch.cat([m[n].flatten() for n in sorted(m) if n.endswith("/exp_avg")]) for m in moments)
    assert (ours - theirs).norm() < 1e-5 * ours.norm()
    assert ours.norm() > 1e-3


def test_measurements_agree(runs: tuple[Path, Path, str, str]) -> None:
    one, two, *_ = runs
    ours, theirs = (
        next(line for line in read_metrics(run / "plain") if line["event"] == "held_out") for run in (one, two)
    )
    assert ours["bound"] == pytest.approx(theirs["bound"], rel=1e-9)
    assert [level["loss"] for level in ours["levels"]] == pytest.approx([n["loss"] for n in theirs["levels"]], rel=1e-9)


def test_numbers_that_are_not_finite_are_found_in_any_process(runs: tuple[Path, Path, str, str]) -> None:
    *_, one, two = runs
    for said in (one, two):
        assert "the loss or its gradient is not finite at step" in said
        assert "the output of layer network.into" in said
    ours, theirs = (said.split("is not finite at ")[-1].split(",")[:2] for said in (one, two))
    assert ours == theirs, "another step or another noise level"
