"""A small training that tests start as a user would: a script with its own data, network and model file.

The points lie on a ring in the plane; the label says on which half.
"""

import json
import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import suffuse as sf
from suffuse.grids import LogNormal
from suffuse.objectives import LearnedWeight, Objective, OutputWeight
from suffuse.parameterizations import EDM
from suffuse.training.config import TrainingConfig
from suffuse.training.trainer import train


class Ring:
    """Data in memory."""

    def __init__(self, n=500, dtype=torch.float32):
        angle = torch.linspace(0, 6.28, n, dtype=dtype)
        self.points = torch.stack([angle.cos(), angle.sin()], 1)
        self.labels = (angle > 3.14).long()
        self.held = torch.arange(0, n, 10)
        self.rows = torch.tensor([i for i in range(n) if i % 10])

    @property
    def size(self):
        return len(self.rows)

    def batch(self, positions, index):
        rows = self.rows[positions]
        return self.points[rows], {"label": self.labels[rows]}, None

    def held_out(self, n):
        rows = self.held[:n]
        return self.points[rows], {"label": self.labels[rows]}, None


class Network(nn.Module):
    """A perceptron that is told the level and a label."""

    def __init__(self, width=32, dropout=0.0):
        super().__init__()
        self.label = nn.Embedding(3, width)
        self.level = nn.Linear(8, width)
        self.into = nn.Linear(2, width)
        self.hidden = nn.Sequential(nn.SiLU(), nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU())
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, 2)

    def forward(self, x: Tensor, level: Tensor, condition=None) -> Tensor:
        level = level.to(x.dtype).expand(len(x))[:, None] * 2.0 ** -torch.arange(4, device=x.device)
        label = torch.full((len(x),), 2, device=x.device)
        if condition is not None:
            present = condition.get("label/present", torch.ones(len(x), dtype=torch.bool, device=x.device))
            label = torch.where(present, condition["label"], label)
        features = self.level(torch.cat([level.sin(), level.cos()], 1)) + self.label(label)
        return self.out(self.dropout(self.hidden(self.into(x) + features)))


def parts(dtype=torch.float32, dropout=0.0, coupling=None, width=32):
    """Denoiser and objective, the same in every process."""
    torch.manual_seed(0)
    schedule = sf.schedules.Flow()
    process = sf.Gaussian(schedule, coupled=coupling is not None)
    form = EDM(0.7)
    denoiser = sf.Denoiser(Network(width, dropout).to(dtype), process, form)
    weight = LearnedWeight(OutputWeight(form))
    objective = Objective(LogNormal(schedule, -0.5, 1.2), weight, coupling, dropout=0.1)
    return denoiser, objective.to(dtype)


def draw(denoiser, n=16) -> Tensor:
    """Samples of a denoiser."""
    like = next(denoiser.parameters())
    x1 = denoiser.process.prior(torch.empty(n, 2, dtype=like.dtype), 7)
    return sf.sample(denoiser, sf.samplers.Heun(), x1, sf.grids.uniform(8))


def picture(denoiser) -> Image.Image:
    """Samples as dots on a white square."""
    sheet = Image.new("L", (64, 64), 255)
    for x, y in draw(denoiser).clamp(-1.5, 1.5).tolist():
        sheet.putpixel((int(32 + 20 * x), int(32 + 20 * y)), 0)
    return sheet


def save_model(folder: Path, weights, progress) -> None:
    """Weights and a word on what they are."""
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in weights.items()}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps({"kind": "ring"}))


def run(
    folder: Path,
    progress=False,
    dropout=0.0,
    coupling=None,
    dtype=torch.float32,
    data=None,
    width=32,
    made=None,
    **settings,
):
    """Train on the ring; gives the denoiser and the result."""
    denoiser, objective = made or parts(dtype, dropout, coupling, width)
    config = TrainingConfig(**settings)
    result = train(
        denoiser,
        objective,
        data or Ring(dtype=dtype),
        config,
        folder,
        save_model=save_model,
        show=lambda: picture(denoiser),
        progress=progress,
    )
    return denoiser, result


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]), progress=True, **json.loads(sys.argv[2]))
