"""What generated pictures add to a small training set: `python examples/augmentation.py OUT [IMAGES CHOICES]`.

Ten handwritten digits of each class, 8 x 8 (scikit-learn), are all that has a label. A class-conditional model learns
from them, and a classifier from them with and without what that model draws, with and without shifted copies, for
equally many steps; all are tested on the other 1,697 digits, over five choices of the ten.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

import suffuse as sf
from suffuse.data.sources import ArraySource
from suffuse.metrics.bootstrap import mean_interval
from suffuse.metrics.judge import train_judge
from suffuse.pictures import save_png, sheet
from suffuse.recipes import Recipe
from suffuse.recipes.recipe import DataSection, NetworkSection
from suffuse.training.config import TrainingConfig

LABELLED = 10

out, images, choices = Path(sys.argv[1]), *(map(int, sys.argv[2:4]) if len(sys.argv) > 2 else (24_000, 5))
drawn_of_each, steps = max(2, images // 240), max(20, images // 16)
pixels, classes = load_digits(return_X_y=True)
pixels = np.rint(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)


def states(levels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(levels).float()[:, None] / 127.5 - 1


def shifted(x: torch.Tensor) -> torch.Tensor:
    """One pixel to each side, over black."""
    around = torch.nn.functional.pad(x, (1, 1, 1, 1), value=-1.0)
    return torch.cat([around[..., down : down + 8, along : along + 8] for down in range(3) for along in range(3)])


def accuracy(x: torch.Tensor, labels: torch.Tensor, seed: int) -> float:
    """Of a classifier, on all that has no label."""
    epochs = max(1, steps * 64 // len(x))  # equally many steps, whatever there is
    judge = train_judge(x, labels, seed, epochs)
    with torch.no_grad():
        return float((judge(states(pixels[others])).argmax(1).numpy() == classes[others]).mean())


found: dict[str, list[float]] = {}
for choice in range(choices):
    rng = np.random.default_rng(choice)
    few = np.concatenate([rng.permutation(np.flatnonzero(classes == digit))[:LABELLED] for digit in range(10)])
    others = np.setdiff1d(np.arange(len(classes)), few)
    recipe = Recipe(
        data=DataSection(size=8, channels=1, condition=("label",)),
        network=NetworkSection(width=32, multipliers=(1, 2), blocks=1, network_dropout=0.2),
        training=TrainingConfig(batch=64, learning_rate=2e-3, held_out=0.05, images=images, seed=choice),
    )
    model = sf.train(ArraySource(pixels[few], classes[few].tolist(), "few"), recipe, out / f"choice-{choice}")
    names = [str(digit) for digit in range(10) for _ in range(drawn_of_each)]
    drawn = model.generate(len(names), condition=names, seed=1000 * choice)
    if choice == 0:
        save_png(sheet(drawn[::10], columns=10), out / "drawn.png")
    real, real_labels = states(pixels[few]), torch.from_numpy(classes[few])
    made, made_labels = states(np.stack([np.array(each) for each in drawn])), torch.tensor(list(map(int, names)))
    sets = {
        "real": (real, real_labels),
        "real, shifted": (shifted(real), real_labels.repeat(9)),
        "real and generated": (torch.cat([real, made]), torch.cat([real_labels, made_labels])),
        "both, shifted": (shifted(torch.cat([real, made])), torch.cat([real_labels, made_labels]).repeat(9)),
        "generated alone": (made, made_labels),
    }
    for name, (x, labels) in sets.items():
        found.setdefault(name, []).append(accuracy(x, labels, choice))

report = {name: vars(mean_interval(values)) for name, values in found.items()}
report["gain"] = vars(mean_interval(np.subtract(found["real and generated"], found["real"])))
report["gain over shifts"] = vars(mean_interval(np.subtract(found["both, shifted"], found["real, shifted"])))
(out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
for name, row in report.items():
    print(f"{name:<20}{row['value']:>8.2%}   {row['low']:.2%} to {row['high']:.2%}")
