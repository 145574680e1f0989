"""The process beside a server: killed, interrupted and left alone, as processes are."""

import os
import signal
import time
from pathlib import Path
from threading import Thread

import numpy as np
import psutil
import pytest

import suffuse as sf
from suffuse.serving.beside import Beside
from suffuse.serving.limits import Limits
from suffuse.serving.verbs import Generate
from suffuse.serving.worker import Batch, Course, Stopped
from tests.serving.servers import Server, Start
from tests.serving.test_server import GENERATE, LONG, pixels, submit


def worker(server: Server, after: psutil.Process | None = None) -> psutil.Process:
    """The process beside, if need be the one that follows another."""
    end = time.monotonic() + 30
    while True:
        for each in psutil.Process(server.process.pid).children():
            if each != after and any("spawn_main" in word for word in each.cmdline()):
                return each
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def model(run_folder: Path) -> sf.model.Model:
    return sf.load(run_folder)


def test_a_process_that_is_lost_loses_nothing_else(server: Server, model: sf.model.Model):
    """The next does again what it did; a task that takes two of them down is no accident, and fails."""
    id = submit(server, seed=5, steps=400)
    server.begun(id)
    lost = worker(server)
    lost.kill()
    server.waits_for(id, "done")
    drawn = pixels(server.client.get(f"/v1/jobs/{id}/result").content)
    assert np.array_equal(drawn, np.array(model.generate(1, seed=5, steps=400)[0]))

    id = submit(server, **LONG)
    server.begun(id)
    first = worker(server)
    first.kill()
    worker(server, after=first).kill()
    assert server.waits_for(id, "failed")["reason"] == "an error of the server, which its log names"
    assert server.client.post(GENERATE, json={}).status_code == 200


def test_it_goes_with_its_server(start: Start, tmp_path: Path):
    server = start("--jobs", tmp_path / "jobs.sqlite")
    server.begun(submit(server, **LONG))
    beside = worker(server)
    os.kill(server.process.pid, signal.SIGKILL)
    beside.wait(5)


def test_ctrl_c_reaches_the_server_alone(start: Start, tmp_path: Path):
    """As a terminal sends it, to all processes at once: what runs is finished, and nothing is said."""
    server = start("--jobs", tmp_path / "jobs.sqlite")
    id = submit(server, steps=300)
    server.begun(id)
    for process in (worker(server), psutil.Process(server.process.pid)):
        process.send_signal(signal.SIGINT)
    said = server.process.communicate(timeout=30)[0]
    assert "Traceback" not in said
    assert "lost" not in said
    again = start("--jobs", tmp_path / "jobs.sqlite")
    assert again.client.get(f"/v1/jobs/{id}").json()["state"] == "done"


def test_a_walk_is_watched_and_stopped(run_folder: Path, model: sf.model.Model):
    beside, course = Beside({}, Limits()), Course()
    beside.add("late", run_folder)

    def stopping() -> None:
        end = time.monotonic() + 60
        while course.look is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        course.stop()

    thread = Thread(target=stopping)
    thread.start()
    course.watch(4)
    with pytest.raises(Stopped):
        beside.do(Batch("late", [Generate(n=4, steps=1000, seed=2**40)], {}), course)
    thread.join()
    assert 0 < course.evaluations < 1000
    both = [Generate(seed=1), Generate(seed=2)]
    results = beside.do(Batch("late", both, {}), again := Course(watched=4))
    assert again.look is None  # neither is to see the other's
    for asked, result in zip(both, results, strict=True):
        assert np.array_equal(pixels(result.data), np.array(model.generate(1, seed=asked.seed)[0]))
    beside.close()
    beside.close()
