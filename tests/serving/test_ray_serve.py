"""A server whose work is done through Ray Serve: the same API, the same bits, more replicas under load, one killed."""

import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import suffuse as sf
from suffuse.cli import run
from suffuse.serving.app import create_app
from suffuse.serving.store import SQLite
from tests.serving.servers import Server, Start
from tests.serving.test_server import GENERATE, LONG, pixels, png, submit

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or importlib.util.find_spec("ray.serve") is None,
    reason="needs Ray Serve: pip install 'suffuse[ray]'",
)


@pytest.fixture(scope="module")
def model(run_folder: Path) -> sf.model.Model:
    return sf.load(run_folder)


@pytest.fixture(scope="module")
def server(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    jobs = tmp_path_factory.mktemp("jobs") / "jobs.sqlite"
    begun = start("--engine", "ray", "--workers", "1:2", "--jobs", jobs, seconds=180.0)
    cluster = psutil.Process(begun.process.pid).children(recursive=True)
    yield begun
    cluster += psutil.Process(begun.process.pid).children(recursive=True)
    begun.process.terminate()
    said = begun.process.communicate(timeout=60)[0]
    left = psutil.wait_procs(cluster, 10)[1]
    for each in left:
        each.kill()
    assert begun.process.returncode == 0, said
    assert not left
    assert "Traceback" not in said


def replicas(server: Server) -> list[psutil.Process]:
    there = psutil.Process(server.process.pid).children(recursive=True)
    return [each for each in there if each.name().startswith("ray::ServeReplica")]


@needs_ray
def test_the_api_and_the_bits_are_those_without_ray(server: Server, model: sf.model.Model, tmp_path: Path):
    app = create_app({}, SQLite(tmp_path / "jobs.sqlite"))
    assert server.client.get("/openapi.json").json() == app.openapi()
    drawn = server.client.post(GENERATE, json={"condition": "cat", "seed": 5, "steps": 20})
    ours = model.generate(1, condition="cat", seed=5, steps=20)[0]
    assert np.array_equal(pixels(drawn.content), np.array(ours))
    refused = server.client.post(GENERATE, json={"condition": "bird"})
    assert refused.status_code == 400
    assert "bird" in refused.json()["error"]
    assert "Traceback" not in refused.json()["error"]
    upload = {"files": {"file": ("a.png", png())}, "data": {"options": '{"evaluations": 8}'}}
    scored = server.client.post("/v1/models/small/score", **upload).json()
    ours = model.score([Image.fromarray(pixels(png()))], evaluations=8)
    assert scored[0]["nats"] == pytest.approx(ours[0].nats, rel=1e-6)


@needs_ray
def test_nothing_listens_to_other_machines(server: Server):
    root = psutil.Process(server.process.pid)
    for process in [root, *root.children(recursive=True)]:
        for line in process.net_connections("inet"):
            listens = line.status == psutil.CONN_LISTEN
            assert not listens or line.laddr.ip in ("127.0.0.1", "::1", "::ffff:127.0.0.1"), (process.name(), line)


@needs_ray
def test_a_job_that_runs_is_followed_and_cancelled(server: Server):
    id = submit(server, **LONG)
    assert server.begun(id)["state"] == "running"
    start = time.monotonic()
    assert server.client.delete(f"/v1/jobs/{id}").json()["state"] == "cancelled"
    assert time.monotonic() - start < 2
    assert server.client.post(GENERATE, json={}).status_code == 200  # by the same replica


@needs_ray
def test_replicas_grow_with_the_load_and_one_that_is_killed_loses_nothing(server: Server, model: sf.model.Model):
    assert len(replicas(server)) == 1
    filling = [submit(server, **LONG, seed=seed, guidance=1 + seed) for seed in range(2)]
    jobs = {submit(server, seed=seed, steps=150 + seed): seed for seed in range(3)}
    for id in filling:
        server.begun(id, 120)  # both at a time, so by two
    assert len(replicas(server)) == 2
    for id in filling:
        server.client.delete(f"/v1/jobs/{id}")
    server.begun([*jobs][1], 120)
    lost = replicas(server)[0]
    lost.kill()
    lost.wait(10)
    for id, seed in jobs.items():
        server.waits_for(id, "done", 120)
        drawn = server.client.get(f"/v1/jobs/{id}/result").content
        assert np.array_equal(pixels(drawn), np.array(model.generate(1, seed=seed, steps=150 + seed)[0]))
    assert server.client.get("/ready").json()["waiting"] == 0


def test_what_is_missing_or_out_of_range_is_said_in_a_line(run_folder, tmp_path, monkeypatch, capsys):
    def refused(*arguments: str) -> str:
        assert run(["serve", str(run_folder), "--jobs", str(tmp_path / "jobs.sqlite"), *arguments]) == 2
        return capsys.readouterr().err

    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_ADDRESS", "any")
    message = "suffuse: serving with --engine ray needs Ray: pip install 'suffuse[ray]'\n"
    assert refused("--engine", "ray") == message
    for workers in ("0", "3:2", "many", "1:", "-1"):
        assert "--workers is a number of workers" in refused("--engine", "ray", f"--workers={workers}")
    assert "--workers is for --engine ray" in refused("--workers", "2")
