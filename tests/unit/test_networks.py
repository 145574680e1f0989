"""The parts of the networks, each against a formula."""

import dataclasses
import json
import math
import shutil

import pytest
import torch

from suffuse.errors import UserError
from suffuse.networks import Classes, Tokens, Transformer, UNet, Vector
from suffuse.networks.layers import (
    Attention,
    LevelEmbedding,
    assemble,
    attend,
    head_count,
    modulate,
    normalize,
    pad_to_multiple,
    patches,
    rotary,
    rotate,
)


def test_kinds_of_conditions_are_plain_data():
    for kind in (Classes(3), Vector(2), Tokens(5, 7)):
        assert type(kind)(**json.loads(json.dumps(dataclasses.asdict(kind)))) == kind


def test_the_features_of_a_level_resolve_log_snrs_and_mask_rates():
    """A linear map of them fits two waves over the rates and five over the log-SNRs, and holds in between."""
    embedding = LevelEmbedding(8).double()
    for low, high, waves in ((0.0, 1.0, 2), (-20.0, 20.0, 5)):
        levels = torch.linspace(low, high, 401, dtype=torch.float64)
        features = embedding.features(levels)
        truth = torch.sin(2 * math.pi * waves * (levels - low) / (high - low))
        weights = torch.linalg.lstsq(features[::2], truth[::2, None], rcond=1e-3, driver="gelsd").solution
        assert weights.norm() < 2
        assert (features @ weights - truth[:, None]).abs().max() < 2e-3


def test_normalize_and_modulate_are_their_formulas():
    x, scale, shift = torch.randn(2, 3, 4, 5), torch.randn(2, 5), torch.randn(2, 5)
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(normalize(x), expected)
    out = modulate(x, scale, shift)
    torch.testing.assert_close(out[1, 2, 3], x[1, 2, 3] * (1 + scale[1]) + shift[1])


def test_bfloat16_attention_is_attention():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, length, 8) for length in (5, 7, 7))
    mask = torch.rand(2, 1, 1, 7) < 0.6
    mask[..., 0] = True
    low = attend(query.bfloat16(), key.bfloat16(), value.bfloat16(), mask)
    scores = torch.einsum("bhnd,bhmd->bhnm", query, key) / 8**0.5
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    exact = torch.einsum("bhnm,bhmd->bhnd", weights, value)
    assert (low.float() - exact).norm() < 0.02 * exact.norm()
    torch.testing.assert_close(attend(query, key, value, mask), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("space", [(12,), (3, 4), (2, 3, 2)])
def test_attention_knows_relative_positions_and_no_others(space: tuple[int, ...]):
    torch.manual_seed(0)
    attention = Attention(32, heads=2)
    torch.nn.init.normal_(attention.out.weight, std=0.2)
    x = torch.randn(2, 12, 32)
    out = attention(x, rotation=rotary(space, 16, x))
    torch.testing.assert_close(attention(x, rotation=rotary(space, 16, x, start=5)), out, atol=1e-5, rtol=1e-5)
    order = torch.randperm(12)
    torch.testing.assert_close(attention(x[:, order]), attention(x)[:, order], atol=1e-5, rtol=1e-5)
    assert (attention(x[:, order], rotation=rotary(space, 16, x)) - out[:, order]).abs().max() > 1e-2


def test_rotary_turns_each_axis_by_its_own_angles():
    grid = torch.view_as_complex(rotary((3, 4), 8, torch.zeros(1))).view(3, 4, 4)
    rates = torch.tensor([1.0, 1 / 16])
    for row in range(3):
        for column in range(4):
            angles = torch.cat([row * rates, column * rates])
            torch.testing.assert_close(grid[row, column], torch.polar(torch.ones(4), angles))
    x = torch.randn(1, 12, 1, 8)
    turned = rotate(x, rotary((3, 4), 8, x))
    torch.testing.assert_close(
        torch.view_as_complex(turned.view(12, 4, 2)).abs(), torch.view_as_complex(x.view(12, 4, 2)).abs()
    )
    assert rotary((2, 2, 2), 4, torch.zeros(1))[..., 0].eq(1).all()  # two pairs cannot be dealt out to three axes


@pytest.mark.parametrize(("space", "patch"), [((6,), (3,)), ((4, 6), (2, 3)), ((4, 2, 6), (2, 1, 3))])
def test_patches_and_what_they_are_assembled_to(space: tuple[int, ...], patch: tuple[int, ...]):
    x = torch.arange(2 * 3 * math.prod(space)).view(2, 3, *space)
    cut = patches(x, patch)
    first = x[(1, slice(None), *(slice(side) for side in patch))]
    assert torch.equal(cut[(1, *(0 for _ in patch))], first.flatten())
    assert torch.equal(assemble(cut, patch), x)


def test_padding_is_at_the_end_of_each_axis():
    x = torch.ones(1, 1, 3, 4)
    padded = pad_to_multiple(x, (4, 4))
    assert padded.shape == (1, 1, 4, 4)
    assert torch.equal(padded[..., :3, :], x)
    assert not padded[..., 3, :].any()
    assert pad_to_multiple(x, (3, 2)) is x


def test_heads_divide_the_width():
    assert [head_count(width) for width in (8, 64, 96, 128, 192, 320)] == [1, 1, 1, 2, 3, 5]


@torch.no_grad()
def test_a_unet_without_attention_moves_with_its_input():
    """A shift by the stride of the deepest level shifts the result, where no border is in reach."""
    torch.manual_seed(0)
    network = UNet(1, width=8, multipliers=(1, 2), blocks=1, attention=())
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    x = torch.zeros(1, 1, 64, 64)
    x[..., 28:34, 29:35] = torch.randn(6, 6)
    out = network(x, torch.tensor(1.0))
    moved = network(x.roll((4, -2), (2, 3)), torch.tensor(1.0))
    inner = (..., slice(22, 42), slice(22, 42))
    assert out[inner].std() > 1e-2
    torch.testing.assert_close(moved.roll((-4, 2), (2, 3))[inner], out[inner], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_levels_of_attention_may_be_counted_from_the_deepest():
    networks = [UNet(1, width=8, multipliers=(1, 2, 2), attention=levels) for levels in ((2,), (-1,), (0,))]
    shapes = [[p.shape for p in network.parameters()] for network in networks]
    assert shapes[0] == shapes[1] != shapes[2]


@torch.no_grad()
def test_a_network_may_give_other_channels_than_it_takes():
    x = torch.randn(2, 3, 5, 4)
    assert UNet(3, width=8, multipliers=(1,), out_channels=7)(x, torch.tensor(0.0)).shape == (2, 7, 5, 4)
    assert Transformer(3, width=8, depth=1, heads=1, out_channels=7)(x, torch.tensor(0.0)).shape == (
        2,
        7,
        5,
        4,
    )
    wide = Transformer(3, patch=(1, 3), width=8, depth=1, heads=1)
    assert wide(x, torch.tensor(0.0)).shape == x.shape


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="width of 12 is no multiple of twice its 4 heads"):
        Transformer(1, width=12, heads=4)
    with pytest.raises(UserError, match=r"attention at levels .2,., but there are 2"):
        UNet(1, multipliers=(1, 2), attention=(2,))
    with pytest.raises(UserError, match="4 dimensions"):
        UNet(1, dimensions=4)


def test_dropout_acts_in_training_alone():
    for network in (
        UNet(1, width=8, multipliers=(1, 1), dropout=0.5),
        Transformer(1, width=8, heads=1, dropout=0.5),
    ):
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.2)
        x, level = torch.randn(1, 1, 4, 4), torch.tensor(0.0)
        assert not torch.equal(network(x, level), network(x, level))
        network.eval()
        assert torch.equal(network(x, level), network(x, level))


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs a compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, on importing its compiler
@pytest.mark.parametrize(
    "network",
    [
        UNet(1, width=8, multipliers=(1,), blocks=1, attention=()),
        Transformer(1, width=8, depth=1, heads=1),
    ],
)
def test_compiled_code_computes_the_same(network: torch.nn.Module):
    torch.manual_seed(0)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    torch.compiler.reset()
    compiled = torch.compile(network, fullgraph=True)
    x, level = torch.randn(2, 1, 5, 4), torch.tensor([0.1, 9.0])
    out = compiled(x, level)
    exact = network(x, level)
    torch.testing.assert_close(out, exact, atol=1e-5, rtol=1e-5)
    parameters = list(network.parameters())
    for gradient, truth in zip(
        torch.autograd.grad(out.square().sum(), parameters),
        torch.autograd.grad(exact.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(gradient, truth, atol=1e-4, rtol=1e-4)
