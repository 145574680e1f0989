"""Models of texts and of sequences of symbols."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.spelling import Alphabet, Letters, Spelling, Words
from suffuse.codecs.text import SequenceCodec, TextCodec, TextConditionCodec, TokenCodec
from suffuse.data.base import Source
from suffuse.data.report import Report
from suffuse.data.texts import ColumnSource, TextReport, TextSource
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.networks import TokenTransformer
from suffuse.objectives import Objective
from suffuse.parameterizations import Logits, Parameterization
from suffuse.processes import Discrete
from suffuse.recipes.build import build_objective, network_conditions
from suffuse.recipes.kind import Kind, fill
from suffuse.recipes.recipe import Recipe

_CLASSES = 100
"""More different texts than this are no classes."""
_LONGEST = 8
"""Windows that are kept of a long item."""
_FITTED = 2**24
"""Characters that letters and words are learned from."""
ALPHABETS = {
    "DNA": "ACGTNRYSWKMBDHV",
    "RNA": "ACGUNRYSWKMBDHV",
    "protein": "ACDEFGHIKLMNPQRSTVWYXBZJUO*-",
}
"""Symbols with their ambiguity codes, by what they are of."""


class TokenKind(Kind):
    """Rows of tokens: a masked process, and a transformer that looks both ways."""

    name: Literal["text", "sequence"]

    def filled(self, recipe: Recipe) -> Recipe:
        """See the base class."""
        if recipe.network.network not in (None, "transformer"):
            raise UserError(
                f"tokens are learned by a transformer, not by a {recipe.network.network}; leave out --network"
            )
        return recipe.model_copy(
            update={
                "data": fill(recipe.data, kind=self.name),
                "network": fill(recipe.network, network="transformer", width=128, depth=4, network_dropout=0.0),
                "objective": fill(recipe.objective, time_law="uniform", weight="elbo", learned_weight=False, given=0.0),
                "sampling": fill(recipe.sampling, sampling_steps=min(recipe.data.length or 128, 128)),
            }
        )

    def completed(self, recipe: Recipe, source: Source, report: Report) -> Recipe:
        """The length is that of the longest item, at most 128 where that is longer."""
        assert isinstance(report, TextReport)
        told, tokens = recipe.data.condition or _told(source, recipe.data.target), recipe.data.tokens
        longest = report.longest if tokens != "words" else -(-report.longest // 3)
        length = min(128, -(-(longest + 1) // 8) * 8)
        data = fill(recipe.data, length=length, tokens="characters").model_copy(update={"condition": told})
        return self.filled(recipe.model_copy(update={"data": data}))

    def condition(self, values: Sequence[Any]) -> ConditionCodec | None:
        """Texts that are told are written letter by letter, as the items are."""
        texts = [value for value in values if isinstance(value, str)]
        return TextConditionCodec.fit(texts) if len(set(texts)) > _CLASSES else None

    def codec(self, recipe: Recipe, source: Source, report: Report) -> TokenCodec:
        """Fitted to the texts."""
        assert isinstance(source, TextSource)
        assert isinstance(report, TextReport)
        assert recipe.data.length is not None
        spelling = self.spelling(recipe, source, report)
        longest = min(_LONGEST * recipe.data.length, self.bound(report.longest))
        return self.of(spelling, recipe.data.length, longest)

    @abstractmethod
    def spelling(self, recipe: Recipe, source: TextSource, report: TextReport) -> Spelling:
        """How items are written."""

    @abstractmethod
    def bound(self, characters: int) -> int:
        """The most tokens that so many characters can be."""

    @abstractmethod
    def of(self, spelling: Spelling, length: int, longest: int) -> TokenCodec:
        """The codec."""

    def denoiser(
        self, recipe: Recipe, codec: Codec, conditions: Mapping[str, ConditionCodec], sigma_data: float
    ) -> Denoiser:
        """See the base class."""
        assert isinstance(codec, TokenCodec)
        recipe = self.filled(recipe)
        assert recipe.network.width is not None
        assert recipe.network.depth is not None
        network = TokenTransformer(
            codec.vocabulary,
            width=recipe.network.width,
            depth=recipe.network.depth,
            heads=recipe.network.heads,
            conditions=network_conditions(conditions),
            dropout=recipe.network.network_dropout or 0.0,
        )
        masked = recipe.process.jumps == "masked"
        process = Discrete.masked(codec.vocabulary) if masked else Discrete.uniform(codec.vocabulary)
        return Denoiser(network, process, Logits(), codec.shape)

    def objective(self, recipe: Recipe, form: Parameterization) -> Objective:
        """The bound."""
        return build_objective(self.filled(recipe), form)

    def infills(self, recipe: Recipe) -> bool:
        """What is not hidden is known, so that a masked model infills by nature."""
        return recipe.process.jumps == "masked"


class TextKind(TokenKind):
    """Texts of any language."""

    name = "text"

    def spelling(self, recipe: Recipe, source: TextSource, report: TextReport) -> Spelling:
        """Bytes, letters or words."""
        if recipe.data.tokens == "words":
            return Words.fit(_some(source, report), recipe.data.vocabulary)
        return Letters.fit(_some(source, report)) if recipe.data.tokens == "characters" else Letters()

    def bound(self, characters: int) -> int:
        """Four bytes for a letter."""
        return 4 * characters

    def of(self, spelling: Spelling, length: int, longest: int) -> TextCodec:
        """See the base class."""
        return TextCodec(spelling, length, longest)


class SequenceKind(TokenKind):
    """DNA, RNA and proteins."""

    name = "sequence"

    def spelling(self, recipe: Recipe, source: TextSource, report: TextReport) -> Spelling:
        """The first alphabet that has all symbols that occur.

        Raises:
            UserError: none has; names the item and the place of the first symbol that no alphabet has.
        """
        found = {symbol.upper() for symbol in report.alphabet}
        best = min(ALPHABETS, key=lambda name: len(found - set(ALPHABETS[name])))
        spelling = Alphabet("".join(s for s in ALPHABETS[best] if s in found or s in ALPHABETS[best][:4]), best)
        whole = Alphabet(ALPHABETS[best], best)
        for position in report.keep if found - set(ALPHABETS[best]) else ():
            try:
                whole.spell(source.raw([position])[0])
            except UserError as error:
                raise UserError(f"{source.names([position])[0]} of {source.name}: {error}; mend it") from None
        return spelling

    def bound(self, characters: int) -> int:
        """One for each."""
        return characters

    def of(self, spelling: Spelling, length: int, longest: int) -> SequenceCodec:
        """See the base class."""
        return SequenceCodec(spelling, length, longest)


def _told(source: Source, target: str | None) -> tuple[str, ...]:
    """What a model is told where that is not said: the label that it is to predict, or the text to write from."""
    if target is not None and target in source.fields:
        return (target,)
    if isinstance(source, ColumnSource) and source.column_name in ("target", target):
        return tuple(name for name in source.fields if name == "source") or source.fields[:1]
    return ()


def _some(source: TextSource, report: TextReport) -> Iterator[str]:
    """Texts from all over the source, up to a bound."""
    step = max(1, report.letters // _FITTED)
    for position in report.keep[::step]:
        yield from source.raw([position])
