"""What items become: drawn by a model that is told them, or that starts its walk from them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from suffuse.codecs.text import TextCodec
from suffuse.data.sources import open_source
from suffuse.data.texts import lines_of
from suffuse.errors import UserError
from suffuse.pictures import named, signed
from suffuse.processes import Bridge, Discrete
from suffuse.samplers import Sampler, sample

if TYPE_CHECKING:
    from suffuse.model import Model


def translate(
    model: "Model",
    items: Sequence[Any],
    solver: tuple[Sampler, Tensor],
    made: Mapping[str, Any],
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Any]:
    """Draw what each item becomes. Draw i is a function of its item and seed + i alone.

    Args:
        model: that was trained on pairs, or on two kinds of items.
        items: to translate; one of which several draws are wanted comes several times.
        solver: the way to walk, and its times.
        made: what the draws say of how they were made; has the weight of the condition as ``guidance``.
        seed: of the first draw; the next have the next seeds.
        progress: called with (draws done, in all).

    Raises:
        UserError: the model translates nothing.
    """
    condition, bridge = _told(model), isinstance(model.denoiser.process, Bridge)
    walk, times = solver
    drawn: list[Any] = []
    for rows in model.row_batches(len(items)):
        some, seeds = [items[row] for row in rows], [seed + row for row in rows]
        told = {} if condition is None else model.told_of(some, {condition: some})
        x1, encoded, rng = model.start(told, seeds, sources=some if bridge else None)
        with model.precision():
            state = sample(model.guided(made["guidance"]), walk, x1, times, encoded, rng)
        for own, item, draw in zip(seeds, some, model.codec.decode(state), strict=True):
            notes = {} if condition is None else {condition: model.conditions[condition].note(item)}
            draw = model.codec.in_place_of(item, draw)
            drawn.append(signed(draw, {**made, "seed": own, "condition": notes}))
        if progress is not None:
            progress(len(drawn), len(items))
    return drawn


def likeliest(
    model: "Model",
    items: Sequence[Any],
    made: Mapping[str, Any],
    progress: Callable[[int, int], None] | None = None,
) -> list[Any]:
    """What is likeliest at each place by itself, as :func:`odds` has it; one evaluation of the network for each item.

    Args:
        model: of label maps.
        items: to translate.
        made: what the answers say of how they were made.
        progress: called with (items done, in all).

    Raises:
        UserError: there are no odds.
    """
    found: list[Any] = []
    for rows in model.row_batches(len(items)):
        some = [items[row] for row in rows]
        for item, answer in zip(some, model.codec.decode(odds(model, some).argmax(-1)), strict=True):
            found.append(signed(model.codec.in_place_of(item, answer), {**made, "steps": 1}))
        if progress is not None:
            progress(len(found), len(items))
    return found


@torch.no_grad()
def odds(model: "Model", items: Sequence[Any]) -> Tensor:
    """Probabilities of what each place becomes, (N, ..., K), without a draw: the model's answer while all is hidden.

    Of an exact model they are the shares that ever more draws come to, place by place; a trained one is asked here
    where it has seen most. What places have to do with each other is in draws alone.

    Args:
        model: of label maps or tokens, that is told what it translates.
        items: to translate.

    Raises:
        UserError: its process is none of masked tokens, or it translates nothing.
    """
    told, process = _told(model), model.denoiser.process
    if told is None or not isinstance(process, Discrete) or not process.masks:
        raise UserError(f"{model.origin.name} has odds only where it draws label maps or texts from what is hidden")
    parts: list[Tensor] = []
    for rows in model.row_batches(len(items)):
        x_t, condition, _ = model.start({told: [items[row] for row in rows]}, [*rows])
        with model.precision():
            mean = model.denoiser(x_t, 1.0, condition).mean
        assert isinstance(mean, Tensor)
        parts.append(mean.float())
    return torch.cat(parts)


def read_kind(model: "Model") -> str:
    """Kind of the items that a model translates.

    Raises:
        UserError: it translates nothing.
    """
    condition = _told(model)
    kind = model.codec.kind if condition is None else model.conditions[condition].reads
    assert kind is not None
    return kind


def _told(model: "Model") -> str | None:
    """The condition that is told what is translated; None where the walk only starts from it."""
    names = [name for name, codec in model.conditions.items() if codec.reads is not None]
    if len(names) == 1:
        return names[0]
    if names or not isinstance(model.denoiser.process, Bridge):
        raise UserError(f"{model.origin.name} was not trained on pairs, an item and what to make of it")
    return None


def read(model: "Model", path: Path, paired: bool = True) -> tuple[list[str], list[Any]]:
    """Names and items of what is to be translated: the lines of a text, or a file or a folder of others.

    Items are kept as a model of pairs sees them, so that a folder of large ones fits into memory; others keep a larger
    size.

    Args:
        model: that translates.
        path: of the items.
        paired: whether it was trained to; otherwise the items are such as it draws.

    Raises:
        UserError: nothing is there that the model translates.
    """
    kind = read_kind(model) if paired else model.codec.kind
    if kind == TextCodec.kind:
        return _lines(path)
    if not paired and not isinstance(model.codec.shape, tuple):
        raise UserError(f"items of the kind {kind} are not translated without pairs; pictures are")
    source = open_source(path, kind=kind)
    report = source.scan()
    if report.left_out:
        print(report.summary())
    names = [name.replace("/", "-") for name in source.names(report.keep)]
    stems = [name.rpartition(".")[0] or name for name in names]
    items: list[Any] = []
    for place in report.keep:
        raw = source.raw([place])
        items += _seen(model, raw) if paired else _kept(model, raw[0])
    return stems if len({*stems}) == len(names) else names, items


def _lines(path: Path) -> tuple[list[str], list[str]]:
    lines = lines_of(path)
    return [f"line {number}" for number in range(1, len(lines) + 1)], lines


def _seen(model: "Model", raw: list[Any]) -> list[Any]:
    """Of the size that the model takes."""
    told = _told(model)
    if told is None:
        return model.codec.decode(model.codec.encode(raw))
    return model.conditions[told].seen(raw)


def _kept(model: "Model", raw: Any) -> list[Any]:
    """Of its own size, where that is larger."""
    codec = model.codec.fitting(raw)
    return codec.decode(codec.encode([raw]))


def named_draws(model: "Model", names: Sequence[str], drawn: Sequence[Any], draws: int | None) -> list[Any]:
    """Draws that say what they were drawn for; of several for each, what sums them up comes after them.

    Raises:
        UserError: these items cannot be summed up.
    """
    if draws is None or draws == 1:
        return [named(item, name) for item, name in zip(drawn, names, strict=True)]
    result: list[Any] = []
    for place, name in enumerate(names):
        each = drawn[place * draws : (place + 1) * draws]
        summed = model.codec.summaries(each).items()
        result += [named(item, f"{name}-{number}") for number, item in enumerate(each, 1)]
        result += [named(item, f"{name}-{what}", like=each[0]) for what, item in summed]
    return result
