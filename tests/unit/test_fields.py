"""Fields: what is found in files, every mistake in them that we know of, and the verbs on real ones."""

import pytest
import torch
from torch import nn

from suffuse.errors import UserError
from suffuse.networks import UNet

# Circles


def alive(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    return network


@pytest.mark.parametrize(("space", "axis"), [((8,), 0), ((8, 6), 0), ((7, 8), 1), ((4, 6, 5), 1)])
@torch.no_grad()
def test_a_periodic_axis_has_no_beginning(space: tuple[int, ...], axis: int):
    torch.manual_seed(0)
    network = alive(UNet(2, dimensions=len(space), width=8, multipliers=(1, 2), periodic=(axis,)))
    x, level = torch.randn(3, 2, *space), torch.zeros(3)
    turned = network(x.roll(2, axis + 2), level)
    torch.testing.assert_close(turned, network(x, level).roll(2, axis + 2), atol=1e-5, rtol=1e-5)
    plain = alive(UNet(2, dimensions=len(space), width=8, multipliers=(1, 2)))
    assert (plain(x.roll(2, axis + 2), level) - plain(x, level).roll(2, axis + 2)).abs().max() > 1e-2


def test_a_periodic_axis_that_does_not_close_is_refused():
    network = UNet(1, width=8, multipliers=(1, 2), periodic=(1,))
    with pytest.raises(UserError, match="a periodic axis of 7 does not close at 2 levels, which take multiples of 2"):
        network(torch.zeros(1, 1, 8, 7), torch.zeros(1))
