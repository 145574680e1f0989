"""Many samples through Ray, with a worker killed on the way: are all seeds there once, and does memory stay flat?

    pip install -e '.[ray,demo,dev]' && python benchmarks/scale.py [RUN] [-n 1000000] [--steps 2] [--out FOLDER]

RUN is the run folder of a model; without one, a small network is trained on scikit-learn's digits for a minute. The
samples are drawn by `suffuse generate RUN -n N --engine ray`, as a process of its own. When a third of the files are
there, one of its workers is killed. Printed are how long it took, which seeds lack or are there twice, and the largest
resident memory of the command, of a worker, and of all processes together, Ray's own among them, in each tenth of the
time; a picture of it is drawn beside the samples. What is there already is not drawn again, so that a call that was
stopped goes on, and then measures the rest.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import psutil
import pyarrow.parquet as pq

import suffuse as sf
from suffuse.data.sources import ArraySource
from suffuse.recipes import Recipe
from suffuse.recipes.recipe import DataSection, NetworkSection
from suffuse.training.config import TrainingConfig


class Memory(NamedTuple):
    """Resident MB at a moment, and files that are there."""

    seconds: float
    command: float
    worker: float
    all: float
    files: int


def small(folder: Path) -> Path:
    """A network of digits that is as fast as it can be while digits can be read."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    recipe = Recipe(
        data=DataSection(size=8, channels=1),
        network=NetworkSection(width=16, multipliers=(1, 2), blocks=1),
        training=TrainingConfig(learning_rate=3e-3, minutes=1.0, precision="fp32"),
    )
    sf.train(ArraySource(images, labels.tolist(), "digits"), recipe, folder)
    return folder


def watched(process: subprocess.Popen, folder: Path, files: int, every: float) -> Iterator[Memory]:
    """Its memory until it ends; a worker is killed on the way."""
    command, start, killed = psutil.Process(process.pid), time.perf_counter(), False
    while process.poll() is None:
        own = {each.pid: _resident(each) for each in [command, *command.children(recursive=True)]}
        workers = {pid: size for pid, size in own.items() if _is_worker(pid)}
        there = len([*folder.glob("train-*")])
        if not killed and workers and there > files / 3:
            victim = next(iter(workers))
            psutil.Process(victim).kill()
            killed = True
            print(f"killed worker {victim} at {there} of {files} files", flush=True)
        seconds = time.perf_counter() - start
        yield Memory(seconds, own[process.pid], max(workers.values(), default=0.0), sum(own.values()), there)
        time.sleep(every)


def _resident(process: psutil.Process) -> float:
    try:
        return process.memory_info().rss / 2**20
    except psutil.Error:
        return 0.0


def _is_worker(pid: int) -> bool:
    try:
        return psutil.Process(pid).cmdline()[0].startswith("ray::Drawer")
    except (psutil.Error, IndexError):
        return False


def check(folder: Path, n: int) -> str:
    """Which seeds lack, and which are there more than once."""
    counts = Counter[int]()
    for path in folder.glob("train-*.parquet"):
        counts.update(pq.read_table(path, columns=["seed"])["seed"].to_pylist())
    lacking, twice = n - len(counts.keys() & set(range(n))), sum(count > 1 for count in counts.values())
    return f"{len(counts)} seeds from {min(counts)} to {max(counts)}: {lacking} lack, {twice} are there twice"


def show(memory: list[Memory], path: Path) -> None:
    """A table of tenths, and a picture."""
    print(" time s   files   command    worker       all   (largest resident MB in each tenth of the time)")
    for part in np.array_split(np.array(memory), 10):
        if len(part):
            seconds, command, worker, together, files = part.max(0)
            print(f"{seconds:7.0f} {files:7.0f} {command:9.0f} {worker:9.0f} {together:9.0f}")
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for name in ("command", "worker", "all"):
        axes.plot([each.seconds / 60 for each in memory], [getattr(each, name) for each in memory], label=name)
    axes.set(xlabel="minutes", ylabel="resident MB", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("-n", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--shard", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        run = asked.run or small(Path(made) / "digits")
        folder = asked.out or Path(made) / "samples"
        print(sf.load(run).describe())
        command = [sys.executable, "-m", "suffuse", "generate", run, "-n", asked.n, "--steps", asked.steps]
        command += ["--engine", "ray", "--shard", asked.shard, "--workers", asked.workers, "--out", folder]
        start = time.perf_counter()
        process = subprocess.Popen([*map(str, command)])
        memory = [*watched(process, folder, -(-asked.n // asked.shard), every=1.0)]
        seconds = time.perf_counter() - start
        assert process.returncode == 0
        print(f"{asked.n} samples in {seconds / 60:.1f} minutes, {asked.n / seconds:.0f} a second")
        print(check(folder, asked.n))
        show(memory, folder.with_name(f"{folder.name}-memory.png"))


if __name__ == "__main__":
    main()
