"""What a user says about an item, as numbers a network reads: classes by name, numbers, captions by word."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from suffuse.codecs.base import JSON, ConditionCodec
from suffuse.errors import UserError


class ClassCodec(ConditionCodec):
    """Names of classes to their places in a fixed list.

    A label is compared by its text, so that the integer 3 and the string "3" are one class; an integer is
    never an index into the names.

    Args:
        names: the classes, each once.
        counts: how many items had each, where that is known.

    Raises:
        UserError: there is no name, or one is there twice.

    Example:
        >>> codec = ClassCodec.fit(["dog", "cat", None, "dog"])
        >>> codec.names
        ('cat', 'dog')
        >>> codec.encode(["dog", None])
        (tensor([1, 0]), tensor([ True, False]))
        >>> codec.encode(["dgo"])
        Traceback (most recent call last):
        ...
        suffuse.errors.UserError: there is no class 'dgo'; did you mean 'dog'? (2 classes: cat, dog)
    """

    kind: ClassVar[str] = "classes"

    def __init__(self, names: Sequence[str], counts: Sequence[int] = ()) -> None:
        self.names, self.counts = tuple(names), tuple(counts)
        self._ids = {name: place for place, name in enumerate(self.names)}
        if not self.names:
            raise UserError("no item has a class; label at least one, or train without classes")
        if len(self._ids) < len(self.names):
            twice = Counter(self.names).most_common(1)[0][0]
            raise UserError(f"the class {twice!r} is named twice; name every class once")

    @classmethod
    def fit(cls, values: Iterable[str | int | None]) -> Self:
        """Take the distinct labels, numbers in the order of numbers and others as a person would sort them."""
        counts = Counter(_text(value) for value in values if value is not None)
        names = sorted(counts, key=_numeric if all(map(_is_number, counts)) else _natural)
        return cls(names, [counts[name] for name in names])

    def encode(self, values: Sequence[str | int | None]) -> tuple[Tensor, Tensor]:
        """Return the places, (B,) int64 in [0, count), and which items have a label; None has place 0.

        Raises:
            UserError: a label is none of the names.
        """
        ids = [0 if value is None else self._id(_text(value)) for value in values]
        return torch.tensor(ids, dtype=torch.long), _present(values)

    def decode(self, values: Tensor) -> list[str]:
        """Return the names at these places."""
        return [self.names[place] for place in values.tolist()]

    def knows(self, value: Any) -> bool:
        """Whether it is the name of a class."""
        return value is not None and _text(value) in self._ids

    def candidates(self) -> list[str]:
        """The names."""
        return list(self.names)

    def frequencies(self) -> list[float]:
        """Share of each class."""
        return [count / sum(self.counts) for count in self.counts]

    def examples(self, n: int) -> list[str]:
        """Return every class in turn."""
        return [self.names[i % len(self.names)] for i in range(n)]

    def spec(self) -> dict[str, Any]:
        """Return `{"kind": "classes", "count": n}`."""
        return {"kind": self.kind, "count": len(self.names)}

    def config(self) -> dict[str, JSON]:
        """Return the names, and how many items had each."""
        return {"names": list(self.names), "counts": list(self.counts)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described; before there were counts, it had none."""
        return cls(config["names"], config.get("counts", ()))

    def _id(self, name: str) -> int:
        if name in self._ids:
            return self._ids[name]
        near = get_close_matches(name, self.names, n=1) or get_close_matches(name.lower(), self.names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        shown = ", ".join(self.names[:20]) + (", …" if len(self.names) > 20 else "")
        raise UserError(f"there is no class {name!r}; {hint}({len(self.names)} classes: {shown})")


class NumberCodec(ConditionCodec):
    """Numbers, less their mean and over their deviation.

    Numbers are taken as such or as text, in plain or exponential notation.

    Args:
        mean: of the numbers.
        deviation: of the numbers, positive.

    Raises:
        UserError: there is no number, or one is no finite number.

    Example:
        >>> codec = NumberCodec.fit([10.0, None, "30"])
        >>> codec.encode([40, None])
        (tensor([[2.],
                [0.]]), tensor([ True, False]))
        >>> codec.decode(torch.tensor([[2.0]]))
        ['40']
    """

    kind: ClassVar[str] = "number"

    def __init__(self, mean: float, deviation: float) -> None:
        self.mean, self.deviation = mean, deviation

    @classmethod
    def fit(cls, values: Iterable[float | str | None]) -> Self:
        """Take mean and deviation of the numbers that are there; of numbers that are all alike the deviation is 1."""
        numbers = torch.tensor([_finite(value) for value in values if value is not None], dtype=torch.float64)
        if not len(numbers):
            raise UserError("no item has a number; give one to at least one item, or train without it")
        return cls(float(numbers.mean()), float(numbers.std(correction=0)) or 1.0)

    def encode(self, values: Sequence[float | str | None]) -> tuple[Tensor, Tensor]:
        """Return the numbers, (B, 1) float32, and which items have one; None is 0.

        Raises:
            UserError: one is no finite number.
        """
        numbers = [self.mean if value is None else _finite(value) for value in values]
        scaled = (torch.tensor(numbers, dtype=torch.float64) - self.mean) / self.deviation
        return scaled[:, None].float(), _present(values)

    def decode(self, values: Tensor) -> list[str]:
        """Return the numbers, to six digits."""
        return [f"{number:.6g}" for number in (values[:, 0].double() * self.deviation + self.mean).tolist()]

    def knows(self, value: Any) -> bool:
        """Whether it is a finite number."""
        return value is not None and _is_number(str(value))

    def examples(self, n: int) -> list[float]:
        """Return numbers that are spread as evenly over a normal law of this mean and deviation."""
        places = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        return (self.mean + self.deviation * torch.special.ndtri(places)).tolist()

    def spec(self) -> dict[str, Any]:
        """Return `{"kind": "vector", "size": 1}`."""
        return {"kind": "vector", "size": 1}

    def config(self) -> dict[str, JSON]:
        """Return mean and deviation."""
        return {"mean": self.mean, "deviation": self.deviation}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        return cls(config["mean"], config["deviation"])


def are_numbers(values: Iterable[Any]) -> bool:
    """Whether all values are finite numbers, as such or as text; truth values are none.

    Example:
        >>> are_numbers([1, "2.5"]), are_numbers(["1", "one"]), are_numbers([True])
        (True, False, False)
    """
    return all(not isinstance(value, bool) and _is_number(str(value)) for value in values)


def _finite(value: Any) -> float:
    if not _is_number(str(value)):
        raise UserError(f"{value!r} is no finite number, which this condition takes")
    return float(value)


class CaptionCodec(ConditionCodec):
    """Short texts to sequences of words, with a way to spell what is no word.

    A caption is lower-cased, brought to Unicode's NFC, and its white space made single spaces. It is then cut
    into words (each with the space before it) and single other signs. A piece in the vocabulary is one token;
    any other is spelled by known letters and, failing that, by the bytes of UTF-8, so that every caption can
    be written and `decode` gives back what the first sentence left. Tokens: 0 pads, 1 starts every caption
    (an empty caption is so not a missing one), 2 … 257 are the bytes, then follow the pieces.

    Args:
        pieces: words and letters that are one token each.
        length: tokens per caption; a longer caption is cut there, a shorter one padded.

    Example:
        >>> codec = CaptionCodec.fit(["big cat", "big dog", "a cat"])
        >>> codec.pieces
        (' big', ' cat')
        >>> tokens, present = codec.encode(["Big  CAT", None])
        >>> tokens[:, :4], present
        (tensor([[  1, 258, 259,   0],
                [  0,   0,   0,   0]]), tensor([ True, False]))
        >>> codec.decode(tokens)
        ['big cat', '']
    """

    kind: ClassVar[str] = "captions"
    reads: ClassVar[str | None] = "text"

    def __init__(self, pieces: Sequence[str], length: int) -> None:
        self.pieces, self.length = tuple(pieces), length
        self._ids = {piece: _FIRST_PIECE + place for place, piece in enumerate(self.pieces)}

    @classmethod
    def fit(cls, values: Iterable[str | None], words: int = 8192) -> Self:
        """Take as pieces what occurs at least twice, the commonest first, at most `words` words and as many letters.

        The length is that of the longest caption, at least 16, at most 256, in steps of 8.

        Raises:
            UserError: no item has a caption.
        """
        captions = [normalise(value) for value in values if value is not None]
        if not captions:
            raise UserError("no item has a caption; caption at least one, or train without captions")
        seen = Counter(piece for caption in captions for piece in _split(caption) if len(piece) > 1)
        letters = Counter(letter for caption in captions for letter in caption if not letter.isascii())
        bare = cls(_common(seen, words) + _common(letters, words), 0)
        longest = max(len(bare._tokens(caption)) for caption in captions)
        return cls(bare.pieces, min(max(16, -(-longest // 8) * 8), 256))

    def encode(self, values: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        """Return the tokens, (B, length) int64, and which items have a caption."""
        tokens = torch.zeros((len(values), self.length), dtype=torch.long)
        for row, value in zip(tokens, values, strict=True):
            if value is not None:
                ids = self._tokens(normalise(value))[: self.length]
                row[: len(ids)] = torch.tensor(ids)
        return tokens, _present(values)

    def decode(self, values: Tensor) -> list[str]:
        """Return the captions as `normalise` left them; a letter that was cut in two becomes U+FFFD."""
        return [b"".join(map(self._bytes, row)).decode("utf-8", "replace").removeprefix(" ") for row in values.tolist()]

    def spec(self) -> dict[str, Any]:
        """Return `{"kind": "tokens", "vocabulary": v, "length": l}`; token 0 is padding."""
        return {"kind": "tokens", "vocabulary": _FIRST_PIECE + len(self.pieces), "length": self.length}

    def config(self) -> dict[str, JSON]:
        """Return the pieces and the length."""
        return {"pieces": list(self.pieces), "length": self.length}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        return cls(config["pieces"], config["length"])

    def _tokens(self, caption: str) -> list[int]:
        return [_START, *(token for piece in _split(caption) for token in self._spell(piece))]

    def _spell(self, piece: str) -> list[int]:
        """A piece as one token, else letter by letter, else byte by byte."""
        if piece in self._ids:
            return [self._ids[piece]]
        if len(piece) > 1:
            return [token for letter in piece for token in self._spell(letter)]
        return [_FIRST_BYTE + byte for byte in piece.encode()]

    def _bytes(self, token: int) -> bytes:
        if token >= _FIRST_PIECE:
            return self.pieces[token - _FIRST_PIECE].encode()
        return bytes([token - _FIRST_BYTE]) if token >= _FIRST_BYTE else b""


_START, _FIRST_BYTE, _FIRST_PIECE = 1, 2, 258
_PIECE = re.compile(r" ?\w+| ?[^\w ]")


def normalise(caption: object) -> str:
    r"""Lower-case a caption, bring it to NFC and make its white space single spaces.

    Example:
        >>> normalise("  Cafe\u0301 au\tLAIT ")
        'café au lait'

    Raises:
        UserError: what should be a caption is no text.
    """
    if not isinstance(caption, str):
        raise UserError(f"a caption must be text, and not {caption!r}; name a field that holds texts")
    written = caption.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written: "?"
    return " ".join(unicodedata.normalize("NFC", written.lower()).split())


def _split(caption: str) -> list[str]:
    """Cut into pieces; the leading space makes the first word the same piece as that word elsewhere."""
    return _PIECE.findall(" " + caption) if caption else []


def _common(counts: Counter[str], limit: int) -> list[str]:
    """What was counted at least twice, commonest first, ties by the alphabet."""
    twice = [piece for piece, count in counts.items() if count > 1]
    return sorted(twice, key=lambda piece: (-counts[piece], piece))[:limit]


def _present(values: Sequence[Any]) -> Tensor:
    return torch.tensor([value is not None for value in values], dtype=torch.bool)


def _text(label: object) -> str:
    """The name of a label; a whole float, which is what a column of integers with gaps becomes, as its integer."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def _numeric(name: str) -> tuple[float, str]:
    """Sort key under which "-1" comes before "0" and "10" after "9.5"."""
    return (float(name), name)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which "size 10" comes after "size 9"."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts] + [(2, 0, name)]
