"""How well a trained model restores pictures that it has not seen, beside what needs no training.

    pip install -e '.[bench,demo]' && suffuse demo mnist
    python benchmarks/pictures.py runs/mnist mnist docs

SOURCE is a folder of pictures, or mnist for those that the demo does not train on. Each of the first so many is
measured in five ways, with noise of deviation 0.02 but for denoising, and restored by ``Model.restore`` without being
told a class. Baselines: bicubic interpolation (OpenCV), OpenCV's two ways to inpaint, biharmonic ones, total variation,
wavelets, Wiener's filter and unsharp masks (scikit-image). Where a baseline has a strength, the one that is best on
these very pictures is taken, which favours it. Writes FOLDER/pictures.json and FOLDER/images/restored.png, and prints
the table: PSNR in decibels and SSIM, with intervals of 95% over the pictures; share of the pixels that were not seen
inside the 90% interval of their draws; how far their ranks are from even; how far draws are from what was measured, in
deviations of its noise.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import suffuse as sf
from suffuse.data.sources import open_source
from suffuse.metrics.bootstrap import mean_interval
from suffuse.metrics.restoration import coverage, psnr, rank_deviation, ssim
from suffuse.model import Model
from suffuse.operators import Mask, Operator
from suffuse.outputs import labelled
from suffuse.pictures import save_png
from suffuse.restoring import Restored

NOISE = 0.02
Baseline = Callable[[np.ndarray, Operator], np.ndarray]
"""Of a measurement (H, W) in [-1, 1], for one channel, and what measured it."""


def bicubic(y: np.ndarray, operator: Operator) -> np.ndarray:
    import cv2

    factor = operator.factor
    return cv2.resize(y, (y.shape[1] * factor, y.shape[0] * factor), interpolation=cv2.INTER_CUBIC)


def opencv(way: str) -> Baseline:
    def inpaint(y: np.ndarray, operator: Operator) -> np.ndarray:
        import cv2

        levels = np.clip((y + 1) * 127.5, 0, 255).round().astype(np.uint8)
        return cv2.inpaint(levels, _hidden(y, operator).astype(np.uint8), 3, getattr(cv2, way)) / 127.5 - 1

    return inpaint


def biharmonic(y: np.ndarray, operator: Operator) -> np.ndarray:
    from skimage.restoration import inpaint_biharmonic

    return inpaint_biharmonic(y, _hidden(y, operator))


def _hidden(y: np.ndarray, operator: Operator) -> np.ndarray:
    return ~operator.mask.expand(1, *y.shape)[0].numpy()


def total_variation(weight: float) -> Baseline:
    def denoise(y: np.ndarray, operator: Operator) -> np.ndarray:
        from skimage.restoration import denoise_tv_chambolle

        return denoise_tv_chambolle(y, weight)

    return denoise


def wavelets(share: float) -> Baseline:
    def denoise(y: np.ndarray, operator: Operator) -> np.ndarray:
        from skimage.restoration import denoise_wavelet

        return denoise_wavelet(y, sigma=0.3 * share, rescale_sigma=False)

    return denoise


def wiener(balance: float) -> Baseline:
    def deblur(y: np.ndarray, operator: Operator) -> np.ndarray:
        from skimage.restoration import wiener as filtered

        point = torch.zeros(1, 1, 31, 31)
        point[..., 15, 15] = 1
        kernel, border = operator(point)[0, 0].numpy()[7:24, 7:24], 8
        wide = np.pad(y, border, mode="edge")
        return filtered(wide, kernel, balance, clip=False)[border:-border, border:-border]

    return deblur


def unsharp(amount: float) -> Baseline:
    def deblur(y: np.ndarray, operator: Operator) -> np.ndarray:
        from skimage.filters import unsharp_mask

        return unsharp_mask(y, radius=2, amount=amount, preserve_range=True)

    return deblur


@dataclass(frozen=True)
class Task:
    """What is restored.

    Args:
        operator: by name.
        noise: its deviation.
        baselines: of several strengths of each, by name.
    """

    operator: str
    noise: float
    baselines: Mapping[str, list[Baseline]]


_INPAINT = {
    "Telea": [opencv("INPAINT_TELEA")],
    "Navier-Stokes": [opencv("INPAINT_NS")],
    "biharmonic": [biharmonic],
}
TASKS = {
    "4x smaller": Task("super-resolve:4", NOISE, {"bicubic": [bicubic]}),
    "half the pixels": Task("random:0.5", NOISE, _INPAINT),
    "box": Task("box:0.5", NOISE, _INPAINT),
    "noise 0.3": Task(
        "denoise:0.3",
        0.3,
        {
            "total variation": [total_variation(weight) for weight in (0.1, 0.2, 0.3, 0.5, 0.8)],
            "wavelets": [wavelets(share) for share in (0.25, 0.5, 0.75, 1.0, 1.5)],
        },
    ),
    "blur 2": Task(
        "deblur:2",
        NOISE,
        {
            "Wiener": [wiener(balance) for balance in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)],
            "unsharp": [unsharp(amount) for amount in (0.5, 1.0, 2.0, 4.0, 8.0)],
        },
    ),
}


def held_out(source: str) -> list[Any]:
    """Pictures that were not trained on."""
    if source != "mnist":
        opened = open_source(source, kind="image")
        return opened.raw(opened.scan().keep)
    from PIL import Image
    from sklearn.model_selection import train_test_split

    from suffuse.demos.handwritten import mnist_pictures

    images, labels = mnist_pictures()
    _, test = train_test_split(np.arange(len(images)), test_size=500, random_state=0, stratify=labels)
    return [Image.fromarray(images[place]) for place in test]


def best(settings: list[Baseline], y: Tensor, operator: Operator, truth: Tensor) -> Tensor:
    """Pictures of the setting whose mean PSNR is largest."""
    found = [_applied(setting, y, operator) for setting in settings]
    return max(found, key=lambda each: float(psnr(each, truth).mean()))


def _applied(baseline: Baseline, y: Tensor, operator: Operator) -> Tensor:
    """Channel by channel."""
    each = [[baseline(channel.numpy().astype(np.float64), operator) for channel in item] for item in y]
    return torch.from_numpy(np.array(each)).float().clamp(-1, 1)


def figures(found: Tensor, truth: Tensor) -> dict[str, Any]:
    """With their intervals."""
    measures = {"psnr": psnr} | ({"ssim": ssim} if min(truth.shape[-2:]) >= 11 else {})
    return {name: _rounded(mean_interval(measure(found, truth).numpy())) for name, measure in measures.items()}


def _rounded(interval: Any) -> list[float]:
    return [round(each, 4) for each in (interval.value, interval.low, interval.high)]


def run(model: Model, task: Task, truth: Tensor, draws: int, steps: int) -> tuple[dict[str, Any], list[Any]]:
    """Figures of a task, and the pictures of the first in a row."""
    operator, _ = sf.operators.parse(task.operator, truth.shape[1:])
    clean = operator(truth)
    y = clean + task.noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    start = time.perf_counter()
    restored = [
        model.restore(each[None], operator, task.noise, draws, steps=steps, seed=1000 * i) for i, each in enumerate(y)
    ]
    seconds = (time.perf_counter() - start) / len(y)
    drawn = torch.stack([each.state for each in restored], 1)
    states = drawn.clamp(-1, 1)  # as pictures are; black would be inside of any interval that was cut off at black
    baselines = {name: best(settings, y, operator, truth) for name, settings in task.baselines.items()}
    unseen = ~operator.mask if isinstance(operator, Mask) else None
    report = {
        "mean of draws": figures(states.mean(0), truth),
        "one draw": figures(states[0], truth),
        **{name: figures(found, truth) for name, found in baselines.items()},
        "coverage of 90%": _rounded(coverage(drawn, truth, unseen)),
        "rank deviation": _rounded(rank_deviation(drawn, truth, unseen)),
        "consistency": _rounded(mean_interval(torch.stack([each.consistency.mean() for each in restored]).numpy())),
        "seconds": round(seconds, 2),
    }
    strongest = max(baselines.values(), key=lambda found: float(psnr(found, truth).mean()))
    return report, _row(model, truth[0], restored[0], strongest[0])


def _row(model: Model, truth: Tensor, restored: Restored, baseline: Tensor) -> list[Any]:
    shown = model.codec.decode(torch.stack([truth, baseline]))
    return [shown[0], restored.measured, shown[1], restored.mean, *restored.draws[:2], restored.std]


COLUMNS = ("measured", "baseline", "mean", "draw 1", "draw 2", "unsure")


def table(report: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| measured | restored by | PSNR | SSIM | coverage of 90% | rank deviation | consistency |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for task, found in report.items():
        ways = {name: each for name, each in found.items() if isinstance(each, dict)}
        for name, each in ways.items():
            cells = [_cell(each["psnr"], 2), _cell(each["ssim"], 3) if "ssim" in each else "-"]
            extra = ["coverage of 90%", "rank deviation", "consistency"] if name == "mean of draws" else []
            cells += [f"{found[key][0]:.2f}" for key in extra] or [""] * 3
            lines.append(f"| {task if name == 'mean of draws' else ''} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(interval: list[float], digits: int) -> str:
    value, low, high = interval
    return f"{value:.{digits}f} ± {(high - low) / 2:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("source")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--draws", type=int, default=19)
    parser.add_argument("--steps", type=int, default=10)
    asked = parser.parse_args()
    model = sf.load(asked.run, "cpu")
    truth = model.codec.encode(held_out(asked.source)[: asked.pictures])
    told = {"model": model.origin.name, "trained on": model.origin.images, "pictures": len(truth), "draws": asked.draws}
    report, images = {}, {}
    (asked.folder / "images").mkdir(parents=True, exist_ok=True)
    for name, task in TASKS.items():
        report[name], row = run(model, task, truth, asked.draws, asked.steps)
        shown = zip((name, *COLUMNS), row, strict=True)
        images |= {label + " " * len(images): image for label, image in shown}  # labels that differ, and look the same
        print(name, json.dumps(report[name]), flush=True)
        text = json.dumps({**told, "steps": asked.steps, "tasks": report}, indent=1)
        (asked.folder / "pictures.json").write_text(text + "\n", encoding="utf-8")
        save_png(labelled(images, columns=len(row), least=84), asked.folder / "images" / "restored.png")
    print(table(report))


if __name__ == "__main__":
    main()
