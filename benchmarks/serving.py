"""What a server bears: ten times the load that it can do, requests that wait together, and its own time for each.

    pip install -e '.[serve,dev]' && python benchmarks/serving.py [RUN] [--seconds 120]

RUN is the run folder of a model; without one, a model of 8 x 8 pixels with random weights. All over loopback, on a
server that is a process of its own with one thread. Printed are

* overhead: median of what a request for one sample takes over HTTP more than the same call in this process just after;
* batching: time of 16 requests that wait, one at a time over together;
* load: requests at ten times the rate of one at a time, for two minutes: how many were accepted, refused by 429, lost;
  99th percentile of the times of those accepted, over the length of the queue times that of one request, and over the
  99th percentile of as many requests one after the other, as even a machine that does nothing else has slow seconds;
  and the memory of the server before and after.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import httpx
import psutil
import torch

import suffuse as sf
from suffuse.codecs.image import ImageCodec
from suffuse.model import Model, Origin
from suffuse.recipes import Recipe
from suffuse.recipes.recipe import DataSection, NetworkSection, SamplingSection
from suffuse.serving.engine import Engine
from suffuse.serving.limits import Limits
from suffuse.serving.store import SQLite
from suffuse.serving.verbs import Generate

QUEUE, TIMES, TOGETHER, REPEATS = 64, 10, 16, 200


def small(folder: Path) -> Path:
    """A run folder of a model that draws noise."""
    recipe = Recipe(
        data=DataSection(size=8, channels=3),
        network=NetworkSection(width=16, multipliers=(1, 2), blocks=1),
        sampling=SamplingSection(sampling_steps=10),
    )
    Model(ImageCodec(8, 3), {}, recipe, Origin("small")).save(folder)
    return folder


@contextmanager
def served(run: Path, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A server, its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "suffuse", "serve", run, "--port", port, "--queue", QUEUE]
    command += ["--jobs", folder / "jobs.sqlite"]
    process = subprocess.Popen([*map(str, command)], env=os.environ | {"OMP_NUM_THREADS": "1"})
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                if httpx.get(f"{address}/health").is_success:
                    break
            except httpx.TransportError:
                if process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def memory(process: psutil.Process) -> int:
    """Bytes of a server and the process beside it."""
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


def overhead(model: Model, address: str, name: str) -> tuple[float, float, float]:
    """Median seconds of a request, of the call, and of what the one takes more than the other.

    By turns, so that both have the same machine, and by the client of the standard library, which takes little itself.
    """
    over, own = [], []
    with closing(HTTPConnection(address.removeprefix("http://"), timeout=600)) as client:
        for seed in range(REPEATS):
            over.append(asked_once(client, name, seed))
            start = time.perf_counter()
            model.generate(1, seed=seed)
            own.append(time.perf_counter() - start)
    more = [both - one for both, one in zip(over, own, strict=True)]
    return statistics.median(over), statistics.median(own), statistics.median(more)


def asked_once(client: HTTPConnection, name: str, seed: int) -> float:
    """Seconds of a request."""
    start = time.perf_counter()
    headers = {"Content-Type": "application/json"}
    client.request("POST", f"/v1/models/{name}/generate", json.dumps({"seed": seed}), headers)
    with client.getresponse() as answer:
        assert answer.status == 200, answer.read()
        answer.read()
    return time.perf_counter() - start


def in_a_row(address: str, name: str, seconds: float) -> float:
    """99th percentile of the seconds that a queue's length of requests takes, one after the other."""
    ends = [time.perf_counter()]
    with closing(HTTPConnection(address.removeprefix("http://"), timeout=600)) as client:
        while ends[-1] - ends[0] < seconds:
            asked_once(client, name, len(ends))
            ends.append(time.perf_counter())
    times = torch.tensor(ends, dtype=torch.double)
    return (times[QUEUE:] - times[:-QUEUE]).quantile(0.99).item()


def batching(model: Model) -> tuple[float, float]:
    """Seconds of requests that wait: one at a time, and together."""
    return tuple(_waited(model, together) for together in (False, True))


def _waited(model: Model, together: bool) -> float:
    engine = Engine({"model": model}, SQLite(":memory:"), Limits(), together)
    outcomes = [engine.submit("model", "generate", Generate(seed=seed), {})[1] for seed in range(TOGETHER)]
    start = time.perf_counter()
    engine.start()
    wait(outcomes)
    seconds = time.perf_counter() - start
    engine.stop()
    return seconds


async def loaded(address: str, name: str, each: float, seconds: float) -> tuple[Counter[int], list[float]]:
    """Statuses of all requests, and the times of those that were done. No two can be walked together.

    Each has a connection of its own, by hand: a client that is slower than the server would measure itself.
    """
    statuses: Counter[int] = Counter()
    times: list[float] = []

    async def ask(number: int) -> None:
        start = time.perf_counter()
        status, retry = await _posted(address, name, {"seed": number, "guidance": 1 + number * 1e-6})
        statuses[status] += 1
        if status == 200:
            times.append(time.perf_counter() - start)
        elif status == 429:
            assert retry >= 1

    async with asyncio.TaskGroup() as group:
        begun = time.perf_counter()
        number = 0
        while time.perf_counter() - begun < seconds:
            group.create_task(ask(number))
            number += 1
            await asyncio.sleep(max(0.0, begun + number * each / TIMES - time.perf_counter()))
    return statuses, times


async def _posted(address: str, name: str, asked: dict[str, float]) -> tuple[int, int]:
    """The status, and the seconds after which to try again, 0 where none are said."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps(asked)
    writer.write(
        f"POST /v1/models/{name}/generate HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    answer = await reader.read()
    writer.close()
    head = answer.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")
    retry = next((line.partition(":")[2] for line in head if line.startswith("retry-after:")), "0")
    return int(head[0].split()[1]), int(retry)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=120.0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        run = asked.run or small(Path(made) / "small")
        model, name = sf.load(run), run.resolve().name
        with served(run, Path(made)) as (address, process):
            over, own, more = overhead(model, address, name)
            print(f"overhead: {1000 * more:.1f} ms a request, beside {1000 * own:.1f} ms of sampling")
            row = in_a_row(address, name, asked.seconds)
            before = memory(process)
            statuses, times = asyncio.run(loaded(address, name, over, asked.seconds))
            time.sleep(1)
            after = memory(process)
        sent, late = sum(statuses.values()), torch.tensor(times).quantile(0.99).item()
        print(f"load: {sent} requests in {asked.seconds:.0f} s: {dict(statuses)}; 99% within {late:.2f} s, "
              f"{late / (QUEUE * over):.2f} of {QUEUE} times one, {late / row:.2f} of {QUEUE} in a row; "
              f"memory {before / 2**20:.0f} to {after / 2**20:.0f} MB")  # fmt: skip
        apart, together = batching(model)
        print(f"batching: {TOGETHER} that wait take {apart:.2f} s one at a time, {together:.2f} s together: "
              f"{apart / together:.1f} times")  # fmt: skip


if __name__ == "__main__":
    main()
