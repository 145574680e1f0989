"""Unpaired translation: two models that walk from one noise are joined by it."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.editing import EVALUATIONS, by_size, own_size, states
from suffuse.errors import UserError
from suffuse.inversion import encode
from suffuse.pictures import signed
from suffuse.processes import Gaussian
from suffuse.rng import Streams
from suffuse.samplers import default, sample
from suffuse.tree import Condition

if TYPE_CHECKING:
    from suffuse.model import Model


@torch.no_grad()
def carry(
    source: Denoiser,
    target: Denoiser,
    x0: Tensor,
    evaluations: int,
    told: Condition = None,
    wanted: Condition = None,
) -> Tensor:
    r"""Data of one law as data of another: up to noise by the one's probability-flow ODE, and down by the other's.

    Noise of both is brought to one deviation at t = 1. Between Gaussians whose covariances share their axes it is the
    map of optimal transport, :math:`m' + \tfrac{s'}{s} (x - m)` along each, to within :math:`\alpha_1 / \sigma_1` of
    the distance of their means; between other laws each half goes along a path that no other crosses, but the whole is
    not optimal. No pairs are needed, and what the two laws do not share is made up.

    Source: "Dual Diffusion Implicit Bridges for Image-to-Image Translation" (Su, Song, Meng, Ermon, 2023).

    Args:
        source: denoiser of the law that the data has, of a Gaussian process.
        target: of the law that it is to have; the same one may be told something else.
        x0: (B, ...) data.
        evaluations: of each denoiser.
        told: condition of the source.
        wanted: condition of the target.

    Example:
        >>> import suffuse as sf
        >>> process = sf.Gaussian(sf.schedules.Flow())
        >>> laws = (sf.exact.GaussianMixture(torch.full((1, 1), m), torch.tensor([s])) for m, s in ((1, 1), (5, 2)))
        >>> one, other = (law.denoiser(process) for law in laws)
        >>> carry(one, other, torch.tensor([[2.0]]), 50).round(decimals=2)
        tensor([[7.]])
    """
    x1 = encode(source, x0, evaluations, told)
    sampler, times = default(target, evaluations)
    sizes = [_spread(denoiser, x1) for denoiser in (target, source)]
    end = sample(target, sampler, x1 * (sizes[0] / sizes[1]), times, wanted)
    assert isinstance(end, Tensor)
    return end


def _spread(denoiser: Denoiser, like: Tensor) -> Tensor:
    if not isinstance(denoiser.process, Gaussian):
        raise UserError(f"a {type(denoiser.process).__name__} process shares no noise with another; Gaussian ones do")
    return denoiser.process.spread(like, denoiser.sigma_data)


def carry_items(
    source: "Model",
    target: "Model",
    items: Sequence[Any],
    told: Mapping[str, Sequence[Any]],
    wanted: Mapping[str, Sequence[Any]],
    evaluations: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Any]:
    """Raw items of one model as those of another; see :func:`carry`.

    Args:
        source: model that the items are of.
        target: model that they are to be of.
        items: to translate.
        told: what they are, a column for each condition of the source.
        wanted: what they are to be, a column for each condition of the target.
        evaluations: of each network; by default ``suffuse.editing.EVALUATIONS``.
        guidance: weight of the target's condition, by default 1: the way up has none, and what it keeps of an item is
            lost in a way down with another.
        seed: number by which the first is known; nothing is drawn.
        progress: called with (items done, in all).

    Raises:
        UserError: the models' states do not have one shape, or a process is not Gaussian.
    """
    if source.codec.shape != target.codec.shape:
        raise UserError(f"{source.origin.name} is of shape {source.codec.shape} and {target.origin.name} of shape "
                        f"{target.codec.shape}; train both on one size")  # fmt: skip
    evaluations, guidance = evaluations or EVALUATIONS, 1.0 if guidance is None else guidance
    made = {"suffuse": source.origin.version, "model": target.origin.name, "from": source.origin.name}
    made |= {"evaluations": evaluations, "guidance": guidance}
    carried: dict[int, Any] = {}
    for sized, rows in by_size(source, items):
        other = own_size(target, items[rows[0]])
        for part in sized.row_batches(len(rows)):
            numbers = [rows[place] for place in part]
            x0 = states(sized, [items[row] for row in numbers], Streams.of(0, range(len(numbers))))
            known = _encoded(sized, told, numbers), _encoded(other, wanted, numbers)
            with sized.precision():
                x = carry(sized.denoiser.eval(), other.guided(guidance).eval(), x0, evaluations, *known)
            for row, item in zip(numbers, other.codec.decode(x), strict=True):
                carried[row] = signed(item, made | {"seed": seed + row})
            if progress is not None:
                progress(len(carried), len(items))
    return [carried[row] for row in range(len(items))]


def _encoded(model: "Model", columns: Mapping[str, Sequence[Any]], rows: Sequence[int]) -> Condition:
    return model.encode_condition({name: [own[row] for row in rows] for name, own in columns.items()}, model.device)
