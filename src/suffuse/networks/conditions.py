"""What a network may be told, and the one mechanism that tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from suffuse.errors import UserError
from suffuse.networks.layers import Attention, head_count, normalize
from suffuse.tree import PRESENT, expand


@dataclass(frozen=True)
class Classes:
    """One of `count` classes; the value is (B,) int64 in [0, count)."""

    count: int


@dataclass(frozen=True)
class Vector:
    """`size` numbers of about unit scale; the value is (B, size)."""

    size: int


@dataclass(frozen=True)
class Tokens:
    """At most `length` ids below `vocabulary`; the value is (B, L <= length) int64, and id 0 is padding."""

    vocabulary: int
    length: int


@dataclass(frozen=True)
class Picture:
    """A state of `channels` channels beside the network's own, of the same size; the value is (B, channels, *space)."""

    channels: int


Kind: TypeAlias = Classes | Vector | Tokens | Picture
Conditions: TypeAlias = Mapping[str, Kind]
Condition: TypeAlias = Mapping[str, Tensor] | None
Told: TypeAlias = tuple[Tensor, Tensor | None, Tensor | None]


class Conditioner(nn.Module):
    """Conditions as one vector and one sequence of tokens.

    The vector is the sum of the embeddings of all conditions; where a condition is absent from an item (its
    mask is False, or the condition is not named at all), a learned null embedding stands in its place. Captions
    give their tokens as well, all captions in one sequence; pictures only tell the vector whether they are there, and
    are put beside the state by `beside`.

    Args:
        conditions: names and kinds.
        width: features of the vector and of each token.

    Raises:
        UserError: the network is told a condition that it does not know, a caption that is too long, or a picture
            that is not of the state's size.

    Example:
        >>> conditioner = Conditioner({"class": Classes(10)}, width=4)
        >>> told = {"class": torch.tensor([3, 3]), "class/present": torch.tensor([True, False])}
        >>> vector, tokens, mask = conditioner(told, 2, torch.device("cpu"), torch.float32)
        >>> nothing, _, _ = conditioner(None, 2, torch.device("cpu"), torch.float32)
        >>> (vector == nothing).all(1)
        tensor([False,  True])
    """

    def __init__(self, conditions: Conditions, width: int) -> None:
        super().__init__()
        self.width = width
        self.pictures = {name: kind.channels for name, kind in conditions.items() if isinstance(kind, Picture)}
        self.parts = nn.ModuleDict({name: _embedding(kind, width) for name, kind in conditions.items()})

    @property
    def has_tokens(self) -> bool:
        """Whether there is a sequence to attend to."""
        return any(isinstance(part, _TokensEmbedding) for part in self.parts.values())

    def beside(self, x: Tensor, condition: Condition) -> Tensor:
        """The state with all pictures that the network is told behind its channels; an absent one is zero there.

        Args:
            x: state (B, C, *space).
            condition: as for `forward`.

        Returns:
            (B, C + channels of all pictures, *space).
        """
        if not self.pictures:
            return x
        condition, parts = condition or {}, [x]
        for name, channels in self.pictures.items():
            shape = (len(x), channels, *x.shape[2:])
            value = condition.get(name)
            if value is None:
                parts.append(x.new_zeros(shape))
                continue
            if value.shape != shape:
                raise UserError(f"{name} must be of the shape {shape} beside this state, and is {tuple(value.shape)}")
            value = value.to(x.dtype)
            # Zeros instead of a product, so that no NaN of an absent picture reaches a gradient.
            present = condition.get(name + PRESENT)
            parts.append(value if present is None else torch.where(expand(present, value), value, 0.0))
        return torch.cat(parts, 1)

    def forward(self, condition: Condition, batch: int, device: torch.device, dtype: torch.dtype) -> Told:
        """Embed a batch of conditions.

        Args:
            condition: values by name, and masks (B,) under `name/present`.
            batch: number of items.
            device: where the embeddings are wanted.
            dtype: of what type they are wanted.

        Returns:
            The vector (B, width), the tokens (B, S, width) and which of them there are (B, S), the last two
            None where no condition is a sequence.
        """
        condition = condition or {}
        self._check(condition)
        vector = torch.zeros(batch, self.width, device=device, dtype=dtype)
        tokens: list[Tensor] = []
        masks: list[Tensor] = []
        for name, part in self.parts.items():
            value = condition.get(name)
            present = torch.full((batch,), value is not None, device=device)
            present = present & condition.get(name + PRESENT, present)
            summary, sequence, mask = part(value, present)
            vector = vector + summary.to(dtype)
            if sequence is not None:
                tokens.append(sequence.to(dtype))
                masks.append(mask)
        return vector, torch.cat(tokens, 1) if tokens else None, torch.cat(masks, 1) if masks else None

    def _check(self, condition: Mapping[str, Tensor]) -> None:
        unknown = {name.removesuffix(PRESENT) for name in condition} - set(self.parts)
        if unknown:
            raise UserError(
                f"the network is told {', '.join(sorted(unknown))}, which it was not built for; "
                f"it knows: {', '.join(self.parts) or 'no conditions'}"
            )


class _ClassesEmbedding(nn.Module):
    def __init__(self, kind: Classes, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(kind.count + 1, width)  # The last row stands for an absent class.

    def forward(self, value: Tensor | None, present: Tensor) -> Told:
        null = torch.full_like(present, self.table.num_embeddings - 1, dtype=torch.long)
        return self.table(null if value is None else torch.where(present, value, null)), None, None


class _VectorEmbedding(nn.Module):
    def __init__(self, kind: Vector, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(kind.size, width), nn.SiLU(), nn.Linear(width, width))
        self.null = nn.Parameter(torch.randn(width))

    def forward(self, value: Tensor | None, present: Tensor) -> Told:
        if value is None:
            return self.null.expand(len(present), -1), None, None
        # Zeros first, so that no NaN of an absent value reaches a gradient.
        known = self.mlp(torch.where(present[:, None], value.to(self.null), 0.0))
        return torch.where(present[:, None], known, self.null), None, None


class _PictureEmbedding(nn.Module):
    """Whether there is a picture: what it shows stands beside the state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(2, width)

    def forward(self, value: Tensor | None, present: Tensor) -> Told:
        return self.table(present.long()), None, None


class _TokensEmbedding(nn.Module):
    """Words and positions, two blocks of attention; the first token, which is always there, sums them up."""

    def __init__(self, kind: Tokens, width: int) -> None:
        super().__init__()
        self.length = kind.length
        self.words = nn.Embedding(kind.vocabulary, width)
        self.positions = nn.Parameter(torch.randn(kind.length, width))
        self.start = nn.Parameter(torch.randn(width))
        self.null = nn.Parameter(torch.randn(width))
        self.blocks = nn.ModuleList(_EncoderBlock(width) for _ in range(2))

    def forward(self, value: Tensor | None, present: Tensor) -> Told:
        ids = torch.zeros_like(present[:, None], dtype=torch.long) if value is None else value
        if ids.shape[1] > self.length:
            raise UserError(f"a caption of {ids.shape[1]} tokens is longer than {self.length}; shorten it")
        first = torch.where(present[:, None], self.start, self.null)
        words = self.words(ids) + self.positions[: ids.shape[1]]
        mask = torch.cat([torch.ones_like(present)[:, None], (ids != 0) & present[:, None]], 1)
        x = torch.cat([first[:, None], words], 1)
        for block in self.blocks:
            x = block(x, mask)
        x = normalize(x)
        return x[:, 0], x, mask


class _EncoderBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = Attention(width, head_count(width))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(normalize(x), mask=mask)
        return x + self.mlp(normalize(x))


def _embedding(kind: Kind, width: int) -> nn.Module:
    match kind:
        case Classes():
            return _ClassesEmbedding(kind, width)
        case Vector():
            return _VectorEmbedding(kind, width)
        case Tokens():
            return _TokensEmbedding(kind, width)
        case Picture():
            return _PictureEmbedding(width)
