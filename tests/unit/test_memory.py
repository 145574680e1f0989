"""Files far larger than what is kept of them: 300 MB each, of which less than 256 MB may be in memory at any time.

What is bounded does not grow with the file, so that one of 2 GB stays under 1 GB as well.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

SIZE = 300 * 2**20
PROGRAM = """
import resource, sys, torch
from suffuse.data.loader import Batches, order, split
from suffuse.data.sources import open_source
from suffuse.recipes.recipe import Recipe
from suffuse.recipes.registry import KINDS
import pandas, pyarrow.csv, pyarrow.ipc

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

before = peak()
source = open_source(sys.argv[1])
report = source.scan()
kind = KINDS[source.kind]
recipe = kind.completed(Recipe(), source, report)
batches = Batches(source, kind.codec(recipe, source, report), keep=report.keep)
train, held_out = split(len(batches), 0, 0.05)
for step in range(20):
    batches.batch(train.at(order(len(train), torch.arange(64 * step, 64 * step + 64), 0)))
print(len(batches), peak() - before)
"""


def row(rng: random.Random) -> str:
    return f"{rng.random():.6f},{rng.randrange(10**6)},{rng.choice(('red', 'green', 'blue'))},{rng.gauss(0, 1):.6f}\n"


def text(rng: random.Random) -> str:
    return " ".join(rng.choices(("the", "river", "runs", "long", "to", "its", "sea"), k=8)) + "\n"


def record(rng: random.Random) -> str:
    return f">s{rng.random()}\n{''.join(rng.choices('ACGT', k=60))}\n{''.join(rng.choices('ACGT', k=60))}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is counted otherwise there")
@pytest.mark.parametrize(
    ("name", "head", "item"), [("a.csv", "a,b,c,d\n", row), ("a.txt", "", text), ("a.fa", "", record)]
)
def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path: Path, name: str, head: str, item):
    rng = random.Random(0)
    part = "".join(item(rng) for _ in range(40_000))
    with (tmp_path / name).open("w") as file:
        file.write(head)
        for _ in range(SIZE // len(part)):
            file.write(part)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / name], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    items, grown = map(int, done.stdout.split())
    assert items == 40_000 * (SIZE // len(part))
    assert grown < 256
