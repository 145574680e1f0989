"""Texts and sequences of symbols as rows of tokens."""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor

from suffuse.codecs.base import JSON, Codec, ConditionCodec
from suffuse.codecs.spelling import END, SPELLINGS, Letters, Spelling
from suffuse.errors import UserError
from suffuse.rng import Streams
from suffuse.tree import State

_LETTERS = 8
"""A token is taken to be at most so many letters, where a text is cut into pieces."""
_GAP = re.compile(r"\[\[(\d*)\]\]")


class TokenCodec(Codec):
    """Texts to states of L tokens, (B, L) int64 in [0, V), and back.

    A shorter text is followed by END tokens, 0, which a model learns as it does all others: so the length of what it
    draws is part of what it draws. Of a longer one ``unpack`` shows a window of L: with streams anywhere in it, its END
    included, without them the first. A text of L tokens is shown as it is. A raw item is a string.
    ``decode(encode(text))`` is the text, where it has at most L tokens.

    In items with holes, ``[[5]]`` is a gap of five tokens, and ``[[]]`` one of all the room that is left.

    Args:
        spelling: of texts by tokens.
        length: L.
        longest: tokens of an item that are kept; what is beyond is left out.
    """

    splits = True

    def __init__(self, spelling: Spelling, length: int, longest: int | None = None) -> None:
        self.spelling, self.length, self.longest = spelling, length, max(longest or length, length)

    @property
    def shape(self) -> tuple[int]:
        """(L,)."""
        return (self.length,)

    @property
    def vocabulary(self) -> int:
        """V, the END token among them."""
        return self.spelling.size

    def pack(self, raw: Sequence[Any]) -> Tensor:
        """Return the tokens of each item, (B, longest) int32."""
        packed = torch.full((len(raw), self.longest), END, dtype=torch.int32)
        for row, text in zip(packed, raw, strict=True):
            tokens = self.spelling.spell(text)[: self.longest]
            row[: len(tokens)] = torch.tensor(tokens, dtype=torch.int32)
        return packed

    def unpack(self, packed: State, rng: Streams | None = None) -> Tensor:
        """Return windows of L tokens."""
        tokens = cast(Tensor, packed).long()
        if rng is None or self.longest == self.length:
            return tokens[:, : self.length]
        beyond = (tokens != END).sum(1) - self.length
        room = torch.where(beyond > 0, beyond + 1, 0).clamp(max=self.longest - self.length)
        start = (rng.fold("window").uniform(tokens[:, 0]) * (room + 1)).long()
        return tokens.gather(1, start[:, None] + torch.arange(self.length, device=tokens.device))

    def decode(self, state: State) -> list[Any]:
        """Return the text of each row, up to its first END."""
        rows: list[list[int]] = cast(Tensor, state).tolist()
        return [self.spelling.read(row[: row.index(END)] if END in row else row) for row in rows]

    def dimensions(self, raw: Any) -> int:
        """Characters of the text, at least one."""
        return max(1, len(raw))

    def pieces(self, raw: Any) -> list[Any]:
        """The text in parts of at most L tokens."""
        parts, at = list[str](), 0
        while at < len(raw):
            most = raw[at : at + _LETTERS * self.length]
            count = len(most)
            if self._tokens(most) > self.length:  # a longer part may be of fewer tokens, where a word is whole
                count = bisect_right(range(1, count), self.length, key=lambda end, most=most: self._tokens(most[:end]))
            parts.append(most[: max(count, 1)])
            at += max(count, 1)
        return parts or [raw]

    def _tokens(self, text: str) -> int:
        return len(self.spelling.spell(text))

    def partial(self, raw: Sequence[Any]) -> tuple[State, State]:
        """Gaps are what is asked for; of a text that is too long, the part around them is taken."""
        states, masks = zip(*(self._with_gaps(text)[:2] for text in raw), strict=True)
        return torch.stack(states), torch.stack(masks)

    def fill(self, raw: Sequence[Any], state: State) -> list[Any]:
        """The texts with their gaps filled, all else to the letter; an END in a gap says nothing."""
        filled: list[str] = []
        for text, row in zip(raw, cast(Tensor, state).tolist(), strict=True):
            parts = _GAP.split(text)[::2]
            gaps = [self.spelling.read([t for t in row[gap] if t != END]) for gap in self._with_gaps(text)[2]]
            filled.append("".join(part for pair in zip(parts, [*gaps, ""], strict=True) for part in pair))
        return filled

    def _with_gaps(self, text: str) -> tuple[Tensor, Tensor, list[slice]]:
        """Tokens, which of them are known, and the places of the gaps."""
        split = _GAP.split(text)
        known, sizes = [self.spelling.spell(part) for part in split[::2]], split[1::2]
        asked = sum(int(size) for size in sizes if size)
        open_gaps = sum(not size for size in sizes)
        if asked + open_gaps > self.length:
            raise UserError(f"gaps of {asked + open_gaps} tokens do not fit into the {self.length} that the model sees")
        known = _around(known, self.length - max(asked + open_gaps, min(asked + self.length // 2, self.length)
                                                 if open_gaps else asked))  # fmt: skip
        left = self.length - asked - sum(map(len, known))
        tokens: list[int] = []
        mask: list[bool] = []
        gaps: list[slice] = []
        for place, part in enumerate(known):
            tokens += part
            mask += [True] * len(part)
            if place < len(sizes):
                count = int(sizes[place]) if sizes[place] else left // open_gaps
                gaps.append(slice(len(tokens), len(tokens) + count))
                tokens += [END] * count
                mask += [False] * count
        rest = self.length - len(tokens)
        return torch.tensor(tokens + [END] * rest), torch.tensor(mask + [True] * rest), gaps

    def config(self) -> dict[str, JSON]:
        """Return the spelling and the lengths."""
        spelling: JSON = {"kind": self.spelling.kind, **self.spelling.config()}
        return {"spelling": spelling, "length": self.length, "longest": self.longest}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        spelling = dict(config["spelling"])
        made = SPELLINGS[spelling.pop("kind")].from_config(spelling)
        return cls(made, config["length"], config["longest"])


class TextCodec(TokenCodec):
    """Texts in any language; see :class:`TokenCodec`.

    Example:
        >>> from suffuse.codecs.spelling import Letters
        >>> codec = TextCodec(Letters(), 8)
        >>> codec.decode(codec.encode(["Grüße", ""]))
        ['Grüße', '']
    """

    kind: ClassVar[str] = "text"


class SequenceCodec(TokenCodec):
    """Sequences of DNA, RNA or protein; see :class:`TokenCodec`.

    Example:
        >>> from suffuse.codecs.spelling import Alphabet
        >>> codec = SequenceCodec(Alphabet("ACGT", "DNA"), 6)
        >>> codec.encode(["GATT"])
        tensor([[3, 1, 4, 4, 0, 0]])
    """

    kind: ClassVar[str] = "sequence"


class TextConditionCodec(ConditionCodec):
    """Texts that a model is told, written byte by byte but for letters that are often: as they are, nothing left out.

    Token 0 is padding; each text is cut at the length, which is that of the longest, at most 512.

    Args:
        spelling: by letters.
        length: tokens of a text.

    Example:
        >>> codec = TextConditionCodec.fit(["Hello", "世界"])
        >>> codec.decode(codec.encode(["Hello", None])[0])
        ['Hello', '']
    """

    kind: ClassVar[str] = "texts"
    reads: ClassVar[str | None] = "text"

    def __init__(self, spelling: Letters, length: int) -> None:
        self.spelling, self.length = spelling, length
        self._codec = TextCodec(spelling, length)

    @classmethod
    def fit(cls, values: Sequence[str]) -> Self:
        """Take the letters that are often, and the longest text."""
        spelling = Letters.fit(values)
        return cls(spelling, min(512, max(len(spelling.spell(value)) for value in values)))

    def encode(self, values: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        """Return the tokens, (B, length) int64, and which items have a text."""
        present = torch.tensor([value is not None for value in values], dtype=torch.bool)
        return self._codec.unpack(self._codec.pack([value or "" for value in values])), present

    def decode(self, values: Tensor) -> list[str]:
        """Return the texts."""
        return self._codec.decode(values)

    def spec(self) -> dict[str, Any]:
        """Return `{"kind": "tokens", "vocabulary": v, "length": l}`; token 0 is padding."""
        return {"kind": "tokens", "vocabulary": self.spelling.size, "length": self.length}

    def config(self) -> dict[str, JSON]:
        """Return the letters and the length."""
        return {"spelling": self.spelling.config(), "length": self.length}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        return cls(Letters.from_config(config["spelling"]), config["length"])


def _around(parts: list[list[int]], room: int) -> list[list[int]]:
    """Known parts cut to a number of tokens: from both ends, so that what stands by the gaps is kept.

    Raises:
        UserError: what lies between the gaps alone is too long.
    """
    inner = sum(map(len, parts[1:-1]))
    if inner > room:
        raise UserError(f"the gaps are further apart than the {room} tokens that the model sees beside them")
    if len(parts) == 1:
        return [parts[0][:room]]
    room -= inner
    after = min(len(parts[-1]), max(room // 2, room - len(parts[0])))
    before = min(len(parts[0]), room - after)
    return [parts[0][len(parts[0]) - before :], *parts[1:-1], parts[-1][:after]]
