"""What every network keeps to, whatever its kind, its number of dimensions and its conditions."""

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.errors import UserError
from suffuse.networks import Classes, Picture, Tokens, Transformer, UNet, Vector
from suffuse.networks.labels import LabelNetwork
from suffuse.tree import PRESENT

CONDITIONS = {"class": Classes(3), "pose": Vector(2), "caption": Tokens(11, 6)}
SPACES = {1: (13,), 2: (7, 5), 3: (3, 5, 2)}
TINY = {1: (1,), 2: (1, 1), 3: (1, 1, 1)}
KINDS = ["unet", "unet of patches", "transformer"]

pytestmark = [pytest.mark.parametrize("kind", KINDS), pytest.mark.parametrize("dimensions", [1, 2, 3])]


def build(kind: str, dimensions: int, conditions: Mapping = CONDITIONS, alive: bool = True, **options) -> nn.Module:
    """A small network; `alive` gives random values to what starts at zero, so that no branch is silent."""
    torch.manual_seed(0)
    if kind == "transformer":
        network = Transformer(2, dimensions=dimensions, width=24, depth=2, heads=2, conditions=conditions, **options)
    else:
        options |= {"patch": 2 if kind == "unet of patches" else 1, "conditions": conditions}
        network = UNet(2, dimensions=dimensions, width=8, multipliers=(1, 2), **options)
    for parameter in network.parameters():
        if alive and not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    return network


def states(space: tuple[int, ...], batch: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 2, *space, generator=generator)
    return x, torch.tensor([-20.0, -1.5, 0.2, 3.0, 20.0])[:batch]


def told(batch: int = 3) -> dict[str, Tensor]:
    return {
        "class": torch.tensor([2, 0, 1, 1, 0])[:batch],
        "class" + PRESENT: torch.tensor([True, True, False, True, True])[:batch],
        "pose": torch.linspace(-1, 1, 2 * batch).view(batch, 2),
        "caption": torch.tensor([[3, 4, 0], [10, 0, 0], [0, 0, 0], [1, 2, 3], [5, 5, 5]])[:batch],
        "caption" + PRESENT: torch.tensor([True, True, True, False, True])[:batch],
    }


def item(condition: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    return {name: value[index : index + 1] for name, value in condition.items()}


@torch.no_grad()
def test_an_item_does_not_depend_on_its_companions(kind: str, dimensions: int):
    network = build(kind, dimensions)
    x, level = states(SPACES[dimensions], batch=5)
    condition = told(5)
    together = network(x, level, condition)
    for index in range(5):
        alone = network(x[index : index + 1], level[index : index + 1], item(condition, index))
        torch.testing.assert_close(alone, together[index : index + 1], atol=1e-5, rtol=1e-5)
    x[1:] = torch.nan
    torch.testing.assert_close(network(x, level, condition)[:1], together[:1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_classes_give_logits_of_every_place_item_by_item(kind: str, dimensions: int):
    network = LabelNetwork(4, 2, build(kind, dimensions, out_channels=4))
    x = torch.randint(5, (3, *SPACES[dimensions]), generator=torch.Generator().manual_seed(1))
    hidden = torch.tensor([1.0, 0.3, 0.0])
    together = network(x, hidden, told())
    assert together.shape == (*x.shape, 4)
    for index in range(3):
        alone = network(x[index : index + 1], hidden[index : index + 1], item(told(), index))
        torch.testing.assert_close(alone, together[index : index + 1], atol=1e-5, rtol=1e-5)
    other = x.clone()
    other[0] = 4 - other[0]
    changed = network(other, hidden, told()) != together
    assert changed[0].any()
    assert not changed[1:].any()


@torch.no_grad()
def test_any_size_is_padded_with_zeros_and_cropped(kind: str, dimensions: int):
    network = build(kind, dimensions)
    for space in (SPACES[dimensions], TINY[dimensions]):
        x, level = states(space)
        out = network(x, level, told())
        even = [size + size % 2 for size in space]
        padded = x.new_zeros(3, 2, *even)
        inside = (..., *(slice(size) for size in space))
        padded[inside] = x
        assert out.shape == x.shape
        torch.testing.assert_close(out, network(padded, level, told())[inside], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_layout_in_memory_does_not_matter(kind: str, dimensions: int):
    network = build(kind, dimensions)
    x, level = states(SPACES[dimensions])
    last = x.movedim(1, -1).contiguous().movedim(-1, 1)
    assert last.stride() != x.stride()
    torch.testing.assert_close(network(last, level), network(x, level), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_one_level_for_all_is_that_level_for_each(kind: str, dimensions: int):
    network = build(kind, dimensions)
    x, _ = states(SPACES[dimensions])
    for level in (-20.0, 0.3, 20.0):
        each = network(x, torch.full((3,), level))
        torch.testing.assert_close(network(x, torch.tensor(level)), each)
        assert (each - network(x, torch.tensor(level * 0.9))).abs().max() > 1e-3


@torch.no_grad()
def test_every_condition_is_heard_and_only_by_its_item(kind: str, dimensions: int):
    network = build(kind, dimensions)
    x, level = states(SPACES[dimensions])
    before = told()
    base = network(x, level, before)
    changes = {
        "class": torch.tensor([2, 1, 0]),
        "pose": before["pose"] * torch.tensor([[1.0], [-1.0], [1.0]]),
        "caption": torch.tensor([[3, 4, 0], [9, 0, 0], [0, 0, 0]]),
        "class" + PRESENT: torch.tensor([True, False, False]),
        "caption" + PRESENT: torch.tensor([True, False, True]),
        "pose" + PRESENT: torch.tensor([True, False, True]),
    }
    for name, value in changes.items():
        moved = (network(x, level, before | {name: value}) - base).abs().flatten(1).amax(1)
        assert moved[1] > 1e-3, name
        assert (moved[[0, 2]] < 1e-5).all(), name


@torch.no_grad()
def test_an_absent_value_is_a_missing_name(kind: str, dimensions: int):
    network = build(kind, dimensions)
    x, level = states(SPACES[dimensions])
    for name in CONDITIONS:
        without = {other: value for other, value in told().items() if not other.startswith(name)}
        absent = told() | {name + PRESENT: torch.zeros(3, dtype=torch.bool)}
        torch.testing.assert_close(network(x, level, absent), network(x, level, without), atol=1e-5, rtol=1e-5)
    nothing = {name + PRESENT: torch.zeros(3, dtype=torch.bool) for name in CONDITIONS}
    torch.testing.assert_close(network(x, level, told() | nothing), network(x, level), atol=1e-5, rtol=1e-5)


def test_what_an_absent_item_holds_reaches_nothing(kind: str, dimensions: int):
    network = build(kind, dimensions)
    x, level = states(SPACES[dimensions])
    hidden = {name + PRESENT: torch.zeros(3, dtype=torch.bool) for name in CONDITIONS}
    garbage = {
        "class": torch.full((3,), 99),
        "pose": torch.full((3, 2), torch.nan),
        "caption": told()["caption"],
    }
    out = network(x, level, garbage | hidden)
    torch.testing.assert_close(out, network(x, level), atol=1e-5, rtol=1e-5)
    out.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@torch.no_grad()
def test_a_caption_is_its_words_in_order_without_the_padding(kind: str, dimensions: int):
    network = build(kind, dimensions, {"caption": Tokens(11, 6)})
    x, level = states(SPACES[dimensions], batch=1)

    def out(*ids: int) -> Tensor:
        return network(x, level, {"caption": torch.tensor([ids])})

    torch.testing.assert_close(out(4, 7, 2), out(4, 7, 2, 0, 0, 0), atol=1e-5, rtol=1e-5)
    assert (out(4, 7, 2) - out(7, 4, 2)).abs().max() > 1e-3
    assert (out(0) - network(x, level)).abs().max() > 1e-3  # an empty caption is not an absent one
    with pytest.raises(UserError, match="7 tokens is longer than 6"):
        out(1, 1, 1, 1, 1, 1, 1)


def test_gradients_in_bfloat16_are_finite_and_reach_every_parameter(kind: str, dimensions: int):
    network = build(kind, dimensions)
    x, level = states(SPACES[dimensions], batch=4)
    condition = told(4) | {"pose" + PRESENT: torch.tensor([True, False, True, True])}
    exact = network(x, level, condition)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(x, level, condition)
    assert (out.float() - exact).norm() < 0.05 * exact.norm()
    (out.float() - x).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@torch.no_grad()
def test_double_precision_is_double_precision(kind: str, dimensions: int):
    network = build(kind, dimensions)
    x, level = states(SPACES[dimensions])
    single = network(x, level, told())
    condition = told()
    condition["pose"] = condition["pose"].double()
    double = network.double()(x.double(), level.double(), condition)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, atol=1e-4, rtol=1e-4)
    moved = network(x.double() * (1 + 1e-12), level.double(), condition)
    assert 0 < (moved - double).abs().max() < 1e-9


def test_it_starts_at_zero_and_learns(kind: str, dimensions: int):
    network = build(kind, dimensions, {"class": Classes(3)}, alive=False)
    x, level = states(SPACES[dimensions])
    target = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    condition = {"class": torch.arange(3)}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = F.mse_loss(network(x, level, condition), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(target.square().mean().item())
    assert losses[-1] < 0.3 * losses[0]


def test_every_parameter_learns_from_the_start(kind: str, dimensions: int):
    """No branch is closed by two zeros one behind the other."""
    network = build(kind, dimensions, alive=False)
    x, level = states(SPACES[dimensions], batch=4)
    condition = told(4) | {"pose" + PRESENT: torch.tensor([True, False, True, True])}
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        F.mse_loss(network(x, level, condition), x.flip(0)).backward()
        optimizer.step()
    still = [name for name, parameter in network.named_parameters() if torch.equal(parameter, before[name])]
    assert not still


def test_a_state_that_does_not_fit_is_refused(kind: str, dimensions: int):
    network = build(kind, dimensions)
    x, level = states(SPACES[dimensions])
    for wrong in (x[:, :1], x[..., 0], x[..., None]):
        with pytest.raises(UserError, match=f"2 channels and {dimensions} spatial axes"):
            network(wrong, level)
    with pytest.raises(UserError, match="is told colour, which it was not built for; it knows: class, pose"):
        network(x, level, {"colour": torch.zeros(3)})


def test_the_whole_is_one_graph(kind: str, dimensions: int):
    """No break, and the traced and differentiated graph computes the same."""
    network = build(kind, dimensions, dropout=0.0)
    x, level = states(SPACES[dimensions])
    torch.compiler.reset()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    out, traced = network(x, level, told()), compiled(x, level, told())
    torch.testing.assert_close(traced, out, atol=1e-5, rtol=1e-5)
    parameters = list(network.parameters())
    for exact, gradient in zip(
        torch.autograd.grad(out.square().sum(), parameters, allow_unused=True),
        torch.autograd.grad(traced.square().sum(), parameters, allow_unused=True),
        strict=True,
    ):
        if exact is not None and gradient is not None:
            torch.testing.assert_close(gradient, exact, atol=1e-3, rtol=1e-3)


# Pictures beside the state

BESIDE = {"class": Classes(3), "before": Picture(3), "mask": Picture(1)}


def shown(space: tuple[int, ...], batch: int = 3) -> dict[str, Tensor]:
    """Two pictures beside the state: of the second item the one, and of the third the other is absent."""
    generator = torch.Generator().manual_seed(3)
    return {
        "class": torch.tensor([2, 0, 1, 1, 0])[:batch],
        "before": torch.randn(batch, 3, *space, generator=generator),
        "before" + PRESENT: torch.tensor([True, False, True, True, False])[:batch],
        "mask": torch.randn(batch, 1, *space, generator=generator),
        "mask" + PRESENT: torch.tensor([True, True, False, True, True])[:batch],
    }


@torch.no_grad()
def test_a_picture_is_seen_by_its_item_alone_and_where_it_is(kind: str, dimensions: int):
    network = build(kind, dimensions, BESIDE, **({} if kind == "transformer" else {"attention": ()}))
    space = {1: (64,), 2: (64, 3), 3: (64, 2, 2)}[dimensions]
    x, level = states(space)
    condition = shown(space)
    base = network(x, level, condition)
    for name, channel in (("before", 2), ("mask", 0)):
        value = condition[name].clone()
        value[0, channel, 0] += 1.0  # in one channel, at one end of the first axis
        moved = (network(x, level, condition | {name: value}) - base).abs()
        assert moved[0, :, 0].max() > 1e-3, name
        assert (moved[1:] < 1e-5).all(), name
        if kind != "transformer":  # convolutions reach so far and no further: it is seen where it is
            assert (moved[0, :, -8:] < 1e-5).all(), name


@torch.no_grad()
def test_items_with_pictures_do_not_depend_on_their_companions(kind: str, dimensions: int):
    network = build(kind, dimensions, BESIDE)
    x, level = states(SPACES[dimensions], batch=5)
    condition = shown(SPACES[dimensions], 5)
    together = network(x, level, condition)
    for index in range(5):
        alone = network(x[index : index + 1], level[index : index + 1], item(condition, index))
        torch.testing.assert_close(alone, together[index : index + 1], atol=1e-5, rtol=1e-5)


def test_an_absent_picture_is_a_missing_name_whatever_it_holds(kind: str, dimensions: int):
    network = build(kind, dimensions, BESIDE)
    x, level = states(SPACES[dimensions])
    condition = shown(SPACES[dimensions])
    garbage = {
        name: torch.full_like(condition[name], torch.nan) if name in ("before", "mask") else value
        for name, value in condition.items()
    }
    hidden = {name + PRESENT: torch.zeros(3, dtype=torch.bool) for name in ("before", "mask")}
    out = network(x, level, garbage | hidden)
    torch.testing.assert_close(out, network(x, level, {"class": condition["class"]}), atol=1e-5, rtol=1e-5)
    out.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    black = condition | {name: torch.zeros_like(condition[name]) for name in ("before", "mask")}
    with torch.no_grad():
        assert (network(x, level, black)[0] - out[0]).abs().max() > 1e-3  # an empty picture is not an absent one


@torch.no_grad()
def test_pictures_are_padded_as_the_state_is(kind: str, dimensions: int):
    network = build(kind, dimensions, BESIDE)
    for space in (SPACES[dimensions], TINY[dimensions]):
        x, level = states(space)
        condition = shown(space)
        inside = (..., *(slice(size) for size in space))

        def padded(value: Tensor, inside: tuple = inside, space: tuple[int, ...] = space) -> Tensor:
            wide = value.new_zeros(*value.shape[:2], *(size + size % 2 for size in space))
            wide[inside] = value
            return wide

        wide = condition | {name: padded(condition[name]) for name in ("before", "mask")}
        out = network(x, level, condition)
        torch.testing.assert_close(out, network(padded(x), level, wide)[inside], atol=1e-5, rtol=1e-5)


def test_every_parameter_learns_from_pictures(kind: str, dimensions: int):
    network = build(kind, dimensions, {"before": Picture(2)}, alive=False)
    x, level = states(SPACES[dimensions], batch=4)
    condition = {"before": x.flip(0).contiguous(), "before" + PRESENT: torch.tensor([True, True, False, True])}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    losses = []
    for _ in range(60):
        loss = F.mse_loss(network(torch.zeros_like(x), level.new_zeros(4), condition), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]  # of items that nothing else tells apart
    assert not [name for name, parameter in network.named_parameters() if torch.equal(parameter, before[name])]


def test_a_picture_of_another_size_is_refused(kind: str, dimensions: int):
    network = build(kind, dimensions, BESIDE)
    x, level = states(SPACES[dimensions])
    wrong = torch.zeros(3, 3, *(size + 1 for size in SPACES[dimensions]))
    with pytest.raises(UserError, match=r"before must be of the shape \(3, 3, .* beside this state, and is \(3, 3,"):
        network(x, level, {"before": wrong})
