"""Models of the rows of tables."""

from collections.abc import Mapping
from typing import Any

from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.cells import CategoryCells, Cells, ConstantCells, DateCells, NumberCells
from suffuse.codecs.table import NUMBERS, TOKENS, Field, TableCodec
from suffuse.data.base import Source
from suffuse.data.columns import LEFT_OUT, Column
from suffuse.data.report import Report
from suffuse.data.rows import RowSource, TableReport
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.networks import Mixed
from suffuse.objectives import EachWeight, ELBOWeight, Objective, Weight
from suffuse.parameterizations import Each, Logits, Parameterization
from suffuse.patterns import Scattered
from suffuse.processes import Discrete, Process, Product
from suffuse.recipes.build import (
    build_dropout,
    build_form,
    build_process,
    build_time_law,
    build_weight,
    network_conditions,
)
from suffuse.recipes.kind import Kind, fill
from suffuse.recipes.recipe import Recipe

_SAMPLE = 200_000
"""Rows that quantiles are taken from."""


class TableKind(Kind):
    """Rows: numbers by a Gaussian process, and all else by masked tokens, in one product."""

    def filled(self, recipe: Recipe) -> Recipe:
        """See the base class."""
        if recipe.network.network not in (None, "mlp"):
            raise UserError(f"a table is learned by an mlp, not by a {recipe.network.network}; leave out --network")
        return recipe.model_copy(
            update={
                "data": fill(recipe.data, kind="table"),
                "network": fill(recipe.network, network="mlp", width=256, depth=4, network_dropout=0.0),
                "process": fill(recipe.process, noise_schedule="flow"),
                "objective": fill(recipe.objective, time_law="uniform", weight="edm", learned_weight=False, given=0.7),
                "sampling": fill(recipe.sampling, sampling_steps=64),
            }
        )

    def completed(self, recipe: Recipe, source: Source, report: Report) -> Recipe:
        """Nothing else is left open.

        Raises:
            UserError: no column is of more than one value.
        """
        assert isinstance(report, TableReport)
        columns, target = report.columns, recipe.data.target
        if all(column.role in (*LEFT_OUT, "constant") for column in columns):
            first = f"{columns[0].name}, for one, is {columns[0].role}"
            raise UserError(f"no column of {source.name} says anything: {first}")
        if target is not None:
            source.column(target)
        return self.filled(recipe)

    def codec(self, recipe: Recipe, source: Source, report: Report) -> TableCodec:
        """The columns that say something, but for those that are told as conditions."""
        assert isinstance(source, RowSource)
        assert isinstance(report, TableReport)
        told, target = recipe.data.condition, recipe.data.target
        kept = [each for each in report.columns if each.name not in told]
        fields = [_field(each, source) for each in kept if each.role not in LEFT_OUT or each.name == target]
        return TableCodec(fields, target)

    def denoiser(
        self, recipe: Recipe, codec: Codec, conditions: Mapping[str, ConditionCodec], sigma_data: float
    ) -> Denoiser:
        """See the base class."""
        assert isinstance(codec, TableCodec)
        recipe = self.filled(recipe)
        assert recipe.network.width is not None
        assert recipe.network.depth is not None
        processes: dict[str, Process[Any]] = {}
        forms: dict[str, Parameterization] = {}
        if NUMBERS in codec.shape:
            processes[NUMBERS], forms[NUMBERS] = (
                build_process(recipe.process),
                build_form(recipe.process, sigma_data),
            )
        if TOKENS in codec.shape:
            count = max(codec.sizes)
            masked = recipe.process.jumps == "masked"
            processes[TOKENS] = Discrete.masked(count) if masked else Discrete.uniform(count)
            forms[TOKENS] = Logits()
        network = Mixed(
            codec.count,
            codec.sizes,
            width=recipe.network.width,
            depth=recipe.network.depth,
            conditions=network_conditions(conditions),
            dropout=recipe.network.network_dropout or 0.0,
        )
        return Denoiser(network, Product(processes), Each(forms))

    def objective(self, recipe: Recipe, form: Parameterization) -> Objective:
        """Of both leaves together; some cells are shown clean, so that others can be asked for."""
        recipe = self.filled(recipe)
        assert isinstance(form, Each)
        parts: dict[str, Weight] = {
            name: ELBOWeight() if name == TOKENS else build_weight(recipe.objective, part)
            for name, part in form.parts.items()
        }
        pattern = Scattered(recipe.objective.given) if recipe.objective.given else None
        return Objective(build_time_law(recipe), EachWeight(parts), None, build_dropout(recipe.objective), pattern)


def _field(column: Column, source: RowSource) -> Field:
    """The codec of a column, fitted to its values; quantiles to a sample of them."""
    values = source.table.column(column.name)
    if column.role in ("number", "integer", "date"):
        sample = source.take(range(0, len(source), -(-len(source) // _SAMPLE)), [column.name]).column(0).drop_null()
        known: list[Any] = (sample if len(sample) else values.drop_null()).to_pylist()
        cells: Cells = DateCells.fit(known) if column.role == "date" else NumberCells.fit(_finite(known))
    elif column.role == "constant":
        cells = ConstantCells(values[0].as_py())
    else:
        counts: list[dict[str, Any]] = values.value_counts().to_pylist()
        known = [each for each in counts if each["values"] is not None]
        cells = CategoryCells([each["values"] for each in sorted(known, key=_commonest_first)])
    source.give_back()
    return Field(column.name, cells, column.missing > 0 and column.role != "constant")


def _commonest_first(count: dict[str, Any]) -> tuple[int, str]:
    return -count["counts"], str(count["values"])


def _finite(values: list[Any]) -> list[Any]:
    """Without what is no number; decimals of the database kind as floats."""
    return [value if isinstance(value, int) else float(value) for value in values if abs(value) < float("inf")]
