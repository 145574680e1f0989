"""Starting is quick: measured as ratios to importing torch, in the same run."""

import subprocess
import sys
import time


def seconds(*command: str) -> float:
    """The least of three, after one to warm the cache."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def test_help_and_import_cost_little_beside_torch():
    torch = seconds("-c", "import torch")
    # On the reference machine torch takes 1.8 s: 0.5 s and 50 ms are these shares of it.
    assert seconds("-m", "suffuse", "--help") < 0.25 * torch
    assert seconds("-c", "import torch, suffuse") < 1.05 * torch + 0.02
    assert seconds("-c", "import suffuse") < 0.1 * torch


def test_nothing_heavy_is_imported_by_the_package_or_its_help():
    code = (
        "import sys, suffuse, suffuse.cli; suffuse.cli.run(['--help']); "
        "print([m for m in ('torch', 'datasets', 'accelerate', 'matplotlib', 'PIL', 'tyro') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.splitlines()[-1] == "[]"
