"""Items changed: walked back from noise that still remembers them, or from the noise that belongs to them."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from suffuse.codecs.image import ImageCodec
from suffuse.data.sources import open_source
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.guidance import Given, Regions, Tiled
from suffuse.guidance.regions import Part
from suffuse.inversion import encode
from suffuse.processes import Bridge
from suffuse.rng import Streams
from suffuse.samplers import Sampler, Tuned, default, sample
from suffuse.tree import Condition, State, concatenate, leaves, map_leaves

if TYPE_CHECKING:
    from suffuse.model import Model

EVALUATIONS = 50
"""Of a walk up to the noise, and of one down again: enough for an item to come back as it was, to the eye."""


def edit(
    model: "Model",
    items: Sequence[Any],
    values: Mapping[str, Sequence[Any]],
    solver: tuple[Sampler, Tensor],
    guidance: float,
    strength: float,
    mask: Any = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Any]:
    """Raw items, noised to a strength and walked back; each at its own size, where that is larger than the model's.

    Args:
        model: of these items.
        items: to change.
        values: what each is to be, a column for each condition; of the others, what the items tell themselves.
        solver: the way to walk from t = 1, and its times.
        guidance: weight of the conditions.
        strength: share of the walk that is gone, in (0, 1].
        mask: what may change; see :meth:`suffuse.codecs.base.Codec.changes`. None lets all change.
        seed: of the first item; the next have the next seeds.
        progress: called with (items done, in all).
    """
    if isinstance(model.denoiser.process, Bridge):
        raise UserError(f"{model.origin.name} goes from one kind of item to another: ask it to translate, not to edit")
    if not 0 < strength <= 1:
        raise UserError(f"a strength lies above 0 and is at most 1, which keeps nothing of the item, not {strength:g}")
    _check_length(model, items)
    walk = _last_part(model, solver, strength)
    edited: dict[int, Any] = {}
    for sized, rows in by_size(model, items):
        for part in sized.row_batches(len(rows)):
            numbers = [rows[place] for place in part]
            told = {name: [column[row] for row in numbers] for name, column in values.items()}
            some, seeds = [items[row] for row in numbers], [seed + row for row in numbers]
            drawn = _edited(sized, some, told, walk, guidance, mask, seeds)
            edited |= zip(numbers, map(sized.codec.in_place_of, some, drawn), strict=True)
            if progress is not None:
                progress(len(edited), len(items))
    return [edited[row] for row in range(len(items))]


def _edited(
    model: "Model",
    items: Sequence[Any],
    values: Mapping[str, Sequence[Any]],
    walk: tuple[Sampler, Tensor],
    guidance: float,
    mask: Any,
    seeds: Sequence[int],
) -> list[Any]:
    """Items of one size, in one batch."""
    sampler, times = walk
    x_t, told, rng = model.start(model.told_of(items, values), seeds)
    x0 = states(model, items, rng)
    if times[0] < 1:  # at t = 1 it is the start of any other walk
        x_t = model.denoiser.process.corrupt(x0, float(times[0]), rng)
    denoiser = model.guided(guidance)
    if mask is None:
        with model.precision():
            return model.codec.decode(sample(denoiser, sampler, x_t, times, told, rng))
    kept = _kept(model, items, mask)
    denoiser = Given(denoiser, x0, kept) if model.infills else pinned(denoiser, x0, kept)
    with model.precision():
        state = sample(denoiser, sampler, x_t, times, told, rng)
    return model.codec.decode(map_leaves(torch.where, kept, x0, state))


def pinned(denoiser: Denoiser, x0: State, kept: State) -> Denoiser:
    r"""The denoiser with some elements known, which it is not told: they are put into its answer.

    A known element then walks along :math:`\alpha_t x_0 + \sigma_t \varepsilon` with the noise that it began with, as
    it was noised in training; so this needs no model that was trained to infill, and what it draws fits what is known
    as well as noise lets it see that. :class:`Given` is exact, and is taken for models that know how.

    Source: "RePaint: Inpainting using Denoising Diffusion Probabilistic Models" (Lugmayr, Danelljan, Romero, Yu,
    Timofte, Van Gool, 2022), without its resampling.
    """
    return Denoiser.from_function(
        denoiser.process,
        lambda x_t, t, condition: denoiser(x_t, t, condition).pinned(x0, kept),
        denoiser.sigma_data,
        denoiser.shape,
    )


def at_size(model: "Model", size: int | Sequence[int] | None, seamless: bool = False) -> "Model":
    """The model for items of another size than it was trained on, by windows.

    Args:
        model: of items that have a size, where one is given.
        size: of every space axis, or of all alike, no smaller than in training; None for that.
        seamless: whether its items go on at their opposite edges.

    Raises:
        UserError: its items have no size to choose, or this one is too small.
    """
    if size is None and not seamless:
        return model
    codec, own = model.codec.resized(size), model.codec.shape
    assert isinstance(own, tuple)
    assert isinstance(codec.shape, tuple)
    if codec.shape == own and not seamless:
        return model
    if any(wanted < trained for wanted, trained in zip(codec.shape, own, strict=True)):
        trained, wanted = ("x".join(map(str, shape[1:])) for shape in (own, codec.shape))
        raise UserError(f"{model.origin.name} draws items of {trained} and larger, and {wanted} is smaller")
    sized = copy(model)
    sized.codec, sized.denoiser = codec, Tiled(model.denoiser, own[1:], wrap=seamless)
    return sized


def in_regions(model: "Model", regions: Sequence[tuple[Any, Any]], guidance: float) -> "Model":
    """The model with its conditions by region.

    Args:
        model: of pictures, at the size that is drawn.
        regions: (mask, condition) of each part.
        guidance: weight of the conditions.

    Raises:
        UserError: a mask is of another size, or no mask covers some place.
    """
    if not isinstance(model.codec, ImageCodec):
        raise UserError(f"regions are parts of pictures, and {model.origin.name} draws items of {model.codec.kind}")
    shape, grey = model.codec.shape, ImageCodec(model.codec.shape[1:], 1)
    parts: list[Part] = []
    for mask, condition in regions:
        if model.codec.of_size(mask).shape != shape:
            raise UserError(f"the mask of a region is as large as what is drawn, {shape[2]}x{shape[1]} pixels, "
                            f"and this one is {mask.width}x{mask.height}")  # fmt: skip
        share = (grey.unpack(grey.pack([mask])).to(model.device) + 1) / 2
        told = model.encode_condition(model.columns(condition, 1), model.device)
        parts.append((model.guided(guidance), told, share))
    told_apart = copy(model)
    told_apart.denoiser = Regions(parts)
    return told_apart


def region_of(model: "Model", text: str) -> tuple[Any, Any]:
    """A mask and a condition, from ``MASK.png:CONDITION``.

    Raises:
        UserError: it is written otherwise, or the mask is no picture.
    """
    path, colon, said = text.partition(":")
    if not colon or not said:
        raise UserError(f"the region {text!r} is not understood; write MASK.png:CONDITION, such as sky.png:blue")
    return open_source(path, kind="image").raw([0])[0], model.parse_condition([said])


def noise_of(model: "Model", items: Sequence[Any], told: Condition, evaluations: int) -> Tensor:
    """The noise that belongs to items of the model's size, by the probability-flow ODE."""
    model.denoiser.eval()
    x0 = states(model, items, Streams.of(0, range(len(items))))
    with model.precision():
        return encode(model.denoiser, x0, evaluations, told)


def drawn_from(model: "Model", x1: Tensor, told: Condition, evaluations: int, guidance: float = 1.0) -> list[Any]:
    """The items that belong to noise; the inverse of :func:`noise_of`."""
    sampler, times = default(model.denoiser, evaluations)
    with model.precision():
        return model.codec.decode(sample(model.guided(guidance), sampler, x1, times, told))


def interpolate(
    model: "Model", a: Any, b: Any, values: Mapping[str, Sequence[Any]], n: int, evaluations: int
) -> list[Any]:
    """Raw items on the way from one to another, at the size of the first; see :meth:`suffuse.model.Model.interpolate`.

    Args:
        model: of both.
        a: the first.
        b: the last.
        values: what all of them are, a column of n for each condition.
        n: how many, at least 2.
        evaluations: of each walk.
    """
    if n < 2:
        raise UserError(f"a way from one item to another has at least its two ends, n = 2, not {n}")
    _check_length(model, [a, b])
    model = own_size(model, a)
    told = model.encode_condition(values, model.device)
    ends = noise_of(model, [a, b], told and {name: column[:2] for name, column in told.items()}, evaluations)
    x1 = spherical(ends[0], ends[1], torch.linspace(0, 1, n, dtype=torch.float64, device=ends.device))
    parts = [slice(rows.start, rows.stop) for rows in model.row_batches(n)]
    each = [
        drawn_from(model, x1[rows], told and {name: column[rows] for name, column in told.items()}, evaluations)
        for rows in parts
    ]
    return [item for part in each for item in part]


def spherical(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    r"""On the great circle from one noise to another, so that what is between has the size of noise:
    :math:`\frac{\sin((1 - w) \omega) \, a + \sin(w \omega) \, b}{\sin \omega}`, with the angle :math:`\omega`.

    Source: "Animating Rotation with Quaternion Curves" (Shoemake, 1985).

    Args:
        a: noise of one item.
        b: of another, of the same shape.
        shares: (n,) values of w.

    Example:
        >>> spherical(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.5]))
        tensor([[0.7071, 0.7071]])
    """
    cosine = torch.nn.functional.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0)
    angle = cosine.clamp(-1, 1).acos().clamp(1e-6, torch.pi - 1e-6)
    of_a, of_b = (torch.sin(each * angle) / torch.sin(angle) for each in (1 - shares, shares))
    return torch.stack([float(first) * a + float(last) * b for first, last in zip(of_a, of_b, strict=True)])


def own_size(model: "Model", item: Any) -> "Model":
    """The model at the size of an item, where that is larger than its own."""
    fitting = model.codec.fitting(item)
    if fitting is model.codec:
        return model
    assert isinstance(fitting.shape, tuple)
    return at_size(model, fitting.shape[1:])


def by_size(model: "Model", items: Sequence[Any]) -> list[tuple["Model", list[int]]]:
    """The rows of items of one size, with a model of that size."""
    found: dict[Any, tuple[Model, list[int]]] = {}
    for row, item in enumerate(items):
        sized = own_size(model, item)
        found.setdefault(sized.codec.shape if sized is not model else None, (sized, []))[1].append(row)
    return list(found.values())


def states(model: "Model", items: Sequence[Any], rng: Streams) -> Any:
    """Packed one by one, so that one large picture at a time is in memory."""
    packed = concatenate([model.codec.pack([item]) for item in items])
    return map_leaves(lambda leaf: leaf.to(model.device), model.codec.unpack(packed, rng.fold("unpack")))


def _kept(model: "Model", items: Sequence[Any], mask: Any) -> Any:
    """A bool for every element of the items' states: whether it must stay."""
    changes = concatenate([model.codec.changes(mask, item) for item in items])
    if not any(bool(leaf.any()) for leaf in leaves(changes)):
        raise UserError("the mask is black all over, so that nothing may change; paint white what may")
    return map_leaves(lambda leaf: ~leaf.to(model.device), changes)


def _last_part(model: "Model", solver: tuple[Sampler, Tensor], strength: float) -> tuple[Sampler, Tensor]:
    """The walk with only the last of its steps: this share of them, but at least one."""
    sampler, times = solver
    steps = len(times) - 1
    left = max(1, round(strength * steps))
    if left < steps and isinstance(sampler, Tuned):  # a table is for all of its grid
        sampler, times = default(model.denoiser, steps)
    return sampler, times[steps - left :]


def _check_length(model: "Model", items: Sequence[Any]) -> None:
    """Items that are longer than a state would lose their ends."""
    if model.codec.splits and any(len(model.codec.pieces(item)) > 1 for item in items):
        raise UserError(f"an item is longer than what {model.origin.name} sees at once; cut it into parts")
