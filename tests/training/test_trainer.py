"""What the settings of a training do."""

import math
from pathlib import Path

import pytest
import ring
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import nn

from suffuse.precision import multiplies_in_bf16
from suffuse.training.checkpoint import read
from suffuse.training.config import TrainingConfig
from suffuse.training.learner import decay_groups
from suffuse.training.log import read_metrics

RARE = {"batch": 32, "evaluate_every": 40, "sample_every": 40}


def test_a_budget_of_time(tmp_path: Path) -> None:
    settings = {"batch": 32, "learning_rate": 0.01}
    _, result = ring.run(tmp_path / "run", minutes=0.1, **settings)
    assert result.seconds >= 6
    assert result.reason == "budget"
    assert result.images == 32 * result.steps > 0
    last = [line for line in read_metrics(tmp_path / "run") if line["event"] == "train"][-1]
    assert last["lr"] < 0.01 * (1 + math.cos(math.pi * 0.5)) / 2, "half way down at the end"
    end = sorted((tmp_path / "run" / "checkpoints").glob("[0-9]*"))[-1]
    assert read(end)["progress"]["seconds"] == result.seconds
    _, again = ring.run(tmp_path / "run", minutes=(result.seconds + 1) / 60, **settings)
    assert again.seconds >= result.seconds + 1
    assert again.images > result.images


def test_bf16_is_the_arithmetic_of_the_network_only_and_only_where_the_hardware_has_it(tmp_path: Path) -> None:
    has = multiplies_in_bf16(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    kinds: dict[str, set[torch.dtype]] = {"training": set(), "else": set()}

    def note(layer: nn.Module, given: object, output: torch.Tensor) -> None:
        kinds["training" if layer.training else "else"].add(output.dtype)

    denoiser, objective = ring.parts()
    denoiser.network.into.register_forward_hook(note)
    denoiser, _ = ring.run(tmp_path / "run", steps=40, made=(denoiser, objective), precision="bf16", **RARE)
    assert kinds["training"] == {torch.bfloat16 if has else torch.float32}
    assert torch.float32 in kinds["else"], "sheets are drawn in full precision"
    end = tmp_path / "run" / "checkpoints" / "0000001280"
    for file in ("model", "optimizer", "ema-0.05"):
        assert {value.dtype for value in load_file(end / f"{file}.safetensors").values()} == {torch.float32}
    ring.run(tmp_path / "fp32", steps=40, **RARE)
    ours, theirs = (
        load_file(tmp_path / run / end.relative_to(tmp_path / "run") / "model.safetensors") for run in ("run", "fp32")
    )
    name = "denoiser.network.into.weight"
    off = float((ours[name] - theirs[name]).norm() / theirs[name].norm())
    assert 0 < off < 0.05 if has else off == 0


def test_weight_decay_spares_biases_norms_and_embeddings() -> None:
    denoiser, _ = ring.parts()
    decayed, spared = (group["params"] for group in decay_groups(denoiser, 0.1))
    network = denoiser.network
    assert {id(p) for p in decayed} == {
        id(layer.weight) for layer in (network.level, network.into, network.hidden[2], network.out)
    }
    assert len(decayed) + len(spared) == len(list(denoiser.parameters()))


def test_clipping_bounds_what_a_step_takes_in(tmp_path: Path) -> None:
    ring.run(tmp_path / "run", steps=1, clip=1e-3, **RARE)
    moments = load_file(tmp_path / "run" / "checkpoints" / "0000000032" / "optimizer.safetensors")
    first = torch.cat([value.flatten() for name, value in moments.items() if name.endswith("/exp_avg")])
    assert first.norm().item() == pytest.approx(0.1 * 1e-3, rel=1e-3)
    assert next(line["grad_norm"] for line in read_metrics(tmp_path / "run") if line["event"] == "train") > 1e-2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 1, "minutes": 1}, "give one budget"),
        ({"betas": (0.9, 1.0)}, r"betas must lie in"),
        ({"ema": (0.1, 0.1)}, "the widths of ema must differ"),
        ({"ema": (0.5,)}, "less than 0.288"),
        ({"patience": 3, "held_out": 0}, "patience needs data held out"),
        ({"batchsize": 3}, "batchsize"),
        ({"batch": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainingConfig(**settings)


def test_every_setting_is_described() -> None:
    assert all(field.description for field in TrainingConfig.model_fields.values())
