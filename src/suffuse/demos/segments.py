"""What is where in a picture: label maps drawn by a masked process, beside the same network by cross-entropy."""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from suffuse import learn
from suffuse.codecs.segments import SegmentCodec
from suffuse.data.pairs import PairSource
from suffuse.data.report import Report
from suffuse.data.sources import ArraySource
from suffuse.demos.fetch import fetch
from suffuse.demos.handwritten import mnist_pictures
from suffuse.demos.regression import regression
from suffuse.metrics.segments import calibration, mean_iou
from suffuse.model import Model
from suffuse.outputs import labelled
from suffuse.pictures import save_png
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe
from suffuse.training.config import TrainingConfig

_SKIMAGE = (
    "scikit-image",
    "0.25.2",
    "24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641",
    "311",
    "manylinux_2_17_x86_64",
)
_TEXTURES = ("brick", "grass", "gravel")
_SIZE, _DIGIT, _EACH = 32, 20, 2
"""Sides of a picture and of a digit in pixels, and digits on each picture."""
_TRAINING, _TEST, _DRAWS = 12_000, 300, 8
_HELD_OUT = 500
"""Digits that only test pictures have; of the textures it is their right quarter."""
_IMAGES = 96_000
_INK, _CONTRAST, _GRAIN = 0.4, 110.0, 12.0
"""Of a digit's own grey: from there on it is ink. In levels of 256: how much lighter ink is, and the noise."""
_SHOWN = 5


@dataclass(frozen=True)
class Scenes:
    """Digits on textures.

    Args:
        pictures: (N, H, W) uint8.
        labels: (N, H, W) int64: 0 where there is texture, else the digit and one.
    """

    pictures: np.ndarray
    labels: np.ndarray

    @property
    def maps(self) -> np.ndarray:
        """(N, H, W, 3) uint8: a colour for each class."""
        return _COLOURS[self.labels]


_COLOURS = np.array(
    [
        (0, 0, 0),
        (255, 80, 80),
        (255, 160, 60),
        (240, 220, 70),
        (150, 220, 70),
        (60, 190, 90),
        (60, 200, 200),
        (80, 140, 255),
        (120, 90, 240),
        (200, 100, 240),
        (250, 120, 190),
    ],
    np.uint8,
)
"""Of texture, and of the digits from 0 on."""


def segments(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Real handwritten digits found on photographs of brick, grass and gravel: eight minutes of a CPU core."""
    train, test = (_scenes(n, held_out) for n, held_out in ((_TRAINING, False), (_TEST, True)))
    places = [(place, place) for place in range(_TRAINING)]
    source = PairSource(
        out.name,
        ArraySource(train.pictures),
        ArraySource(train.maps),
        places,
        Report(out.name, len(places)),
        kind="segments",
    )
    recipe = Recipe(
        data=DataSection(kind="segments", size=_SIZE, channels=1),
        network=NetworkSection(width=32, multipliers=(1, 2, 2), blocks=1, patch=2),
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
    model = learn.train(source, recipe, out)
    plain = regression(source, model, out / "cross-entropy")
    pictures, truth = [Image.fromarray(each) for each in test.pictures], _states(model, test)
    odds = at_once(plain, pictures)
    maps = model.translate(pictures, draws=_DRAWS, seed=_TEST)
    draws = model.codec.unpack(model.codec.pack(maps))
    assert isinstance(draws, Tensor)
    draws = draws.unflatten(0, (_TEST, _DRAWS))
    assert isinstance(model.codec, SegmentCodec)
    shares = torch.nn.functional.one_hot(draws, model.codec.vocabulary).float().mean(1)
    report = {
        "cross-entropy": _figures(odds.argmax(-1), odds, truth),
        "diffusion, a draw": _figures(draws[:, 0], None, truth),
        f"diffusion, commonest of {_DRAWS}": _figures(shares.argmax(-1), shares, truth),
        "texture everywhere": _figures(torch.zeros_like(truth), None, truth),
    }
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    save_png(_shown(model, test, odds, maps), out / "segments.png")
    print(_table(report))
    print(f"pictures: {out}/segments.png, {out}/loss.png; figures: {out}/report.json")


def _scenes(n: int, held_out: bool) -> Scenes:
    """Pictures of two digits each on a part of a photograph."""
    images, labels = mnist_pictures()
    order = np.random.default_rng(0).permutation(len(images))
    some = order[:_HELD_OUT] if held_out else order[_HELD_OUT:]
    photographs = _photographs()
    rng = np.random.default_rng(2 if held_out else 1)
    pictures, maps = np.zeros((n, _SIZE, _SIZE), np.uint8), np.zeros((n, _SIZE, _SIZE), np.int64)
    for picture, found in zip(pictures, maps, strict=True):
        light = _ground(photographs[rng.integers(len(photographs))], held_out, rng)
        for place in range(_EACH):
            chosen = some[rng.integers(len(some))]
            digit = np.asarray(Image.fromarray(images[chosen]).resize((_DIGIT, _DIGIT), Image.Resampling.BOX)) / 255
            top = rng.integers(_SIZE - _DIGIT + 1)
            left = rng.integers(max(0, place * (_SIZE - _DIGIT) - 4), place * (_SIZE - _DIGIT) + 1 + 4 * (1 - place))
            box = np.s_[top : top + _DIGIT, left : left + _DIGIT]
            light[box] += _CONTRAST * digit
            found[box] = np.where(digit > _INK, labels[chosen] + 1, found[box])
        picture[:] = (light + rng.normal(0, _GRAIN, light.shape)).clip(0, 255)
    return Scenes(pictures, maps)


def _photographs() -> list[np.ndarray]:
    """At half of their size."""
    with zipfile.ZipFile(fetch(*_SKIMAGE)) as wheel:
        files = [io.BytesIO(wheel.read(f"skimage/data/{name}.png")) for name in _TEXTURES]
    return [np.asarray(Image.open(file).convert("L").reduce(2), np.float64) for file in files]


def _ground(photograph: np.ndarray, held_out: bool, rng: np.random.Generator) -> np.ndarray:
    """A part of the left three quarters of a photograph, or of the right one."""
    height, width = photograph.shape
    edge = width * 3 // 4
    left = rng.integers(edge, width - _SIZE + 1) if held_out else rng.integers(edge - _SIZE + 1)
    top = rng.integers(height - _SIZE + 1)
    return photograph[top : top + _SIZE, left : left + _SIZE].copy()


def _states(model: Model, scenes: Scenes) -> Tensor:
    state = model.codec.encode([Image.fromarray(each) for each in scenes.maps])
    assert isinstance(state, Tensor)
    return state


@torch.no_grad()
def at_once(model: Model, pictures: list[Any]) -> Tensor:
    """(N, H, W, K): what a model says of each pixel before it has drawn any of them."""
    parts: list[Tensor] = []
    for rows in model.row_batches(len(pictures)):
        some = [pictures[row] for row in rows]
        x_t, told, _ = model.start({"source": some}, [*rows])
        with model.precision():
            answer = model.denoiser(x_t, 1.0, told)
        assert isinstance(answer.mean, Tensor)
        parts.append(answer.mean.float())
    return torch.cat(parts)


def _figures(found: Tensor, odds: Tensor | None, truth: Tensor) -> dict[str, float | None]:
    return {
        "mean IoU": round(mean_iou(found, truth), 4),
        "accuracy": round(float((found == truth).float().mean()), 4),
        "calibration error": None if odds is None else round(calibration(odds, truth), 4),
    }


def _shown(model: Model, test: Scenes, odds: Tensor, maps: list[Any]) -> Image.Image:
    """A row each: the picture, what is there, both answers, draws, and where they differ."""
    shown: dict[str, Image.Image] = {}
    for row, answer in enumerate(model.codec.decode(odds[:_SHOWN].argmax(-1))):
        each = maps[row * _DRAWS : (row + 1) * _DRAWS]
        summed = model.codec.summaries(each)
        images = {
            "picture": Image.fromarray(test.pictures[row]),
            "truth": Image.fromarray(test.maps[row]),
            "cross-entropy": answer,
            "commonest": summed["commonest"],
            "draw 1": each[0],
            "draw 2": each[1],
            "draw 3": each[2],
            "uncertainty": summed["uncertainty"],
        }
        shown |= {f"{name}{' ' * row}": image for name, image in images.items()}
    return labelled(shown, columns=8)


def _table(report: dict[str, dict[str, float | None]]) -> str:
    lines = [f"{'':<28}{'mean IoU':>12}{'accuracy':>12}{'calibration':>14}"]
    for name, row in report.items():
        iou, accuracy, error = row.values()
        lines.append(f"{name:<28}{iou:>12.2%}{accuracy:>12.2%}{'' if error is None else f'{error:.4f}':>14}")
    lines += [
        f"{_TEST} pictures whose digits and textures were not trained on; mean IoU: over texture and ten digits; ",
        "calibration: mean difference of what is said and how often it is so, over all classes; less is better",
    ]
    return "\n".join(lines)
