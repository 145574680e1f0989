"""A coarse model and one that adds detail, beside a single model: `python examples/cascade.py OUT [IMAGES]`.

Handwritten digits of 28 x 28 (MNIST): a model of 7 x 7 draws what is coarse, a bridge trained on pairs draws the rest.
The single model sees as many pictures as both together. Figures are distances of the features of drawn pictures
to those of the real ones, by a classifier of these.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import suffuse as sf
from suffuse.data.pairs import PairSource
from suffuse.data.report import Report
from suffuse.data.sources import ArraySource
from suffuse.demos.handwritten import mnist_pictures
from suffuse.metrics.frechet import frechet_distance
from suffuse.metrics.judge import train_judge
from suffuse.pictures import rows_of, save_png
from suffuse.recipes import Recipe
from suffuse.recipes.recipe import DataSection, NetworkSection
from suffuse.training.config import TrainingConfig

SMALL = 7

out, images = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 32_000
drawn_in_all = max(100, images // 48)
digits, labels = mnist_pictures()


def small(picture: np.ndarray) -> np.ndarray:
    """A quarter of the side, averaged."""
    return np.asarray(Image.fromarray(picture).resize((SMALL, SMALL), Image.Resampling.BOX))


def enlarged(picture: Image.Image) -> Image.Image:
    """Back at full size, without detail: what the second model starts from."""
    return picture.resize((28, 28), Image.Resampling.BICUBIC)


def training(count: int) -> TrainingConfig:
    return TrainingConfig(batch=64, learning_rate=2e-3, precision="bf16", held_out=0.02, images=count)


coarse_digits = np.stack([small(each) for each in digits])
fine_network = NetworkSection(width=32, multipliers=(1, 2), blocks=1, patch=2)
coarse = sf.train(
    ArraySource(coarse_digits, labels.tolist(), "coarse"),
    Recipe(
        data=DataSection(size=SMALL, channels=1, condition=("label",)),
        network=NetworkSection(width=32, multipliers=(1, 2), blocks=1),
        training=training(images),
    ),
    out / "coarse",
)
places = [(place, place) for place in range(len(digits))]
blurred = np.stack([np.asarray(enlarged(Image.fromarray(each))) for each in coarse_digits])
fine = sf.train(
    PairSource("fine", ArraySource(blurred), ArraySource(digits), places, Report("fine", len(places))),
    Recipe(data=DataSection(kind="pairs", size=28, channels=1), network=fine_network, training=training(images)),
    out / "fine",
)
single = sf.train(
    ArraySource(digits, labels.tolist(), "single"),
    Recipe(
        data=DataSection(size=28, channels=1, condition=("label",)), network=fine_network, training=training(2 * images)
    ),
    out / "single",
)

names = [str(n % 10) for n in range(drawn_in_all)]
seconds: dict[str, float] = {}


def timed(name: str, draw: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    drawn = draw()
    seconds[name] = round(time.perf_counter() - start, 1)
    return drawn


drafts = timed("coarse", lambda: coarse.generate(drawn_in_all, condition=names))
both = timed("fine", lambda: fine.translate([enlarged(each) for each in drafts], seed=1))
alone = timed("single", lambda: single.generate(drawn_in_all, condition=names))

known = torch.from_numpy(digits).float()[:, None] / 127.5 - 1
judge = train_judge(known, torch.from_numpy(labels), 0, 8)


def measured(pictures: list[Image.Image]) -> dict[str, float]:
    x = torch.from_numpy(np.stack([np.asarray(each) for each in pictures])).float()[:, None] / 127.5 - 1
    with torch.no_grad():
        distance = frechet_distance(judge.features(x), judge.features(known))
        right = float((judge(x).argmax(1) == torch.tensor(list(map(int, names)))).float().mean())
    return {"frechet": round(distance, 2), "accuracy": round(right, 4)}


report = {
    "cascade": measured(both),
    "single": measured(alone),
    "coarse, enlarged": measured([enlarged(each) for each in drafts]),
    "seconds to draw": seconds,
    "training seconds": {each.origin.name: round(each.origin.seconds) for each in (coarse, fine, single)},
}
(out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
save_png(rows_of([[enlarged(each) for each in drafts[:10]], both[:10], alone[:10]]), out / "cascade.png")
print(json.dumps(report, indent=1))
