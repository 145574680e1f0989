"""One style of handwriting to another, with pairs and without: `python examples/style.py OUT [IMAGES]`.

With pairs: digits (MNIST) to their outlines, which a filter makes. Without: digits as scikit-learn has them to those of
MNIST, both 8 x 8, of other people and pens, by two models that share their noise, and by a bridge whose pairs are made
by an entropic coupling. Figures are the distance of features to those of the style wanted, by a classifier of it, and
how often that sees the digit that it was; both beside leaving the pictures as they are.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageChops, ImageFilter
from sklearn.datasets import load_digits

import suffuse as sf
from suffuse.data.pairs import PairSource
from suffuse.data.report import Report
from suffuse.data.sources import ArraySource
from suffuse.demos.handwritten import mnist_pictures
from suffuse.metrics.frechet import frechet_distance
from suffuse.metrics.judge import train_judge
from suffuse.metrics.restoration import psnr
from suffuse.pictures import rows_of, save_png
from suffuse.recipes import Recipe
from suffuse.recipes.recipe import DataSection, NetworkSection, ProcessSection
from suffuse.training.config import TrainingConfig

TEST, SHOWN = 500, 10

out, images = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 24_000
digits, digit_labels = mnist_pictures()
order = np.random.default_rng(0).permutation(len(digits))
digits, digit_labels = digits[order], digit_labels[order]
NETWORK = NetworkSection(width=32, multipliers=(1, 2), blocks=1)


def states(pictures: Sequence[Any]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(each) for each in pictures])).float()[:, None] / 127.5 - 1


def trained(source: Any, name: str, data: DataSection, **sections: Any) -> Any:
    budget = TrainingConfig(batch=64, learning_rate=2e-3, precision="bf16", held_out=0.02, images=images)
    return sf.train(source, Recipe(data=data, training=budget, **{"network": NETWORK} | sections), out / name)


def paired(sources: np.ndarray, targets: np.ndarray, places: list[tuple[int, int]], name: str) -> PairSource:
    return PairSource(name, ArraySource(sources), ArraySource(targets), places, Report(name, len(places)))


# With pairs: what the outline of a digit is, is learned from examples alone.


def outline(picture: np.ndarray) -> np.ndarray:
    """What lies just outside of the ink."""
    image = Image.fromarray(picture)
    return np.asarray(ImageChops.subtract(image.filter(ImageFilter.MaxFilter(3)), image))


outlines = np.stack([outline(each) for each in digits])
drawer = trained(
    paired(digits[TEST:], outlines[TEST:], [(n, n) for n in range(len(digits) - TEST)], "outlines"),
    "paired",
    data=DataSection(kind="pairs", size=28, channels=1),
    network=NetworkSection(width=32, multipliers=(1, 2), blocks=1, patch=2),
)
before = [Image.fromarray(each) for each in digits[:TEST]]
after = drawer.translate(before)
wanted = states(outlines[:TEST])
report: dict[str, object] = {
    "with pairs, PSNR": {
        "drawn": round(float(psnr(states(after), wanted).clamp(max=100).mean()), 2),
        "left as they are": round(float(psnr(states(before), wanted).clamp(max=100).mean()), 2),
    }
}

# Without pairs: digits of other people.

pixels, theirs_labels = load_digits(return_X_y=True)
theirs = np.rint(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
ours = np.stack(
    [np.asarray(Image.fromarray(each).crop((3, 3, 25, 25)).resize((8, 8), Image.Resampling.BOX)) for each in digits]
)
small = DataSection(size=8, channels=1, condition=("label",))
source = trained(ArraySource(theirs[TEST:], theirs_labels[TEST:].tolist(), "theirs"), "theirs", data=small)
target = trained(ArraySource(ours[TEST:], digit_labels[TEST:].tolist(), "ours"), "ours", data=small)
pairs = [(n % (len(theirs) - TEST), n) for n in range(len(ours) - TEST)]
bridge = trained(
    paired(theirs[TEST:], ours[TEST:], pairs, "bridge"),
    "unpaired",
    data=DataSection(kind="pairs", size=8, channels=1),
    process=ProcessSection(coupling="sinkhorn"),
)
known = states(ours[TEST:])
judge = train_judge(known, torch.from_numpy(digit_labels[TEST:]), 0, 20)
asked, labels = [Image.fromarray(each) for each in theirs[:TEST]], theirs_labels[:TEST]
told = [str(label) for label in labels]


def measured(pictures: list[Image.Image], labels: np.ndarray) -> dict[str, float]:
    """Beside the digits of the style that the judge was not trained on."""
    with torch.no_grad():
        x = states(pictures)
        distance = frechet_distance(judge.features(x), judge.features(known))
        same = float((judge(x).argmax(1).numpy() == labels).mean())
    return {"frechet": round(distance, 2), "digit kept": round(same, 4)}


ways = {
    "left as they are": asked,
    "through the shared noise": source.translate(asked, to=target),
    "through it, told the digit": source.translate(asked, to=target, condition=told, from_condition=told),
    "by an entropic bridge": bridge.translate(asked),
    "the style wanted": [Image.fromarray(each) for each in ours[:TEST]],
}
are = {name: digit_labels[:TEST] if name == "the style wanted" else labels for name in ways}
report |= {name: measured(pictures, are[name]) for name, pictures in ways.items()}
(out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
save_png(rows_of([before[:SHOWN], after[:SHOWN]]), out / "paired.png")
save_png(rows_of([pictures[:SHOWN] for pictures in ways.values()]), out / "unpaired.png")
print(json.dumps(report, indent=1))
