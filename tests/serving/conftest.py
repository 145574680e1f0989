"""Real servers of a small model, as processes that listen on loopback."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
import torch
from torch import nn

from suffuse.codecs.conditions import ClassCodec
from suffuse.codecs.image import ImageCodec
from suffuse.model import Model, Origin
from suffuse.recipes import Recipe
from suffuse.recipes.recipe import DataSection, NetworkSection, SamplingSection

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)
from tests.serving.kinds import train_each, write_data  # noqa: E402
from tests.serving.servers import Server, Start, command  # noqa: E402


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    torch.manual_seed(0)
    recipe = Recipe(
        data=DataSection(size=8, channels=3, condition=("label",)),
        network=NetworkSection(width=16, multipliers=(1, 2), blocks=1),
        sampling=SamplingSection(sampling_steps=3),
    )
    model = Model(ImageCodec(8, 3), {"label": ClassCodec(["cat", "dog"])}, recipe, Origin("small"))
    for parameter in model.denoiser.parameters():
        nn.init.normal_(parameter, std=0.2)
    model.save(folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data of every kind."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


@pytest.fixture(scope="session")
def kinds(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A run folder for every kind."""
    return train_each(data, tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="module")
def start(run_folder: Path) -> Iterator[Start]:
    """Starts servers, and ends those that the tests left."""
    begun: list[Server] = []

    def started(*arguments: object, token: str | None = None, seconds: float = 60.0) -> Server:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = subprocess.Popen(
            command("serve", run_folder, *arguments, "--port", port),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60)
        server = Server(process, client, port)
        begun.append(server)
        end = time.monotonic() + seconds
        while True:
            try:
                if client.get("/health").status_code == 200:
                    return server
            except httpx.TransportError:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < end
                time.sleep(0.1)

    yield started
    for server in begun:
        server.client.close()
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="module")
def server(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Server:
    return start("--jobs", tmp_path_factory.mktemp("jobs") / "jobs.sqlite", "--queue", 12)
