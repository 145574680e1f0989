"""Every example runs as it stands, here on a tiny budget."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(name: str, *arguments: object) -> None:
    command = [sys.executable, ROOT / "examples" / f"{name}.py", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr


def test_augmentation(tmp_path: Path):
    run("augmentation", tmp_path, 256, 2)
    report = json.loads((tmp_path / "report.json").read_text())
    assert {"real", "real, shifted", "real and generated", "gain"} <= set(report)
    assert report["real"]["low"] <= report["real"]["value"] <= report["real"]["high"]
    assert (tmp_path / "drawn.png").is_file()


@pytest.mark.parametrize("name", ["cascade", "style"])
def test_those_whose_data_is_fetched_can_be_read(name: str):
    """They train on MNIST from a package, which the tests do not fetch."""
    source = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    assert f"python examples/{name}.py OUT [IMAGES]" in compile(source, name, "exec").co_consts[0]
