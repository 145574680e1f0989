"""The scripts that these tests start are also modules that they use."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


def pytest_itemcollected(item: pytest.Item) -> None:
    if HERE in item.path.parents:  # torch's forward derivatives, which schedules use, still import torch.jit
        item.add_marker(pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These networks are so small that threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
