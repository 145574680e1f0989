"""A real server: results are those of the model, jobs, batches, cancelling, crashes, and everything done wrong."""

import base64
import io
import json
import os
import signal
import socket
import sqlite3
import time
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import suffuse as sf
from suffuse.cli import run
from suffuse.serving.store import Job, SQLite
from tests.serving.servers import Server, Start

ASYNC = {"Prefer": "respond-async"}
LONG = {"n": 64, "steps": 900}
"""Half a minute of work."""
GENERATE = "/v1/models/small/generate"


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)


def files(answer: httpx.Response) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def png(size: tuple[int, int] = (8, 8), seed: int = 0) -> bytes:
    stream = io.BytesIO()
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(levels).save(stream, "PNG")
    return stream.getvalue()


def submit(server: Server, **request: Any) -> str:
    answer = server.client.post(GENERATE, json=request, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    return answer.json()["id"]


@pytest.fixture(scope="module")
def model(run_folder: Path) -> sf.model.Model:
    return sf.load(run_folder)


# Results


def test_what_is_served(server: Server):
    assert server.client.get("/v1/models").json()[0]["conditions"] == {"label": ["cat", "dog"]}
    assert server.client.get("/ready").json()["queue"] == 12
    paths = server.client.get("/openapi.json").json()["paths"]
    verbs = ("generate", "infill", "restore", "edit", "translate", "score", "classify", "embed")
    assert {f"/v1/models/{{model}}/{verb}" for verb in verbs} <= set(paths)
    assert server.client.get("/docs").status_code == 200


def test_samples_are_those_of_the_model(server: Server, model: sf.model.Model):
    one = server.client.post(GENERATE, json={"condition": "cat", "seed": 5})
    assert one.headers["content-type"] == "image/png"
    assert np.array_equal(pixels(one.content), np.array(model.generate(1, condition="cat", seed=5)[0]))
    three = files(server.client.post(GENERATE, json={"n": 3, "condition": {"label": "dog"}, "guidance": 2, "seed": 7}))
    assert sorted(three) == ["000007.png", "000008.png", "000009.png", "sheet.png"]
    alone = model.generate(1, condition="dog", guidance=2.0, seed=9)[0]
    assert np.array_equal(pixels(three["000009.png"]), np.array(alone))
    wide = server.client.post(GENERATE, json={"side": [8, 20]})
    assert pixels(wide.content).shape == (8, 20, 3)


def test_the_other_verbs(server: Server, model: sf.model.Model):
    def post(verb: str, **options: Any) -> httpx.Response:
        answer = server.client.post(
            f"/v1/models/small/{verb}", files={"file": ("a.png", png())}, data={"options": json.dumps(options)}
        )
        assert answer.status_code == 200, answer.text
        return answer

    image = Image.fromarray(pixels(png()))
    edited = files(post("edit", strength=0.3, draws=2, condition="cat", seed=4))
    ours = model.edit([image], 0.3, condition="cat", draws=2, seed=4)
    assert np.array_equal(pixels(edited["000005.png"]), np.array(ours[1]))
    restored = files(post("restore", operator="denoise:0.2", draws=2, steps=2))
    assert {"mean.png", "uncertainty.png", "draw-2.png", "restored.json", "side-by-side.png"} < set(restored)
    score = post("score", evaluations=8, seed=1).json()[0]
    assert score["nats"] == pytest.approx(model.score([image], evaluations=8, seed=1)[0].nats, rel=1e-5)
    chances = post("classify", evaluations=32).json()[0]
    assert chances["cat"] + chances["dog"] == pytest.approx(1)
    assert chances["class"] in ("cat", "dog")
    assert len(post("embed").json()[0]) == model.embed([image]).shape[1]


def test_masks_are_uploads(server: Server):
    mask = io.BytesIO()
    half = Image.new("L", (8, 8))
    half.paste(255, (0, 0, 4, 8))
    half.save(mask, "PNG")
    both = {"file": ("a.png", png()), "mask": ("m.png", mask.getvalue())}
    edited = server.client.post("/v1/models/small/edit", files=both, data={"options": '{"strength": 1}'})
    assert np.array_equal(pixels(edited.content)[:, 4:], pixels(png())[:, 4:])
    options = json.dumps({"operator": "inpaint", "draws": 1, "steps": 4, "noise": 0})
    restored = files(server.client.post("/v1/models/small/restore", files=both, data={"options": options}))
    assert np.array_equal(pixels(restored["draw-1.png"])[:, :4], pixels(png())[:, :4])


def test_clients_of_another_api_draw_pictures(server: Server, model: sf.model.Model):
    asked = {"prompt": "dog", "n": 2, "size": "12x8", "quality": "standard"}
    data = server.client.post("/v1/images/generations", json=asked).json()["data"]
    ours = model.generate(2, condition="dog", size=(8, 12))
    for each, own in zip(data, ours, strict=True):
        assert np.array_equal(pixels(base64.b64decode(each["b64_json"])), np.array(own))


# Jobs


def test_requests_that_wait_are_walked_together_and_none_knows_of_the_others(server: Server, model: sf.model.Model):
    long = submit(server, **LONG)
    server.begun(long)
    before = server.client.get("/metrics").text
    ids = [submit(server, condition=("cat", "dog")[n % 2], seed=n, n=1 + n % 3) for n in range(6)]
    other = submit(server, condition="cat", steps=5)
    server.client.delete(f"/v1/jobs/{long}")
    for n, id in enumerate(ids):
        server.waits_for(id, "done")
        answer = server.client.get(f"/v1/jobs/{id}/result")
        drawn = [answer.content] if n % 3 == 0 else [files(answer)[f"{n + row:06d}.png"] for row in range(1 + n % 3)]
        for row, data in enumerate(drawn):
            alone = model.generate(1, condition=("cat", "dog")[n % 2], seed=n + row)[0]
            assert np.abs(pixels(data).astype(int) - np.array(alone)).max() <= 1  # rounding, on the way to a byte
    server.waits_for(other, "done")
    after = server.client.get("/metrics").text
    assert _count(after, "suffuse_batches_total") - _count(before, "suffuse_batches_total") == 2


def _count(text: str, name: str) -> float:
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def test_how_far_a_job_is_comes_as_events(server: Server):
    id = submit(server, n=300, steps=20)
    said: list[tuple[str, dict[str, Any]]] = []
    with server.client.stream("GET", f"/v1/jobs/{id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in stream.iter_lines() if line]
    for name, data in zip(lines[::2], lines[1::2], strict=True):
        said.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    assert said[-1][0] == "done"
    done = [each["evaluations"] for name, each in said if name != "done"]
    assert done == sorted(done)
    assert len(files(server.client.get(f"/v1/jobs/{id}/result"))) == 301


def test_a_job_that_runs_is_cancelled_within_two_evaluations(server: Server):
    id = submit(server, **LONG)
    server.begun(id)
    start = time.monotonic()
    job = server.client.delete(f"/v1/jobs/{id}").json()
    assert job["state"] == "cancelled"
    assert time.monotonic() - start < 2
    again = server.client.get(f"/v1/jobs/{id}/result")
    assert (again.status_code, again.json()["error"]) == (409, "the job is cancelled, and has no result")


def test_a_client_that_leaves_frees_its_place(server: Server):
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        body = json.dumps(LONG).encode()
        head = f"POST {GENERATE} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        line.sendall(head.encode() + b"\r\n\r\n" + body)
        end = time.monotonic() + 30
        while server.client.get("/ready").json()["waiting"] == 0:
            assert time.monotonic() < end
            time.sleep(0.02)
    end = time.monotonic() + 3
    while server.client.get("/ready").json()["waiting"]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_full_queue_says_when_to_come_again(server: Server):
    ids = [submit(server, **LONG) for _ in range(12)]
    refused = server.client.post(GENERATE, json={})
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert server.client.get("/ready").status_code == 429
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:  # before a large request is there
        line.sendall(b"POST /v1/models/small/edit HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n")
        assert b"429" in line.recv(4096).splitlines()[0]
    for id in reversed(ids):
        assert server.client.delete(f"/v1/jobs/{id}").json()["state"] == "cancelled"
    assert server.client.post(GENERATE, json={}).status_code == 200


# Mistakes


def test_mistakes_are_told_in_a_sentence_that_names_no_path(server: Server):
    def form(data: bytes, name: str = "a.png", **options: Any) -> dict[str, Any]:
        return {"files": {"file": (name, data)}, "data": {"options": json.dumps(options)}}

    bomb = io.BytesIO()
    Image.new("1", (8000, 8000)).save(bomb, "PNG")
    assert len(bomb.getvalue()) < 10_000
    small = "/v1/models/small"
    for path, request, status, message in (
        ("/v1/models/none/generate", {"json": {}}, 404, "no model 'none'; there are small"),
        (GENERATE, {"json": {"n": 0}}, 422, "n: Input should be greater than or equal to 1"),
        (GENERATE, {"json": {"n": 10**6}}, 422, "at most 1024 items"),
        (GENERATE, {"json": {"steps": 10**6}}, 422, "at most 1000 steps"),
        (GENERATE, {"json": {"colour": "red"}}, 422, "colour: Extra inputs are not permitted"),
        (GENERATE, {"json": {"condition": "bird"}}, 400, "bird"),
        (GENERATE, {"json": {"sampler": "magic"}}, 400, "no sampler 'magic'"),
        (GENERATE, {"json": {"side": [4]}}, 400, "8x8 and larger"),
        (GENERATE, {"json": {"side": [90_000, 90_000]}}, 422, "at most 16777216 pixels"),
        (f"{small}/score", {"files": {"mask": ("a.png", png())}}, 422, "mask: score takes the files file, and options"),
        (GENERATE, {"content": b"{", "headers": {"content-type": "application/json"}}, 422, "JSON"),
        (f"{small}/edit", {}, 422, "file: Field required"),
        (f"{small}/edit", form(b"not a picture"), 400, "the upload is no picture"),
        (f"{small}/edit", form(png()[:60]), 400, "can be read"),
        (f"{small}/edit", form(b""), 400, "no picture"),
        (f"{small}/edit", form(bomb.getvalue()), 400, "8000x8000 pixels"),
        (f"{small}/edit", form(png(), "../../etc/passwd"), 400, "a file that ends in .png"),
        (f"{small}/edit", form(png(), "a.exe"), 400, "a file that ends in .png"),
        (f"{small}/edit", form(png(), strength=2), 422, "options.strength: Input should be less than or equal to 1"),
        (f"{small}/edit", {"files": {"file": ("a.png", png())}, "data": {"options": "{"}}, 422, "options"),
        (f"{small}/restore", form(png(), operator="inpaint:/etc/passwd"), 400, "the mask of inpaint is uploaded"),
        (f"{small}/restore", form(png(), operator="inpaint"), 400, "needs a picture uploaded as mask"),
        (f"{small}/restore", form(png(), operator="sharpen"), 400, "no operator 'sharpen'"),
        (f"{small}/restore", form(png()), 422, "options.operator: Field required"),
        (f"{small}/translate", form(png()), 400, "was not trained on pairs"),
        (f"{small}/infill", form(png()), 400, ""),
        ("/v1/images/generations", {"json": {"model": "none"}}, 404, "no model of pictures 'none'"),
        ("/v1/images/generations", {"json": {"size": "big"}}, 422, "size"),
    ):
        answer = server.client.post(path, **request)
        said = answer.json()["error"]
        assert (answer.status_code, message in said) == (status, True), (path, request, answer.status_code, said)
        assert "\n" not in said
        assert "/tmp" not in said
        assert "Traceback" not in said
    assert server.client.get("/v1/jobs/none").status_code == 404
    other = {"file": ("a.png", png()), "mask": ("m.png", png((5, 5)))}
    answer = server.client.post(f"{small}/edit", files=other)
    assert "the mask is of 5x5 pixels and the picture of 8x8" in answer.json()["error"]


def test_what_is_too_large_is_refused_before_it_is_read(server: Server):
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(f"POST {GENERATE} HTTP/1.1\r\nHost: a\r\nContent-Length: {2**40}\r\n\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 413")
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(f"POST {GENERATE} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 411")


def test_other_machines_need_tokens(start: Start, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def refused(*arguments: object) -> str:
        assert run(["serve", *map(str, arguments)]) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    short, empty, good = tmp_path / "short", tmp_path / "empty", tmp_path / "good"
    token = "t" * 40
    short.write_text("abc\n")
    empty.write_text("\n")
    good.write_text(f"{'u' * 40}\n{token}\n")
    assert "at 0.0.0.0 other machines reach this server: give --tokens" in refused(run_folder, "--host", "0.0.0.0")
    assert "other machines" in refused(run_folder, "--host", "example.org")
    assert "at least 24 letters" in refused(run_folder, "--tokens", short)
    assert "has no token" in refused(run_folder, "--tokens", empty)
    assert "cannot be read" in refused(run_folder, "--tokens", tmp_path / "none")
    assert "two models are called small" in refused(run_folder, run_folder)
    assert "nothing to serve" in refused()
    server = start("--tokens", good, "--jobs", tmp_path / "jobs.sqlite", token=token)
    assert "is it taken?" in refused(run_folder, "--port", server.port, "--jobs", tmp_path / "other.sqlite")
    assert server.client.get("/v1/models").status_code == 200
    for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"}):
        answer = httpx.get(f"http://127.0.0.1:{server.port}/v1/models", headers=header)
        assert (answer.status_code, answer.json()) == (401, {"error": "a token is needed"})
    assert httpx.get(f"http://127.0.0.1:{server.port}/health").status_code == 200


# Crashes


def test_jobs_survive_a_server_that_is_killed(start: Start, tmp_path: Path, model: sf.model.Model):
    """Killed in the middle of twenty jobs: the next server does all that were not done, each with its own result."""
    first = start("--jobs", tmp_path / "jobs.sqlite")
    ids = [submit(first, seed=n, steps=20 + n) for n in range(20)]  # each of other steps, so that none are together
    first.waits_for(ids[2], "done")
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    second = start("--jobs", tmp_path / "jobs.sqlite")
    for n, id in enumerate(ids):
        second.waits_for(id, "done")
        data = second.client.get(f"/v1/jobs/{id}/result").content
        if n % 7 == 0:
            assert np.array_equal(pixels(data), np.array(model.generate(1, seed=n, steps=20 + n)[0]))


def test_jobs_that_an_older_server_ran_are_queued(tmp_path: Path):
    """One that kept that a job runs, and was killed."""
    store = SQLite(tmp_path / "jobs.sqlite")
    store.put(Job("a", "small", "generate", {}, {"file": (".png", b"x")}))
    store.close()
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as base, base:
        base.execute("update jobs set state = 'running'")
    later = SQLite(tmp_path / "jobs.sqlite")
    assert [(job.id, job.state, job.files) for job in later.pending()] == [("a", "queued", {"file": (".png", b"x")})]
    later.close()


def test_a_server_that_is_told_to_stop_finishes_what_runs_and_keeps_the_rest(start: Start, tmp_path: Path):
    first = start("--jobs", tmp_path / "jobs.sqlite")
    short, later = submit(first, steps=200), submit(first, steps=201)
    first.begun(short)
    first.process.terminate()
    assert first.process.wait(30) in (0, -signal.SIGTERM)
    second = start("--jobs", tmp_path / "jobs.sqlite")
    assert second.client.get(f"/v1/jobs/{short}").json()["state"] == "done"
    second.waits_for(later, "done")
