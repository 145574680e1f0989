"""Ray, connected, quiet, and kept to this machine where it is our own."""

import logging
import os
import secrets
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from suffuse.errors import UserError

_OBJECTS = 2**27
"""Bytes for what workers hand to each other: numbers, uploads and results; what does not fit goes to the disk."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else what is asked after the end connects to whatever it finds
}
_IMPATIENT = {"RAY_NUM_REDIS_GET_RETRIES": "1"}
"""An address where there is nothing is asked for a minute, not for a quarter of an hour."""
_CLOSED = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
"""Ray runs what it is sent: one of our own listens at this machine's own address alone, and to who knows a secret."""


def is_own() -> bool:
    """Whether Ray runs for this command alone."""
    return not os.environ.get("RAY_ADDRESS")


@contextmanager
def connected(what: str, workers: int | None) -> Generator[Any, None, None]:
    """Ray: on the cluster that ``RAY_ADDRESS`` names, or on one of this machine that lives as long as this is entered.

    Args:
        what: needs it, as a sentence begins that says that it is missing.
        workers: that one of our own has room for; by default one for each CPU.

    Raises:
        UserError: Ray is not installed, was imported before, or is not at that address.
    """
    address = os.environ.get("RAY_ADDRESS")
    if is_own() and "ray" in sys.modules:
        raise UserError("Ray was imported before this, too early to keep its ports to this machine; set RAY_ADDRESS")
    secret = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in (_QUIET | (_IMPATIENT if address else _CLOSED | secret)).items():
        os.environ.setdefault(name, value)  # before the import, which reads them
    try:
        import ray
    except ImportError as missing:
        raise UserError(f"{what} needs Ray: pip install 'suffuse[ray]'") from missing
    if address:
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:
            raise UserError(f"there is no Ray cluster at {address}, which RAY_ADDRESS names") from error
    else:
        ray.init(
            "local",
            num_cpus=workers or os.cpu_count(),
            include_dashboard=False,
            object_store_memory=_OBJECTS,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        yield ray
    finally:
        ray.shutdown()


def room(ray: Any) -> tuple[str, int]:
    """What a worker needs one of, and how many the cluster has."""
    there = ray.cluster_resources()
    kind, name = ("num_gpus", "GPU") if there.get("GPU") else ("num_cpus", "CPU")
    return kind, max(1, int(there.get(name, 1)))
