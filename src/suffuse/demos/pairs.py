"""Pictures from what is left of them: a bridge trained on pairs, beside a regression by the same network."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from suffuse import learn
from suffuse.data.pairs import PairSource
from suffuse.data.report import Report
from suffuse.data.sources import ArraySource
from suffuse.demos.handwritten import mnist_pictures
from suffuse.demos.regression import regression
from suffuse.metrics.frechet import frechet_distance
from suffuse.metrics.judge import Judge, train_judge
from suffuse.metrics.restoration import psnr
from suffuse.model import Model
from suffuse.pictures import rows_of, save_png
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe
from suffuse.training.config import TrainingConfig

_TEST, _DRAWS, _OFTEN = 500, 32, 100
"""Pictures that are not trained on, and draws of each of so many of them."""
_IMAGES = 64_000
_SMALL, _SHOWN = 7, 8
_EPOCHS = 8


def sharpen(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Real handwritten digits from a sixteenth of their pixels: four minutes of a CPU core."""
    images, labels = mnist_pictures()
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], labels[order]
    blurred = np.stack([_blurred(image) for image in images])
    source = _pairs(blurred[_TEST:], images[_TEST:], out.name)
    recipe = Recipe(
        data=DataSection(kind="pairs", size=28, channels=1),
        network=NetworkSection(width=32, multipliers=(1, 2), blocks=1, patch=2),
        training=TrainingConfig(
            batch=64,
            learning_rate=2e-3,
            precision="bf16",
            held_out=0.02,
            images=None if minutes else _IMAGES,
            minutes=minutes,
            seed=seed,
        ),
    )
    bridge = learn.train(source, recipe, out)
    regressed = regression(source, bridge, out / "regression")
    known = _states(images[_TEST:])
    judge = train_judge(known, torch.from_numpy(labels[_TEST:]), 0, _EPOCHS)
    sources = [Image.fromarray(each) for each in blurred[:_TEST]]
    ways = _ways(bridge, regressed, sources)
    truth = _states(images[:_TEST])
    report = {
        name: {"frechet": _frechet(state, known, judge) if len(state) == _TEST else None, "psnr": _psnr(state, truth)}
        for name, state in (ways | {"the blurred pictures": _states(blurred[:_TEST]), "the originals": truth}).items()
    }
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    save_png(_shown(bridge, ways, sources, images), out / "pairs.png")
    print(_table(report))
    print(f"pictures: {out}/pairs.png, {out}/loss.png; figures: {out}/report.json")


def _blurred(image: np.ndarray) -> np.ndarray:
    """A quarter of the side, averaged, and back by a cubic spline."""
    small = Image.fromarray(image).resize((_SMALL, _SMALL), Image.Resampling.BOX)
    return np.asarray(small.resize(image.shape[::-1], Image.Resampling.BICUBIC))


def _pairs(sources: np.ndarray, targets: np.ndarray, name: str) -> PairSource:
    places = [(place, place) for place in range(len(targets))]
    return PairSource(name, ArraySource(sources), ArraySource(targets), places, Report(name, len(places)))


def _ways(bridge: Model, regressed: Model, sources: Sequence[Any]) -> dict[str, Tensor]:
    """States of what the sources become, (N, 1, H, W); of the mean of many draws, for the first of them alone."""

    def states(pictures: Sequence[Any]) -> Tensor:
        state = bridge.codec.encode(pictures)
        assert isinstance(state, Tensor)
        return state

    many = states(bridge.translate(sources[:_OFTEN], draws=_DRAWS, seed=_TEST)).unflatten(0, (_OFTEN, _DRAWS))
    return {
        "regression": states(regressed.translate(sources, steps=1, sampler="bridge-mean")),
        "bridge, a draw": states(bridge.translate(sources)),
        f"bridge, mean of {_DRAWS}": many.mean(1),
        "bridge, by its mean": states(bridge.translate(sources, sampler="bridge-mean")),
    }


def _states(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).float()[:, None] / 127.5 - 1


@torch.no_grad()
def _frechet(state: Tensor, known: Tensor, judge: Judge) -> float:
    """Distance to the pictures trained on, in the features of their classifier."""
    return round(frechet_distance(judge.features(state), judge.features(known)), 2)


def _psnr(state: Tensor, truth: Tensor) -> dict[str, float | None]:
    """Mean over the pictures, in decibels: over all of them, where all are there, and over the first."""
    each = psnr(state, truth[: len(state)]).clamp(max=100)
    everything = round(float(each.mean()), 2) if len(state) == _TEST else None
    return {"all": everything, f"first {_OFTEN}": round(float(each[:_OFTEN].mean()), 2)}


def _shown(bridge: Model, ways: dict[str, Tensor], sources: Sequence[Any], images: np.ndarray) -> Image.Image:
    """A row each: what is left, the regression, draws, their mean, and what it was."""
    draws = bridge.translate(sources[:_SHOWN], draws=4, seed=_TEST)
    regression, mean = (bridge.codec.decode(ways[name][:_SHOWN]) for name in [*ways][0:3:2])
    return rows_of(
        [
            [sources[row], regression[row], *draws[4 * row : 4 * row + 4], mean[row], Image.fromarray(images[row])]
            for row in range(_SHOWN)
        ]
    )


def _table(report: dict[str, dict[str, Any]]) -> str:
    lines = [f"{'':<24}{'frechet':>10}{'PSNR':>10}{f'of {_OFTEN}':>10}"]
    for name, row in report.items():
        figures = (row["frechet"], *row["psnr"].values())
        lines.append(f"{name:<24}" + "".join(f"{'' if figure is None else f'{figure:.2f}':>10}" for figure in figures))
    lines += [
        f"{_TEST} digits that were not trained on; frechet: distance of their features to those of the digits trained",
        "on, by a classifier of these; PSNR: in decibels to the originals, over all and over the first of them",
    ]
    return "\n".join(lines)
