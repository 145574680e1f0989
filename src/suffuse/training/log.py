"""What is said while training: one line of progress, a file of figures, and pictures of them."""

import json
import math
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from suffuse.training.checkpoint import replace

if TYPE_CHECKING:
    from accelerate import Accelerator
    from matplotlib.axes import Axes
    from PIL.Image import Image

METRICS, CURVES = "metrics.jsonl", "loss.png"
_QUIET = 10.0
"""Seconds between lines where there is no terminal."""
_STILL = 30.0
"""Seconds between drawings of the curves, since each takes about half of one."""


class Log:
    """Says how it goes: to people on stderr, to programs in ``metrics.jsonl``, to TensorBoard where it is installed.

    A file that cannot be written is said once and left out: training goes on.

    Args:
        run: the run folder.
        accelerator: whose trackers are told; only the main process says anything.
        show: whether to say anything to people.
    """

    def __init__(self, run: Path, accelerator: "Accelerator", show: bool) -> None:
        self._run, self._accelerator = run, accelerator
        self._main = accelerator.is_main_process
        self._show, self._complained = show and self._main, False
        self._spoke, self._drawn = -math.inf, time.monotonic()
        self._bar: Any = None

    def open(self, images: int) -> None:
        """Begin at so many images: what the files say about later ones is taken back."""
        if self._show and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        self.cut(images)
        if find_spec("tensorboard") is not None:
            self.attempt(lambda: self._accelerator.init_trackers("tensorboard", init_kwargs=_purged(images)))

    def close(self) -> None:
        """Leave the line as it is, and the files whole."""
        if self._bar is not None:
            self._bar.stop()
        for tracker in self._accelerator.trackers:
            self.attempt(tracker.finish)

    def cut(self, images: int) -> None:
        """Take back what ``metrics.jsonl`` says about more images than these."""
        if self._main:
            self.attempt(lambda: _cut(self._run / METRICS, images))

    def say(self, text: str) -> None:
        """A line for people, above the line of progress."""
        if self._show:
            self.warn(text)

    def warn(self, text: str) -> None:
        """A line that people must see, whether or not they want to know how it goes."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
        elif self._main:
            print(text, file=sys.stderr, flush=True)

    def progress(self, share: float, text: str) -> None:
        """Where training is, in [0, 1], and a few words."""
        if self._bar is not None:
            self._bar.update(self._task, completed=share, description=text)
        elif self._show and time.monotonic() - self._spoke > _QUIET:
            self._spoke = time.monotonic()
            print(f"{share:4.0%}  {text}", file=sys.stderr, flush=True)

    def figures(self, event: str, values: dict[str, Any]) -> None:
        """A line of ``metrics.jsonl``, and its numbers to TensorBoard."""
        if not self._main:
            return
        line = json.dumps({"event": event, **_finite(values)}, allow_nan=False)
        self.attempt(lambda: _append(self._run / METRICS, line))
        numbers = {f"{event}/{name}": v for name, v in values.items() if isinstance(v, int | float)}
        self.attempt(lambda: self._accelerator.log(numbers, step=values["images"]))

    def curves(self, last: bool = False) -> None:
        """Draw ``loss.png``, if it is the last time or half a minute has passed since."""
        if self._main and (last or time.monotonic() - self._drawn > _STILL):
            self._drawn = time.monotonic()
            self.attempt(lambda: draw_curves(read_metrics(self._run), self._run / CURVES))

    def attempt(self, write: Callable[[], object]) -> None:
        """Write what training can do without."""
        try:
            write()
        except (OSError, SafetensorError) as error:
            if not self._complained:
                self._complained = True
                self.warn(f"cannot write to {self._run}: {error}; training goes on")


class Meter:
    """Mean loss and speed since some moment.

    Args:
        start: the moment, in seconds of training.
    """

    def __init__(self, start: float) -> None:
        self.start, self._total, self._steps, self._images, self._seconds = start, 0.0, 0, 0, 0.0

    def add(self, loss: float, steps: int, images: int, seconds: float) -> None:
        """Take in the sum of the losses of some steps, which took so many images and seconds."""
        self._total, self._steps = self._total + loss, self._steps + steps
        self._images, self._seconds = self._images + images, self._seconds + seconds

    @property
    def loss(self) -> float:
        """Mean over the steps."""
        return self._total / self._steps

    @property
    def speed(self) -> float:
        """Images per second of work."""
        return self._images / self._seconds


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``; the last may have been cut off, and is then left out.

    Example:
        >>> read_metrics(Path("there is none"))
        []
    """
    path = run / METRICS
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _finite(value: Any) -> Any:
    """The same with null, which is JSON, for numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_samples(samples: "Image | str", path: Path) -> None:
    """Write a PNG or a text, with the suffix behind the path, in a folder that is made where it is missing."""
    path.parent.mkdir(exist_ok=True)
    if isinstance(samples, str):
        replace(Path(f"{path}.txt"), lambda aside: aside.write_text(samples + "\n", encoding="utf-8"))
    else:
        replace(Path(f"{path}.png"), lambda aside: samples.save(aside, "PNG"))


def short(seconds: float) -> str:
    """A length of time, for people.

    Example:
        >>> short(61), short(3 * 3600 + 62)
        ('1:01', '3:01:02')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _append(path: Path, line: str) -> None:
    """Add a line, or nothing where there is no room for the whole of it."""
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError:
        os.truncate(path, size)
        raise


def _cut(path: Path, images: int) -> None:
    """Keep what was said up to so many images."""
    kept = [json.dumps(line) for line in read_metrics(path.parent) if line["images"] <= images]
    replace(path, lambda aside: aside.write_text("".join(line + "\n" for line in kept), encoding="utf-8"))


def _purged(images: int) -> dict[str, Any]:
    """TensorBoard's way to take back what it was told about later images."""
    return {"tensorboard": {"purge_step": images + 1}}


def draw_curves(lines: list[dict[str, Any]], path: Path) -> None:
    """Draw the loss in training and on held-out data over the images seen, and by level of noise.

    Args:
        lines: of ``metrics.jsonl``.
        path: the PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4))
    left, middle, right = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.13, top=0.92, wspace=0.25)
    training = [line for line in lines if line["event"] == "train" and line["loss"] is not None]
    measured = [line for line in lines if line["event"] == "held_out" and line["loss"] is not None]
    left.plot([n["images"] for n in training], [n["loss"] for n in training], lw=0.8, label="training")
    left.plot(
        [n["images"] for n in measured], [n["loss"] for n in measured], "o-", ms=4, label="held out, averaged weights"
    )
    left.set(xlabel="images", ylabel="loss of the objective", title="Loss")
    if training or measured:
        left.legend()
    by_level(middle, measured, "loss", "-log q(x0 | xt) per element", "Error by level of noise")
    by_level(right, measured, "bound", "nats per element", "Bound by level of noise")
    FigureCanvasAgg(figure)
    replace(path, lambda aside: figure.savefig(aside, format="png", dpi=100))


def by_level(axes: "Axes", measured: list[dict[str, Any]], key: str, label: str, title: str) -> None:
    """Draw the first measurement, the last, and one half way, over the level of noise.

    Args:
        axes: to draw on.
        measured: lines of ``metrics.jsonl``, or others with ``images`` and ``levels``.
        key: which figure of a level.
        label: what that is.
        title: above it.
    """
    known = [line for line in measured if all(level[key] is not None for level in line["levels"])]
    for line in [known[i] for i in sorted({0, len(known) // 2, len(known) - 1})] if known else []:
        levels = line["levels"]
        name = "t" if any(level["level"] is None for level in levels) else "level"
        axes.plot([n[name] for n in levels], [n[key] for n in levels], "o-", ms=4, label=f"{line['images']:,} items")
        axes.set(xlabel="log-SNR or share of tokens gone" if name == "level" else "t")
    axes.set(ylabel=label, title=title)
    if known:
        axes.set_yscale("symlog", linthresh=1e-3)
        axes.legend()
