"""A server as a process, and what tests ask of it."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[str]
    client: httpx.Client
    port: int

    def waits_for(self, id: str, state: str, seconds: float = 30.0) -> dict[str, object]:
        end = time.monotonic() + seconds
        while True:
            job = self.client.get(f"/v1/jobs/{id}").json()
            if job["state"] == state:
                return job
            assert time.monotonic() < end, job
            time.sleep(0.02)

    def begun(self, id: str, seconds: float = 30.0) -> dict[str, object]:
        """Waits until the network has been asked for a job."""
        end = time.monotonic() + seconds
        while True:
            job = self.client.get(f"/v1/jobs/{id}").json()
            if job["evaluations"]:
                return job
            assert time.monotonic() < end, job
            time.sleep(0.02)


Start = Callable[..., Server]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "suffuse", *map(str, arguments)]
