"""Trains twice: undisturbed, and killed again and again at random moments before it may finish.

usage: python kill.py FOLDER KILLS. Each training is a process of its own, forked so that it does not import anew.
"""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import accelerate  # noqa: F401 - imported before the fork, as is all that a training needs
import matplotlib.backends.backend_agg  # noqa: F401
import ring
import torch
import torch.utils.tensorboard

from suffuse.files import verify

SETTINGS = {"batch": 32, "steps": 320, "accumulate": 2, "ema": (0.05, 0.2), "patience": 50, "dropout": 0.1}


def start(folder: Path, save_every: float) -> int:
    """The process id of a training."""
    child = os.fork()
    if child:
        return child
    try:
        torch.set_num_threads(1)
        ring.run(folder, **SETTINGS, save_every=save_every)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def finish(child: int) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def wait_for(run: Path, images: float, child: int) -> None:
    """Until the training has kept a checkpoint at so many images."""
    while max((int(path.name) for path in kept(run)), default=0) < images:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), f"ended before {images:.0f} images"
        time.sleep(0.001)


def kept(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("[0-9]*"))


def main(folder: Path, kills: int) -> None:
    finish(start(folder / "undisturbed", save_every=10))
    images, chance = SETTINGS["steps"] * SETTINGS["batch"], random.Random(0)
    # Moments of progress, not of the clock: a machine that is slow for a while is killed ten times all the same.
    for share in sorted(chance.uniform(0, 0.8) for _ in range(kills)):
        child = start(folder / "killed", save_every=0.0005)
        wait_for(folder / "killed", share * images, child)
        time.sleep(chance.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sound = kept(folder / "killed")
        for checkpoint in sound:
            verify(checkpoint)
            verify(checkpoint / "model")
        print(code, sound[-1].name if sound else "none", flush=True)
    finish(start(folder / "killed", save_every=10))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
