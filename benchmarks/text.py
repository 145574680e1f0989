"""Bits per character of a masked model of text, beside an autoregressive transformer of the same size.

    pip install -e '.[bench,demo]' && python benchmarks/text.py docs --minutes 10

Text: messages that people wrote to each other (the package chitchat-dataset), joined to one long text; the last 200,000
characters are held out. Both models see windows of 64 tokens, pieces of a vocabulary of 2,048 that was learned from the
text, with four blocks of width 128, AdamW, and as many minutes of training as are asked for. The autoregressive one is
a plain transformer with a causal mask; its bits are exact, those of the masked one a bound. Windows are scored each by
itself. Of some windows the masked model's exact likelihood is found too, token by token in a fixed order: to see if
its bound is loose. Writes text.json, and prints a table.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse import learn
from suffuse.codecs.spelling import Spelling
from suffuse.codecs.text import TextCodec
from suffuse.demos.texts import messages
from suffuse.model import Model
from suffuse.networks.layers import rotary, rotate
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe
from suffuse.training.config import TrainingConfig

LENGTH, WIDTH, DEPTH, HEADS, VOCABULARY = 64, 128, 4, 4, 2048
HELD_OUT, SCORED, IN_ORDER = 200_000, 100_000, 60
RATE, BATCH = 2e-3, 16


class Causal(nn.Module):
    """A transformer that predicts every token from those before it."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary + 1, WIDTH)
        nn.init.normal_(self.embed.weight, std=0.5)
        self.blocks = nn.ModuleList(CausalBlock() for _ in range(DEPTH))
        self.norm, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Negative log-probabilities (B, L) of tokens (B, L)."""
        start = x.new_full((len(x), 1), self.embed.num_embeddings - 1)
        h = self.embed(torch.cat([start, x[:, :-1]], 1))
        rotation = rotary([x.shape[1]], WIDTH // HEADS, h)
        for block in self.blocks:
            h = block(h, rotation)
        return F.cross_entropy(self.out(self.norm(h)).float().transpose(1, 2), x, reduction="none")


class CausalBlock(nn.Module):
    """Attention to what is before, then two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.mix = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        """Apply it to (B, L, width)."""
        q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (3, HEADS, -1)).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (rotate(q, rotation), rotate(k, rotation), v))
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        weights = (q * q.shape[-1] ** -0.5 @ k.transpose(2, 3)).masked_fill(later, -torch.inf).softmax(-1)
        x = x + self.mix((weights @ v).transpose(1, 2).flatten(2))
        return x + self.narrow(F.relu(self.wide(self.norms[1](x))))


def causal(tokens: Tensor, vocabulary: int, minutes: float) -> Causal:
    """Trained for so many minutes: warm-up, then a cosine."""
    torch.manual_seed(0)
    network = Causal(vocabulary)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.1)
    start, share = time.perf_counter(), 0.0
    while share < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(share / 0.03, 0.5 + 0.5 * math.cos(math.pi * share)) + 1e-6
        places = torch.randint(len(tokens) - LENGTH, (BATCH, 1)) + torch.arange(LENGTH)
        with torch.autocast("cpu", torch.bfloat16):
            loss = network(tokens[places]).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        share = (time.perf_counter() - start) / (60 * minutes)
    return network.eval()


@torch.no_grad()
def causal_bits(network: Causal, spelling: Spelling, pieces: list[str]) -> float:
    """Bits per character of pieces of at most so many tokens."""
    bits = 0.0
    for piece in pieces:
        tokens = torch.tensor([spelling.spell(piece)])
        bits += float(network(tokens).sum()) / math.log(2)
    return bits / sum(map(len, pieces))


@torch.no_grad()
def in_order(model: Model, pieces: list[str], order: Tensor) -> float:
    """Bits per character of the masked model's law of tokens that come to light one by one, in this order."""
    x0, bits = model.codec.encode(pieces), 0.0
    assert isinstance(x0, Tensor)
    for place in range(len(order)):
        hidden = torch.zeros(len(order), dtype=torch.bool).index_fill(0, order[place:], True)
        x_t = x0.masked_fill(hidden, model.codec.vocabulary)
        with model.precision():
            log_prob = model.denoiser(x_t, hidden.double().mean()).log_prob(x0)
        bits -= float(log_prob[:, order[place]].sum()) / math.log(2)
    return bits / sum(map(len, pieces))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    asked = parser.parse_args()
    text = "\n\n".join(messages()["text"])
    train, test = text[:-HELD_OUT], text[-HELD_OUT:][:SCORED]
    folder = Path(tempfile.mkdtemp())
    (folder / "train.txt").write_text(train, encoding="utf-8")
    recipe = Recipe(
        data=DataSection(tokens="words", vocabulary=VOCABULARY, length=LENGTH),
        network=NetworkSection(width=WIDTH, depth=DEPTH, heads=HEADS),
        training=TrainingConfig(
            batch=BATCH, learning_rate=RATE, weight_decay=0.1, precision="bf16", held_out=0.01, minutes=asked.minutes
        ),
    )
    model = learn.train(folder / "train.txt", recipe, folder / "run")
    assert isinstance(model.codec, TextCodec)
    spelling = model.codec.spelling
    pieces = model.codec.pieces(test)
    nats = sum(score.nats for score in model.score(pieces, evaluations=64))
    masked = -nats / math.log(2) / sum(map(len, pieces))
    whole = [piece for piece in pieces if len(spelling.spell(piece)) == LENGTH][:IN_ORDER]
    orders = {
        "from left to right": torch.arange(LENGTH),
        "in a random order": torch.randperm(LENGTH, generator=torch.Generator().manual_seed(0)),
    }
    exactly = {f"masked, {name}": in_order(model, whole, order) for name, order in orders.items()}
    tokens = torch.tensor([token for part in _parts(train) for token in spelling.spell(part)])
    network = causal(tokens, spelling.size, asked.minutes)
    exact = causal_bits(network, spelling, pieces)
    found: dict[str, Any] = {
        "minutes": asked.minutes,
        "threads": torch.get_num_threads(),
        "masked, a bound": masked,
        **exactly,
        "autoregressive": exact,
        "ratio": masked / exact,
        "parameters": [sum(p.numel() for p in each.parameters()) for each in (model.denoiser, network)],
    }
    asked.folder.mkdir(parents=True, exist_ok=True)
    (asked.folder / "text.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("  ".join(f"{name} {value}" for name, value in found.items()))


def _parts(text: str, size: int = 2**16) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


if __name__ == "__main__":
    main()
