"""Prompts: texts to the embeddings that a network was trained with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from suffuse.codecs.base import JSON, ConditionCodec
from suffuse.errors import UserError
from suffuse.interop.diffusers.networks import SD3, Adapter, Flux, LargeTextUNet, packed

Reader = Callable[[list[str]], Tensor]
"""Texts to (B, ...) embeddings."""
ENCODERS = ("tokenizer", "text_encoder")
"""The parts that read a prompt, one or several of each."""
_LONG = {SD3: 256, Flux: 512}
"""Tokens of the long reading of a prompt, where there is one."""


class Prompts(ConditionCodec):
    """Any text, as their text encoders read it; equal texts are read once.

    Args:
        read: texts to (B, ...) embeddings.
        length: tokens of a prompt; a longer one is cut there.
        vocabulary: tokens that are known.
    """

    kind: ClassVar[str] = "prompts"

    def __init__(self, read: Reader, length: int, vocabulary: int) -> None:
        self.read, self.length, self.vocabulary = read, length, vocabulary

    def encode(self, values: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """The embeddings, (B, ...), and which items have a prompt.

        Raises:
            UserError: a prompt is no text.
        """
        wrong = [value for value in values if not isinstance(value, str | None)]
        if wrong:
            raise UserError(f"a prompt must be text, and not {wrong[0]!r}")
        texts = [value or "" for value in values]
        distinct = list(dict.fromkeys(texts))
        rows = torch.tensor([distinct.index(text) for text in texts], dtype=torch.long)
        embedded = self.read(distinct)
        return embedded[rows.to(embedded.device)], torch.tensor([value is not None for value in values])

    def decode(self, values: Tensor) -> list[str]:
        """Refused: an embedding does not say its text."""
        raise UserError("the text of a prompt cannot be read back from its embedding; keep the text")

    def spec(self) -> dict[str, Any]:
        """Return `{"kind": "prompts", "vocabulary": v, "length": l}`."""
        return {"kind": self.kind, "vocabulary": self.vocabulary, "length": self.length}

    def config(self) -> dict[str, JSON]:
        """Refused: the text encoders stay in the folder they came from."""
        raise UserError("the text encoders of a model trained elsewhere are not saved; keep the folder they came from")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Refused, as `config` is."""
        raise UserError("the text encoders of a model trained elsewhere are read from its own folder")


@dataclass(frozen=True)
class Tower:
    """A tokenizer and its text encoder."""

    tokenizer: Any
    encoder: Any
    length: int

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> Any:
        """What the encoder gives for these texts, padded or cut to the length; all its layers are there."""
        tokens = self.tokenizer(
            texts, padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        masked = self.encoder.config.to_dict().get("use_attention_mask")
        mask = tokens.attention_mask.to(self.encoder.device) if masked else None
        return self.encoder(tokens.input_ids.to(self.encoder.device), attention_mask=mask, output_hidden_states=True)


def prompts(adapter: type[Adapter], parts: Mapping[str, Any], width: int) -> Prompts:
    """The codec of prompts for a kind of network.

    Args:
        adapter: the kind.
        parts: their tokenizers and text encoders, by the names of the folder.
        width: of the embeddings; only needed where an encoder may be missing.

    Raises:
        UserError: a text encoder or its tokenizer is missing.
    """
    first = _tower(parts, "")
    if adapter is LargeTextUNet:
        towers = [first, _tower(parts, "_2")]
        return Prompts(lambda texts: _two(towers, texts), first.length, len(first.tokenizer))
    if adapter is SD3:
        towers = [first, _tower(parts, "_2", first.length)]
        third = _tower(parts, "_3", _LONG[SD3]) if parts.get("text_encoder_3") is not None else None
        return Prompts(lambda texts: _three(towers, third, texts, width), _LONG[SD3], len(first.tokenizer))
    if adapter is Flux:
        long = _tower(parts, "_2", _LONG[Flux])
        return Prompts(
            lambda texts: packed(long(texts)[0], first(texts).pooler_output), long.length, len(long.tokenizer)
        )
    return Prompts(lambda texts: first(texts)[0], first.length, len(first.tokenizer))


def _tower(parts: Mapping[str, Any], number: str, length: int | None = None) -> Tower:
    tokenizer, encoder = (parts.get(name + number) for name in ENCODERS)
    if tokenizer is None or encoder is None:
        raise UserError(f"this model reads prompts, and its tokenizer{number} or text_encoder{number} is missing")
    return Tower(tokenizer, encoder.eval(), length or tokenizer.model_max_length)


def _two(towers: Sequence[Tower], texts: list[str]) -> Tensor:
    """Last hidden layers but one, side by side, and the last summary."""
    out = [tower(texts) for tower in towers]
    return packed(torch.cat([each.hidden_states[-2] for each in out], -1), out[-1][0])


def _three(towers: Sequence[Tower], third: Tower | None, texts: list[str], width: int) -> Tensor:
    """Two readings side by side, made as wide as the third, which follows them; and both summaries."""
    out = [tower(texts) for tower in towers]
    short = torch.cat([each.hidden_states[-2] for each in out], -1)
    long = short.new_zeros(len(texts), _LONG[SD3], width) if third is None else third(texts)[0]
    prompt = torch.cat([pad(short, (0, width - short.shape[-1])), long], 1)
    return packed(prompt, torch.cat([each[0] for each in out], -1))
