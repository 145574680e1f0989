"""Texts to numbers and back: by letters and bytes, by pieces learned from texts, or by a fixed alphabet."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from suffuse.codecs.base import JSON
from suffuse.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END = 0
"""The token behind the last one, and all after it."""
_FIRST = 1


class Spelling(ABC):
    """A text as a list of tokens from 1 to size - 1, and back; 0 is no part of a text."""

    kind: ClassVar[str]
    size: int
    """Number of tokens, with the one that ends a text."""

    @abstractmethod
    def spell(self, text: str) -> list[int]:
        """The tokens of a text.

        Raises:
            UserError: it cannot be written with them.
        """

    @abstractmethod
    def read(self, tokens: Sequence[int]) -> str:
        """The text of tokens; what is no text, as half a letter is, becomes U+FFFD."""

    @abstractmethod
    def config(self) -> dict[str, JSON]:
        """Return everything needed to rebuild this, as JSON values."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild what `config` described."""


class Letters(Spelling):
    """Every byte of UTF-8 is a token, and so are some letters of more than one byte.

    Args:
        letters: that are one token; without any, texts are written byte by byte.

    Example:
        >>> spelling = Letters.fit(["大漠孤烟直", "大江东去"], least=2)
        >>> spelling.letters, len(spelling.spell("大a江"))
        ('大', 5)
        >>> spelling.read(spelling.spell("大a江"))
        '大a江'
    """

    kind: ClassVar[str] = "letters"

    def __init__(self, letters: str = "") -> None:
        self.letters = letters
        self.size = _FIRST + 256 + len(letters)
        self._ids = {letter: _FIRST + 256 + place for place, letter in enumerate(letters)}

    @classmethod
    def fit(cls, texts: Iterable[str], least: int = 2) -> Self:
        """Take the letters that occur so often, the commonest first; those of one byte are tokens anyway."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        often = [letter for letter, count in counts.items() if count >= least and not letter.isascii()]
        return cls("".join(sorted(often, key=lambda letter: (-counts[letter], letter))))

    def spell(self, text: str) -> list[int]:
        """See the base class; a lone surrogate, which cannot be written, becomes a question mark."""
        tokens: list[int] = []
        for letter in text:
            known = self._ids.get(letter)
            tokens += [_FIRST + byte for byte in letter.encode("utf-8", "replace")] if known is None else [known]
        return tokens

    def read(self, tokens: Sequence[int]) -> str:
        """See the base class."""
        return b"".join(map(self._bytes, tokens)).decode("utf-8", "replace")

    def _bytes(self, token: int) -> bytes:
        if token >= _FIRST + 256:
            return self.letters[token - _FIRST - 256].encode()
        return bytes([token - _FIRST]) if token >= _FIRST else b""

    def config(self) -> dict[str, JSON]:
        """Return the letters."""
        return {"letters": self.letters}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild what `config` described."""
        return cls(config["letters"])


class Words(Spelling):
    """Pieces of words that byte-pair encoding has found in texts; every string can be written, if need be by bytes.

    Source: "Neural Machine Translation of Rare Words with Subword Units" (Sennrich, Haddow, Birch, 2016), over bytes.

    Args:
        table: the tokenizer, in the JSON of the ``tokenizers`` library.
    """

    kind: ClassVar[str] = "words"

    def __init__(self, table: str) -> None:
        tokenizer = _library()
        self.table = table
        self._tokenizer: Tokenizer = tokenizer.from_str(table)
        self.size = _FIRST + self._tokenizer.get_vocab_size()

    @classmethod
    def fit(cls, texts: Iterable[str], vocabulary: int) -> Self:
        """Learn the pieces from texts.

        Raises:
            UserError: the ``tokenizers`` library is missing.
        """
        made = _library()
        from tokenizers import decoders, models, pre_tokenizers, trainers

        tokenizer = made(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary - _FIRST, initial_alphabet=alphabet, show_progress=False, min_frequency=2
        )
        tokenizer.train_from_iterator((_writable(text) for text in texts), trainer)
        return cls(tokenizer.to_str())

    def spell(self, text: str) -> list[int]:
        """See the base class."""
        return [_FIRST + token for token in self._tokenizer.encode(_writable(text)).ids]

    def read(self, tokens: Sequence[int]) -> str:
        """See the base class."""
        return self._tokenizer.decode([token - _FIRST for token in tokens if token >= _FIRST])

    def config(self) -> dict[str, JSON]:
        """Return the tokenizer."""
        return {"table": self.table}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild what `config` described."""
        return cls(config["table"])


class Alphabet(Spelling):
    """One token for every symbol of a fixed alphabet; small letters are read as capitals.

    Args:
        symbols: the alphabet, capitals.
        name: of what, for messages.

    Example:
        >>> Alphabet("ACGT", "DNA").spell("gat")
        [3, 1, 4]
        >>> Alphabet("ACGT", "DNA").spell("GAXT")
        Traceback (most recent call last):
        ...
        suffuse.errors.UserError: 'X' at place 3 is no symbol of DNA (ACGT)
    """

    kind: ClassVar[str] = "alphabet"

    def __init__(self, symbols: str, name: str) -> None:
        self.symbols, self.name = symbols, name
        self.size = _FIRST + len(symbols)
        self._ids = {symbol: _FIRST + place for place, symbol in enumerate(symbols)}

    def spell(self, text: str) -> list[int]:
        """See the base class."""
        try:
            return [self._ids[symbol] for symbol in text.upper()]
        except KeyError as error:
            symbol = error.args[0]
            place = text.upper().index(symbol) + 1
            raise UserError(f"{symbol!r} at place {place} is no symbol of {self.name} ({self.symbols})") from None

    def read(self, tokens: Sequence[int]) -> str:
        """See the base class."""
        return "".join(self.symbols[token - _FIRST] for token in tokens if token >= _FIRST)

    def config(self) -> dict[str, JSON]:
        """Return the symbols and what they are of."""
        return {"symbols": self.symbols, "name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild what `config` described."""
        return cls(config["symbols"], config["name"])


SPELLINGS: dict[str, type[Spelling]] = {each.kind: each for each in (Letters, Words, Alphabet)}


def _library() -> "type[Tokenizer]":
    try:
        from tokenizers import Tokenizer
    except ImportError as missing:
        raise UserError("tokens of words need the tokenizers library: pip install 'suffuse[text]'") from missing
    return Tokenizer


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
