"""Trains in all the ways that must not depend on the number of processes: python processes.py FOLDER, or launched."""

import sys
from pathlib import Path

import ring
import torch
from accelerate import PartialState

from suffuse.errors import UserError
from suffuse.objectives import Sinkhorn

RARE = {"evaluate_every": 20, "sample_every": 20, "warmup": 0, "progress": False}
CASES = {
    "plain": {},
    "accumulate": {"accumulate": 2},
    "accumulate more": {"accumulate": 4},
    "coupling": {"coupling": Sinkhorn()},
    "coupling, accumulate": {"coupling": Sinkhorn(), "accumulate": 2},
}


class Faulty(ring.Ring):
    """The ring, with an item that is no number."""

    def __init__(self):
        super().__init__()
        self.points[self.rows[77]] = torch.nan


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for name, case in CASES.items():
        ring.run(folder / name, batch=16, steps=20, dtype=torch.float64, **case, **RARE)
    ring.run(folder / "one step", batch=16, steps=1, clip=0, **RARE)
    try:
        ring.run(folder / "faulty", batch=16, steps=40, data=Faulty(), **RARE)
    except UserError as error:
        print(error, flush=True)
    print(PartialState().num_processes, "processes", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
