"""The model: what a user holds. Codec, denoiser and recipe, with the verbs as methods."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import suffuse
from suffuse import editing, grids
from suffuse.calibration import Calibration
from suffuse.classification import Answers, Classes, classify
from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.features import features
from suffuse.files import write_folder
from suffuse.filling import fill
from suffuse.guidance import ClassifierFree
from suffuse.likelihood import METHODS, Score, fit_temperature, joined, score
from suffuse.operators import Operator
from suffuse.pictures import signed
from suffuse.precision import arithmetic
from suffuse.processes import Gaussian
from suffuse.recipes.kind import Kind
from suffuse.recipes.recipe import Recipe, SamplingSection
from suffuse.recipes.registry import KINDS
from suffuse.restoring import Restored, restore
from suffuse.rng import Streams
from suffuse.samplers import SAMPLERS, Sampler, Tuned, default, sample
from suffuse.shared_prior import carry_items
from suffuse.solvers import Solvers
from suffuse.translating import likeliest, translate
from suffuse.tree import PRESENT, State, concatenate, empty, leaves, map_leaves
from suffuse.tuning import Tuning, fit, items_to_tune

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT = 1
"""Version of the folder that a model is saved as."""
_LEAST, _MOST, _ELEMENTS, _MOST_ELEMENTS = 64, 1024, 2**16, 2**24
"""Items that are walked at once: as many as have so many elements, within bounds, of which that for memory is last."""

Value = int | float | str | None
"""What a condition may be asked to be: the name or number of a class, a number, or a caption."""


@dataclass(frozen=True)
class Origin:
    """Where a model comes from; written into its card and into every file that it makes."""

    name: str = "untitled"
    data: str = ""
    images: int = 0
    seconds: float = 0.0
    sigma_data: float = 0.5
    version: str = field(default_factory=lambda: suffuse.__version__)


class Model:
    """A trained diffusion model of one kind of data, with its verbs.

    Args:
        codec: raw data to states and back.
        conditions: codec of each condition that the model can be told.
        recipe: the choices it was made by; None for a model trained elsewhere, which has its denoiser and sampling.
        origin: where it comes from.
        denoiser: the trained denoiser; by default one with fresh weights.
        sampling: how it samples unless told otherwise; by default as the recipe says.
        solvers: that were tuned to it.
        calibration: of its probabilities of classes.
    """

    def __init__(
        self,
        codec: Codec,
        conditions: Mapping[str, ConditionCodec],
        recipe: Recipe | None,
        origin: Origin,
        denoiser: Denoiser | None = None,
        sampling: SamplingSection | None = None,
        solvers: Solvers | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.codec, self.conditions, self.origin = codec, dict(conditions), origin
        self._recipe = None if recipe is None else KINDS[recipe.data.kind or codec.kind].filled(recipe)
        self.sampling = sampling or self.recipe.sampling
        self.denoiser = denoiser or self._kind.denoiser(self.recipe, codec, self.conditions, origin.sigma_data)
        self.solvers = solvers or Solvers(origin.images)
        self.calibration = calibration or Calibration(images=origin.images)

    @property
    def _kind(self) -> Kind:
        return KINDS[self.recipe.data.kind or self.codec.kind]

    @property
    def recipe(self) -> Recipe:
        """The choices it was made by.

        Raises:
            UserError: it was trained elsewhere.
        """
        if self._recipe is None:
            raise UserError(f"{self.origin.name} was trained elsewhere and has no recipe; keep the folder it came from")
        return self._recipe

    def generate(
        self,
        n: int = 16,
        *,
        condition: Value | Sequence[Value] | Mapping[str, Value | Sequence[Value]] = None,
        steps: int | None = None,
        guidance: float | None = None,
        sampler: str | None = None,
        seed: int | Sequence[int] = 0,
        size: int | Sequence[int] | None = None,
        seamless: bool = False,
        regions: Sequence[tuple[Any, Any]] = (),
        progress: Callable[[int, int], None] | None = None,
        callback: Callable[[int, Tensor, State], None] | None = None,
    ) -> Any:
        """Draw new samples. A sample is a function of its seed alone, whatever is drawn beside it.

        Args:
            n: how many.
            condition: a class or caption for all, or a sequence of n; for several conditions a mapping of these.
            steps: evaluations of the network, never more; by default the recipe's.
            guidance: weight of the condition, 1 for none; by default the recipe's.
            sampler: name of the way to walk; by default the recipe's, and where that names none, the solver that was
                tuned for so many steps, or the default one.
            seed: of the first sample, the next of which have the next seeds; or of each of n samples.
            size: of pictures, their side or (height, width) in pixels, no smaller than in training: larger ones are
                drawn window by window, see :class:`suffuse.guidance.Tiled`.
            seamless: draw pictures that can be laid out as tiles.
            regions: (mask, condition) for each part of a picture: a picture of its size, white where the condition
                counts and grey where it counts as much; see :class:`suffuse.guidance.Regions`.
            progress: called with (samples done, n).
            callback: called after each step of each batch with (number, time, state).

        Returns:
            n raw items, as a list or what else holds several of their kind; a picture's ``info`` says how it was made.

        Raises:
            UserError: a number is out of range, there is no such condition, class or sampler, items of this kind
                have no size, or regions do not cover them.
        """
        _check_positive("n", n)
        seeds = range(seed, seed + n) if isinstance(seed, int) else seed
        if len(seeds) != n:
            raise UserError(f"{n} samples need one seed or {n}, not {len(seeds)}")
        sized = editing.at_size(self, size, seamless)
        solver, made = self._walking(steps, guidance, sampler)
        values = self.columns(condition, n)
        sized = editing.in_regions(sized, regions, made["guidance"]) if regions else sized
        weight = 1.0 if regions else made["guidance"]  # which regions have of their own
        items: list[Any] = []
        for rows in sized.row_batches(n):
            part = {name: column[rows.start : rows.stop] for name, column in values.items()}
            state = sized._walk(part, [seeds[row] for row in rows], solver, weight, callback)
            for row, item in zip(rows, sized.codec.decode(state), strict=True):
                told = {name: column[row] for name, column in values.items()}
                items.append(signed(item, made | {"seed": seeds[row], "condition": told}))
            if progress is not None:
                progress(len(items), n)
        return self.codec.collect(items)

    def translate(
        self,
        items: Sequence[Any],
        *,
        to: "Model | None" = None,
        condition: Value | Sequence[Value] | Mapping[str, Value | Sequence[Value]] = None,
        from_condition: Value | Sequence[Value] | Mapping[str, Value | Sequence[Value]] = None,
        draws: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        sampler: str | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Any:
        """Draw for each item what it became in training: a text's translation, or the picture that belongs to it.

        With another model, or another condition, no pairs are needed: an item is walked up to its noise by this model,
        and down from there by the other, see :func:`suffuse.shared_prior.carry`. It then becomes one and the same.

        Args:
            items: the texts, or pictures, which are resized and cropped as in training.
            to: model that the items are to be of, without pairs; of a Gaussian process and of one shape with this one.
            condition: what the items are to be, without pairs.
            from_condition: what they are.
            draws: of each item; by default one, but of label maps none: the likeliest class of every pixel instead.
            steps: evaluations of the network, never more; by default the recipe's.
            guidance: weight of the item as a condition, 1 for none; by default the recipe's.
            sampler: name of the way to walk; by default the recipe's, or the default one.
            seed: of the first draw; the next have the next seeds.
            progress: called with (draws done, in all).

        Returns:
            The draws of the first item, then those of the second, and so on.

        Raises:
            UserError: the model was not trained on pairs, the two models do not fit, or a number is out of range.
        """
        single, draws = draws is None, 1 if draws is None else draws
        _check_positive("draws", draws)
        if to is not None or condition is not None or from_condition is not None:
            if draws > 1 or sampler is not None:
                raise UserError(
                    "without pairs an item becomes one other by a walk of its own; leave out draws and sampler"
                )
            other = to or self
            told, wanted = self.columns(from_condition, len(items)), other.columns(condition, len(items))
            return other.codec.collect(carry_items(self, other, items, told, wanted, steps, guidance, seed, progress))
        if single and self.codec.places_apart:
            if (steps, guidance, sampler) != (None, None, None):
                raise UserError("the likeliest label map needs no walk; ask for draws, or leave out steps, guidance "
                                "and sampler")  # fmt: skip
            made = {"suffuse": self.origin.version, "model": self.origin.name}
            return self.codec.collect(likeliest(self, items, made, progress))
        solver, made = self._walking(steps, guidance, sampler)
        return self.codec.collect(translate(self, _repeated(items, draws), solver, made, seed, progress))

    def infill(
        self,
        items: Any,
        *,
        condition: Value | Sequence[Value] | Mapping[str, Value | Sequence[Value]] = None,
        steps: int | None = None,
        guidance: float | None = None,
        sampler: str | None = None,
        draws: int = 1,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Any:
        """Draw what is missing from items, given the rest of each, which stays as it is to the letter.

        Args:
            items: of the kind that :meth:`generate` gives, with holes: empty cells of a table, ``[[N]]`` in a text,
                missing values of a series, which may be longer than those that the model draws.
            condition: as for :meth:`generate`.
            steps: evaluations of the network, never more; by default the recipe's.
            guidance: weight of the condition, 1 for none; by default the recipe's.
            sampler: name of the way to walk; by default the recipe's, or the default one.
            draws: of each item; of several, what they are like is given: means and the commonest of a table's cells,
                medians and intervals of a series.
            seed: of the first draw; the next have the next seeds.
            progress: called with (draws done, in all).

        Raises:
            UserError: the model was not trained to infill, these items cannot have holes, or a number is out of range.
        """
        if not self.infills:
            raise UserError(f"{self.origin.name} was not trained to infill; train it with --given 0.3 or more")
        _check_positive("draws", draws)
        items = self.codec.items(items)
        solver, made = self._walking(steps, guidance, sampler)
        values = {name: _repeated(each, draws) for name, each in self.columns(condition, len(items)).items()}
        filled = fill(self, _repeated(items, draws), values, solver, made["guidance"], seed, progress)
        if draws > 1:
            filled = [self.codec.together(filled[at : at + draws]) for at in range(0, len(filled), draws)]
        return self.codec.collect(filled)

    def edit(
        self,
        items: Any,
        strength: float = 0.5,
        mask: Any = None,
        *,
        condition: Value | Sequence[Value] | Mapping[str, Value | Sequence[Value]] = None,
        draws: int = 1,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Any:
        """Change items: noise them, and walk back under a condition.

        The noise is that of the time at which a share ``strength`` of the walk lies ahead, so that what is coarse stays
        and what is finer than the noise is drawn anew. Pictures larger than those of training keep their size, window
        by window, see :class:`suffuse.guidance.Tiled`; of others the codec makes its own.

        Source: "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations" (Meng, He, Song,
        Song, Wu, Zhu, Ermon, 2022).

        Args:
            items: of the kind that :meth:`generate` gives.
            strength: in (0, 1]; 1 walks from pure noise, as :meth:`generate` does.
            mask: what may change, and the rest stays as it is to the last bit: of pictures a picture of the same size,
                white for change; of others a bool for every element of a state, (1, ...).
            condition: what they are to become; as for :meth:`generate`.
            draws: of each item.
            seed: of the first draw; the next have the next seeds.
            steps: of the whole walk, of which the share is taken; by default the recipe's.
            guidance: weight of the condition, 1 for none; by default the recipe's.
            progress: called with (draws done, in all).

        Returns:
            The draws of the first item, then those of the second, and so on.

        Raises:
            UserError: a number is out of range, the mask does not fit, or it lets nothing change.
        """
        _check_positive("draws", draws)
        items = self.codec.items(items)
        values = {name: _repeated(each, draws) for name, each in self.columns(condition, len(items)).items()}
        solver, made = self._walking(steps, guidance, None)
        each, weight = _repeated(items, draws), made["guidance"]
        edited = editing.edit(self, each, values, solver, weight, strength, mask, seed, progress)
        made |= {"strength": strength, "masked": mask is not None}
        for row, item in enumerate(edited):
            told = {name: column[row] for name, column in values.items()}
            signed(item, made | {"seed": seed + row, "condition": told})
        return self.codec.collect(edited)

    def restore(
        self,
        y: Any,
        operator: Operator | str,
        noise: float | None = None,
        draws: int = 8,
        *,
        steps: int | None = None,
        seed: int = 0,
        condition: Value | Sequence[Value] | Mapping[str, Value | Sequence[Value]] = None,
        guidance: float = 1.0,
        method: str = "default",
        progress: Callable[[int, int], None] | None = None,
    ) -> Restored:
        r"""Draw an item from its posterior, given what was measured of it: :math:`y = A(x) + N(0, \text{noise}^2)`.

        Pictures larger than those of training are restored window by window, see :class:`suffuse.guidance.Tiled`. Draw
        i is a function of the measurement and seed + i alone.

        Args:
            y: what was measured: a picture, or another raw item, or a tensor (1, ...) of the operator's measurements.
                For ``super-resolve:4`` the picture is the small one, for ``colourise`` a grey or coloured one, and for
                others the damaged one at full size.
            operator: A, or its name for ``suffuse.operators.parse``, such as ``"inpaint:mask.png"``.
            noise: its deviation in units of the state, where pictures are in [-1, 1]; by default what the name says, as
                ``denoise:0.2`` does, or that of rounding to levels of 256.
            draws: how many.
            steps: of the walk; by default the recipe's. Each asks the network once and, for most methods, back as well.
            seed: of the first draw; the next have the next seeds.
            condition: what the item is; as for :meth:`generate`.
            guidance: weight of the condition; with 1 it is the posterior.
            method: name in ``suffuse.guidance.METHODS``, or the one that measured best.
            progress: called with (draws done, in all).

        Raises:
            UserError: the model's states are not one Gaussian tensor, the measurement does not fit, or a number is out
                of range.
        """
        _check_positive("draws", draws)
        steps = self.sampling.sampling_steps if steps is None else steps
        assert steps is not None
        _check_positive("steps", steps)
        return restore(
            self, y, operator, noise, self.columns(condition, draws), steps, guidance, method, seed, draws, progress
        )

    def variations(self, item: Any, n: int = 8, strength: float = 0.6, *, seed: int = 0) -> Any:
        """Draw items that are like one: :meth:`edit` with so many draws and no condition.

        Args:
            item: one of what :meth:`generate` gives several of.
            n: how many.
            strength: in (0, 1]; how far they may go from it.
            seed: of the first.
        """
        return self.edit(self.codec.collect([item]), strength, draws=n, seed=seed)

    def interpolate(
        self,
        a: Any,
        b: Any,
        n: int = 8,
        *,
        condition: Value | Sequence[Value] | Mapping[str, Value | Sequence[Value]] = None,
        evaluations: int = editing.EVALUATIONS,
    ) -> Any:
        """Items on the way from one to another, both of them included as the first and the last.

        Both are walked up to their noise by the probability-flow ODE, see :func:`suffuse.inversion.encode`; what is
        between lies on the great circle through the two and is walked down again. The ends come back as they were but
        for the error of the walks.

        Args:
            a: an item of a Gaussian process, as a picture.
            b: another; it is brought to the size of the first.
            n: how many, at least 2.
            condition: what all of them are said to be.
            evaluations: of the network for each walk, up or down.

        Raises:
            UserError: the process is not Gaussian, or a number is out of range.
        """
        made = {"suffuse": self.origin.version, "model": self.origin.name, "evaluations": evaluations}
        between = editing.interpolate(self, a, b, self.columns(condition, n), n, evaluations)
        return self.codec.collect([signed(item, made | {"seed": row}) for row, item in enumerate(between)])

    @property
    def infills(self) -> bool:
        """Whether it was trained to be told parts of an item."""
        return self._recipe is not None and self._kind.infills(self._recipe)

    def _walking(
        self, steps: int | None, guidance: float | None, sampler: str | None
    ) -> tuple[tuple[Sampler, Tensor], dict[str, Any]]:
        """The way to walk, and what to say of it; what is None is as the recipe says."""
        settings = self.sampling
        steps, sampler = settings.sampling_steps if steps is None else steps, sampler or settings.sampler
        guidance = settings.guidance if guidance is None else guidance
        assert steps is not None
        _check_positive("steps", steps)
        solver = self.solver(steps, guidance, sampler)
        made = {"suffuse": self.origin.version, "model": self.origin.name}
        made |= {"sampler": sampler or type(solver[0]).__name__, "steps": steps, "guidance": guidance}
        return solver, made

    def solver(self, steps: int, guidance: float, sampler: str | None = None) -> tuple[Sampler, Tensor]:
        """The way to walk with so many evaluations, and its times; see :meth:`generate`.

        Raises:
            UserError: there is no sampler of that name, or it does not fit the model or the number.
        """
        if sampler is None:
            tuned = self.solvers.get(steps, guidance)
            return (tuned, tuned.grid()) if tuned else default(self.denoiser, steps)
        if sampler not in SAMPLERS:
            raise UserError(f"there is no sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}")
        process, made = self.denoiser.process, SAMPLERS[sampler]()
        count = made.steps(self.denoiser, steps)
        grid = grids.karras(process.schedule, count) if isinstance(process, Gaussian) else grids.uniform(count)
        return made, grid

    def _walk(
        self,
        values: Mapping[str, Sequence[Value]],
        seeds: Sequence[int],
        solver: tuple[Sampler, Tensor],
        guidance: float,
        callback: Callable[[int, Tensor, State], None] | None,
    ) -> State:
        """States of the samples with these seeds."""
        sampler, times = solver
        x1, told, rng = self.start(values, seeds)
        with self.precision():
            return sample(self.guided(guidance), sampler, x1, times, told, rng, callback)

    def start(
        self,
        values: Mapping[str, Sequence[Any]],
        seeds: Sequence[int],
        number: int = 0,
        sources: Sequence[Any] | None = None,
    ) -> tuple[State, dict[str, Tensor] | None, Streams]:
        """Start, encoded conditions and streams of the samples with these seeds, for the walk of this number.

        A walk starts from noise, or that of a bridge from the sources.
        """
        self.denoiser.eval()
        where = self.device
        rng = Streams.of(0, torch.tensor(seeds, device=where))
        rng = rng.fold("walk", number) if number else rng
        like = empty(self.codec.shape, len(seeds), where)
        told = self.encode_condition(values, where)
        if sources is not None:
            return self.encoded(sources, range(len(seeds)), 0), told, rng
        with torch.no_grad(), self.precision():
            return self.denoiser.prior(like, told, rng), told, rng

    def row_batches(self, n: int) -> list[range]:
        """The numbers below n in parts that are walked at once."""
        elements = sum(leaf.numel() for leaf in leaves(empty(self.codec.shape, 1)))
        size = min(max(_ELEMENTS // elements, _LEAST), _MOST, max(_MOST_ELEMENTS // elements, 1))
        return [range(start, min(start + size, n)) for start in range(0, n, size)]

    def guided(self, guidance: float) -> Denoiser:
        """The denoiser with a weight of its condition."""
        return self.denoiser if guidance == 1 else ClassifierFree(self.denoiser, guidance)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.denoiser.parameters()).device

    def precision(self) -> torch.autocast:
        """The arithmetic that the network was trained in."""
        return arithmetic(self.device, "fp32" if self._recipe is None else self._recipe.training.precision)

    def tune(
        self,
        evaluations: int = 6,
        *,
        guidance: float | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tuning:
        """Fit a solver of so many evaluations to this model; :meth:`generate` takes it where it is asked for as many.

        Walks are told every class in turn; of captions nothing is told, since none are kept.

        Args:
            evaluations: at least 2.
            guidance: weight of the condition that it is for; by default the model's.
            seed: of the noise that is walked from.
            progress: called with (rounds done, rounds at most).

        Raises:
            UserError: the process is not Gaussian, or the number is out of range.
        """
        guidance = self.sampling.guidance if guidance is None else guidance
        seeds = range(seed, seed + items_to_tune(self.denoiser))
        values = {name: codec.examples(len(seeds)) for name, codec in self.conditions.items()}
        x1, told, _ = self.start(values, seeds)
        assert isinstance(x1, Tensor)
        with self.precision():
            tuning = fit(self.guided(guidance), evaluations, x1=x1, condition=told, progress=progress)
        if isinstance(tuning.sampler, Tuned):
            self.solvers.put(tuning.sampler, guidance)
        return tuning

    def score(
        self,
        items: Any,
        *,
        condition: Value | Sequence[Value] | Mapping[str, Value | Sequence[Value]] = None,
        method: str = "elbo",
        evaluations: int = 64,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Score]:
        """How likely each item is. The score of item i is a function of it, the seed and i alone.

        Items whose values are whole steps of a quantum, as those of 8-bit pictures are, are spread evenly over their
        cells first, so that their density has a probability of the items themselves to answer for.

        Args:
            items: what :meth:`generate` gives: a list of pictures or texts, a table.
            condition: what each is said to be; as for :meth:`generate`.
            method: "elbo", a lower bound, or "ode", the likelihood of the probability-flow ODE: without the bound's
                gap and with less noise, for about five times the work.
            evaluations: of the network for each item.
            seed: of the random numbers.
            progress: called with (evaluations of batches done, in all).

        Raises:
            UserError: there is no such method or condition, a number is out of range, or the method does not fit.
        """
        if method not in METHODS:
            raise UserError(f"there is no method {method!r}; choose one of {', '.join(METHODS)}")
        items = self.codec.items(items)
        values = self.columns(condition, len(items))
        parts = [self.codec.pieces(item) for item in items] if self.codec.splits else None
        pieces = items
        if parts is not None:
            counts = list(map(len, parts))
            values = {name: _repeated(column, counts) for name, column in values.items()}
            pieces = list(itertools.chain.from_iterable(parts))
        n, values = len(pieces), self.told_of(pieces, values)
        batches, done = len(self.row_batches(n)), itertools.count(1)
        hook = self.denoiser.register_forward_hook(
            lambda *_: None if progress is None else progress(next(done), batches * evaluations)
        )
        scores: list[Score] = []
        with hook, self.precision():
            for rows, told, rng in self.batches(n, values, seed):
                x0 = self.encoded(pieces, rows, seed)
                scores += score(self.denoiser, x0, told, rng, self.codec.quantum, METHODS[method], evaluations)
        if parts is None:
            return scores
        each = iter(scores)
        return [
            joined(list(itertools.islice(each, len(own))), self.codec.dimensions(item))
            for item, own in zip(items, parts, strict=True)
        ]

    def classify(
        self,
        items: Any,
        *,
        of: str | None = None,
        condition: Mapping[str, Value | Sequence[Value]] | None = None,
        prior: str = "even",
        evaluations: int | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Answers:
        """What each item is. The answer for item i is a function of it, the seed and i alone.

        Of a model that can be told a class it is Bayes' rule over its bounds under each class, by the same random
        numbers, see ``suffuse.likelihood.race``. Of one that was trained with a target it is the law of that part given
        all the rest: a probability for each of its values, or draws of a number.

        Args:
            items: what :meth:`generate` gives; what they say of the target is not looked at.
            of: what to find out; by default the target, or the only condition of classes.
            condition: what else each is said to be, as a mapping for :meth:`generate`.
            prior: of the classes: "even", or "data" for their shares of the training data; a target needs none.
            evaluations: of the network for each item, over all its classes; by default 64 for each class.
            seed: of the random numbers.
            progress: called with (items done, in all).

        Raises:
            UserError: there is nothing to find out, or a number is out of range.
        """
        items = self.codec.items(items)
        told = self.columns(condition, len(items))
        return classify(self, items, of, told, prior, evaluations, seed, progress)

    def calibrate(self, answers: Classes, labels: Sequence[Any]) -> Calibration:
        """Fit the temperature of this model's probabilities to items whose classes are known, and keep it.

        Args:
            answers: what :meth:`classify` gave for the items.
            labels: their classes; items with None, or a class that is none of them, are left out.

        Raises:
            UserError: no item is left.
        """
        known, places = answers.places(labels)
        if not known:
            raise UserError(f"no item has a known {answers.name} to calibrate by")
        temperature = fit_temperature(answers.log_odds[known], torch.tensor(places), answers.log_prior)
        self.calibration = Calibration(temperature, len(known), self.origin.images)
        return self.calibration

    def embed(
        self,
        items: Any,
        *,
        t: float = 0.1,
        draws: int = 4,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """A vector for each item, (N, D) float32: what the network makes of it, see ``suffuse.features``.

        Args:
            items: what :meth:`generate` gives.
            t: time whose noise the items are given, in [0, 1].
            draws: how often noise is drawn.
            seed: of the noise.
            progress: called with (items done, in all).

        Raises:
            UserError: the network was trained elsewhere, or a number is out of range.
        """
        items, vectors = self.codec.items(items), list[Tensor]()
        for rows, _, rng in self.batches(len(items), {}, seed):
            with self.precision():
                vectors.append(features(self.denoiser, self.encoded(items, rows, seed), t, rng, draws).cpu())
            if progress is not None:
                progress(rows.stop, len(items))
        return torch.cat(vectors) if vectors else torch.zeros(0, 0)

    def batches(
        self, n: int, values: Mapping[str, Sequence[Value]], seed: int
    ) -> Iterator[tuple[range, dict[str, Tensor] | None, Streams]]:
        """Rows of n items in batches, with what each is told of them and their streams; the network is set to judge."""
        self.denoiser.eval()
        where = self.device
        for rows in self.row_batches(n):
            told = {name: column[rows.start : rows.stop] for name, column in values.items()}
            rng = Streams.of(seed, torch.arange(rows.start, rows.stop, device=where))
            yield rows, self.encode_condition(told, where), rng

    def encoded(self, items: Sequence[Any], rows: range, seed: int) -> State:
        """States of the items in these rows. They are packed one by one: one large picture at a time is in memory."""
        rng = Streams.of(seed, torch.arange(rows.start, rows.stop)).fold("unpack")
        x0 = self.codec.unpack(concatenate([self.codec.pack([items[row]]) for row in rows]), rng)
        return map_leaves(lambda leaf: leaf.to(self.device), x0)

    def encode_condition(
        self, values: Mapping[str, Sequence[Any]], device: torch.device | None = None
    ) -> dict[str, Tensor] | None:
        """Conditions as the network reads them."""
        encoded: dict[str, Tensor] = {}
        for name, column in values.items():
            tensor, present = self.conditions[name].encode(column)
            encoded |= {name: tensor.to(device), name + PRESENT: present.to(device)}
        return encoded or None

    def columns(self, condition: Any, n: int) -> dict[str, list[Value]]:
        """What `condition` of :meth:`generate` says, as a column of n values for each condition."""
        if condition is None:
            return {}
        if not isinstance(condition, Mapping):
            condition = {self._only_condition(): condition}
        columns = {}
        for name, value in condition.items():
            if name not in self.conditions:
                raise UserError(f"this model has no condition {name!r}; {self._can_be_told()}")
            many = list(value) if isinstance(value, Sequence | Tensor) and not isinstance(value, str) else [value] * n
            if len(many) != n:
                raise UserError(f"{n} samples need {n} values of {name}, got {len(many)}")
            columns[name] = [v.item() if isinstance(v, Tensor) else v for v in many]
        return columns

    def told_of(self, items: Sequence[Any], values: Mapping[str, Sequence[Value]]) -> dict[str, Sequence[Value]]:
        """These values of conditions, and those that items of the length of a state tell themselves."""
        found = [self.codec.tells(item) for item in items]
        own = {
            name: [each.get(name) if codec.knows(each.get(name)) else None for each in found]
            for name, codec in self.conditions.items()
            if name not in values and any(name in each for each in found)
        }
        return own | dict(values)

    def _only_condition(self) -> str:
        if len(self.conditions) != 1:
            raise UserError(f"say which condition is meant: {self._can_be_told()}")
        return next(iter(self.conditions))

    def _can_be_told(self) -> str:
        names = ", ".join(self.conditions)
        return f"it can be told {names}" if names else "it was trained without conditions"

    def parse_condition(self, words: Sequence[str]) -> dict[str, str] | str | None:
        """Conditions as the command line has them: one value, or ``name=value`` for several."""
        if not words:
            return None
        pairs = [word.partition("=") for word in words]
        if all(separator and name in self.conditions for name, separator, _ in pairs):
            return {name: value for name, _, value in pairs}
        self._only_condition()
        return " ".join(words)

    def save(self, path: str | Path) -> None:
        """Write a folder with the weights, the configuration, a card and checksums; never a half of one.

        Raises:
            UserError: the folder cannot be written.
        """
        write_folder(Path(path), lambda folder: self.write(folder, self.denoiser.state_dict()))

    def write(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the files of a saved model, with these weights, into a folder that is there."""
        text = json.dumps(self.config(), indent=1, ensure_ascii=False)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        (folder / "README.md").write_text(self.card(), encoding="utf-8")
        if self.solvers.found:
            self.solvers.save(folder)
        if self.calibration.items:
            self.calibration.save(folder)

    def config(self) -> dict[str, Any]:
        """Everything but the weights, as JSON values.

        Raises:
            UserError: it was trained elsewhere.
        """
        return {
            "suffuse": FORMAT,
            "recipe": self.recipe.model_dump(mode="json"),
            "codec": {"kind": self.codec.kind, **self.codec.config()},
            "conditions": {name: {"kind": codec.kind, **codec.config()} for name, codec in self.conditions.items()},
            "origin": vars(self.origin),
        }

    def trained(self, images: int, seconds: float) -> "Model":
        """This model, which says that it was trained on so many images for so long."""
        origin = replace(self.origin, images=images, seconds=round(seconds, 1))
        return Model(self.codec, self.conditions, self.recipe, origin, self.denoiser)

    def describe(self) -> str:
        """A few lines for the terminal."""
        count = sum(parameter.numel() for parameter in self.denoiser.parameters())
        lines = [
            f"model       {self.origin.name}: {self.codec.kind} of shape {self.codec.shape}",
            f"data        {self.origin.data}",
        ]
        if self._recipe is None:
            lines += [f"network     {count / 1e6:.2f} million parameters"]
        else:
            form, first = type(self.denoiser.parameterization).__name__, self.recipe.objective.regression
            lines += [
                f"network     {self.recipe.network.network}, {count / 1e6:.2f} million parameters",
                f"process     {self.recipe.process.noise_schedule}, parameterization {form}",
                *([f"about       a regression, trained with {first:.0%} of the budget"] if first else []),
                f"trained     {self.origin.images:,} items in {self.origin.seconds / 60:.1f} minutes",
            ]
        lines += [f"sampling    {self.sampling.sampler or 'default'}, {self.sampling.sampling_steps} steps"]
        lines += [f"tuned       {n} steps, guidance {weight:g}" for n, weight in sorted(self.solvers.found)]
        lines += [f"condition   {name}: {_summary(codec)}" for name, codec in self.conditions.items()]
        if self.calibration.items:
            lines += [f"calibrated  temperature {self.calibration.temperature:.2f}, of {self.calibration.items} items"]
        return "\n".join(lines)

    def card(self) -> str:
        """The model card, in the form that hubs read."""
        return (
            "---\nlibrary_name: suffuse\ntags: [diffusion]\n---\n\n"
            f"# {self.origin.name}\n\nA diffusion model, trained with Suffuse {self.origin.version}.\n\n"
            f"```\n{self.describe()}\n```\n\n"
            "```python\nimport suffuse as sf\n\n"
            'images = sf.load("this folder").generate(16, seed=0)\n```\n\n'
            "Limits: it knows what its training data shows and no more, and may repeat it; the rights of that data "
            "carry over to what it makes. Every picture that it makes says so in its metadata.\n"
        )


def _repeated(values: Sequence[Any], counts: int | Sequence[int]) -> list[Any]:
    """Each value so many times."""
    each = [counts] * len(values) if isinstance(counts, int) else counts
    return [value for value, count in zip(values, each, strict=True) for _ in range(count)]


def _summary(codec: ConditionCodec) -> str:
    spec = codec.spec()
    if spec["kind"] == "vector":
        return f"a number, about {codec.decode(codec.encode([None])[0])[0]}"
    if spec["kind"] == "picture":
        return f"a picture of {spec['channels']} channels"
    if spec["kind"] != "classes":
        return f"captions of up to {spec['length']} tokens, {spec['vocabulary']} known"
    names = codec.config()["names"]
    assert isinstance(names, list)
    return f"{spec['count']} classes: " + ", ".join(map(str, names[:12])) + (", ..." if len(names) > 12 else "")


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise UserError(f"{name} must be at least 1, not {value}")
