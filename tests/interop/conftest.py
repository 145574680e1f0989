"""One pipeline of each kind, made once, in memory and on disk."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:  # wherever pytest is started
    sys.path.append(ROOT)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These networks are so small that threads would mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    from tests.interop.pipelines import PIPELINES

    return {name: tmp_path_factory.mktemp(name.replace(" ", "-")) / "pipeline" for name in PIPELINES}


@pytest.fixture(scope="session")
def pipelines(folders):
    from tests.interop.pipelines import PIPELINES

    made = {name: make(folders[name]) for name, make in PIPELINES.items()}
    for pipeline in made.values():
        pipeline.set_progress_bar_config(disable=True)
    return made
