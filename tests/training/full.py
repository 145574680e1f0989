"""Trains on a disk that is full from the second sheet of samples on: python full.py FOLDER "for a while"|"for good".

The limit is the system's own, on the size of any file that this process writes.
"""

import resource
import sys
from pathlib import Path

import ring
import torch

from suffuse.errors import UserError
from suffuse.training.config import TrainingConfig
from suffuse.training.trainer import train


def main(folder: Path, how_long: str) -> None:
    denoiser, objective = ring.parts()
    sheets = 0

    def show():
        nonlocal sheets
        sheets += 1
        if sheets == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
        if sheets == 4 and how_long == "for a while":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return ring.picture(denoiser)

    config = TrainingConfig(batch=32, steps=12, evaluate_every=4, sample_every=2, save_every=0.0001)
    try:
        train(denoiser, objective, ring.Ring(), config, folder, save_model=ring.save_model, show=show)
    except UserError as error:
        print(f"UserError: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2])
