"""Samples through Ray: who is killed on the way loses nothing, and repeats nothing."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import torch

from suffuse.cli import run
from suffuse.data.sources import open_source
from suffuse.scale.plan import Plan, versions
from suffuse.scale.shards import draw
from suffuse.store import fingerprint, load
from tests.serving.servers import command

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'suffuse[ray]'")
OPTIONS = {"n": 1510, "seed": 5, "shard": 32, "steps": 40, "condition": ("cat",)}


@pytest.fixture(scope="module")
def plan(run_folder: Path) -> Plan:
    return Plan(fingerprint(run_folder), versions(), **OPTIONS)


@pytest.fixture(scope="module")
def undisturbed(run_folder: Path, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of the plan, drawn in this process, the last first."""
    folder, threads = tmp_path_factory.mktemp("undisturbed"), torch.get_num_threads()
    torch.set_num_threads(1)
    model = load(run_folder)
    for number in reversed(range(plan.count)):
        draw(model, plan, number, folder)
    torch.set_num_threads(threads)
    return folder


class Generating:
    """The command of the plan, as a process.

    Args:
        run: run folder of the model.
        folder: where to, beside which there is what it says.
    """

    def __init__(self, run: Path, folder: Path) -> None:
        self.folder, self._said = folder, folder.with_suffix(".log")
        words = [part for name in ("n", "seed", "shard", "steps") for part in (f"--{name}", OPTIONS[name])]
        words += ["--condition", *OPTIONS["condition"], "--engine", "ray", "--workers", 2, "--out", folder]
        with self._said.open("w") as said:
            self.process = psutil.Popen(
                command("generate", run, *words),
                stdout=said,
                stderr=said,
                start_new_session=True,  # so that it can be told of Ctrl-C as a terminal does
                env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            )
        self.cluster: list[psutil.Process] = []

    def reaches(self, files: int, sent: int | None = None) -> None:
        """Waits until it has written so many; then sends it a signal at once, as long as there is much to draw."""
        end = time.monotonic() + 120
        while len(there(self.folder)) < files:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end
            time.sleep(0.01)
        if sent is not None:
            os.killpg(self.process.pid, sent)
        self.cluster = self.process.children(recursive=True)

    @property
    def workers(self) -> list[psutil.Process]:
        return [each for each in self.cluster if each.is_running() and each.name().startswith("ray::Drawer")]

    @property
    def said(self) -> str:
        return self._said.read_text()

    def ends(self) -> int:
        """Its exit code; the workers end with it."""
        workers = self.workers
        code = self.process.wait(120)
        assert not psutil.wait_procs(workers, 30)[1]
        return code

    def clear(self) -> None:
        """End what is left; Ray's agents would do so themselves, in a minute."""
        for each in [self.process, *self.cluster]:
            if each.is_running():
                each.kill()


@pytest.fixture
def generate(run_folder: Path, tmp_path: Path) -> Iterator[Callable[[], Generating]]:
    begun: list[Generating] = []

    def start() -> Generating:
        begun.append(Generating(run_folder, tmp_path / "samples"))
        return begun[-1]

    yield start
    for each in begun:
        each.clear()


def there(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("train-*")}


@needs_ray
def test_killed_workers_and_commands_lose_and_repeat_nothing(plan, undisturbed, generate):
    first = generate()
    first.reaches(4)
    assert len(first.workers) == 2
    first.workers[0].kill()
    first.reaches(12)
    first.process.kill()
    assert first.ends() == -signal.SIGKILL
    written = {name: (first.folder / name).stat().st_mtime_ns for name in there(first.folder)}
    assert 12 <= len(written) < plan.count

    second = generate()
    second.reaches(len(written) + 1, signal.SIGINT)
    assert second.ends() == 130
    assert "the same command draws the others" in second.said
    assert len(there(second.folder)) < plan.count

    last = generate()
    assert last.ends() == 0, last.said
    assert last.said.strip() == str(last.folder)
    assert {name: (last.folder / name).stat().st_mtime_ns for name in written} == written
    assert sorted(path.name for path in last.folder.iterdir()) == ["samples.json", *sorted(there(undisturbed))]
    for name in there(last.folder):
        assert (last.folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_all_seeds_are_there_once_and_depend_on_nothing_else(run_folder, undisturbed):
    seeds = [seed for path in sorted(undisturbed.iterdir()) for seed in pq.read_table(path)["seed"].to_pylist()]
    assert seeds == [*range(5, 5 + 1510)]
    pictures = open_source(undisturbed)
    alone = load(run_folder).generate(1, seed=5 + 700, steps=OPTIONS["steps"], condition="cat")[0]
    drawn = pictures[700].image
    assert max(abs(a - b) for a, b in zip(alone.tobytes(), drawn.tobytes(), strict=True)) <= 1  # for rounding
    assert pictures[700].fields["seed"] == 705


def test_ray_that_is_not_there_is_said_in_a_line(run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_ADDRESS", "any")
    assert run(["generate", str(run_folder), "-n", "9", "--engine", "ray", "--out", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err == "suffuse: drawing with --engine ray needs Ray: pip install 'suffuse[ray]'\n"


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_a_full_disk_is_said_in_a_line_and_leaves_nothing_half(form, run_folder, plan, tmp_path):
    script = (
        "from suffuse.scale.plan import Plan; from suffuse.scale.shards import draw; from suffuse.store import load;"
        f"from pathlib import Path; draw(load({str(run_folder)!r}), {replace(plan, form=form)!r}, 0, Path())"
    )
    full = ["bash", "-c", 'ulimit -f 4 && exec "$@"', "bash", sys.executable, "-c", script]
    done = subprocess.run(full, cwd=tmp_path, capture_output=True, text=True)
    assert f"UserError: cannot write {replace(plan, form=form).name(0)}: " in done.stderr
    assert done.stderr.strip().endswith("File too large; the same command goes on from the files that are whole")
    assert not [*tmp_path.iterdir()]
