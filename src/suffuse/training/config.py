"""The choices about training, as data. Nothing here imports torch, so that the command line answers at once."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

Unit: TypeAlias = Literal["steps", "images", "minutes"]
_DEFAULT_MINUTES = 30.0
_SHARES = 10


class TrainingConfig(BaseModel):
    """How a model is trained.

    The budget is one of steps, images and minutes; ``evaluate_every`` and ``sample_every`` are in its unit. With
    minutes they are as often as that at most: together they take a twentieth of the time, but for those at the end.

    Example:
        >>> TrainingConfig(images=1_000_000).budget
        ('images', 1000000.0)
        >>> TrainingConfig().budget
        ('minutes', 30.0)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch: int = Field(default=128, ge=1, description="items per step, over all processes")
    accumulate: int = Field(
        default=1, ge=1, description="parts that a process computes its share of a batch in, to save memory"
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="peak learning rate of AdamW")
    betas: tuple[float, float] = Field(
        default=(0.9, 0.99), description="AdamW's memory of gradients and of their squares"
    )
    weight_decay: float = Field(default=0.01, ge=0, description="decay of weights; not of biases, norms and embeddings")
    warmup: int = Field(
        default=5000, ge=0, description="images over which the rate rises; at most a tenth of the budget"
    )
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="course of the rate after warm-up")
    clip: float = Field(default=1.0, ge=0, description="largest norm of the gradient; 0 = no limit")
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="arithmetic of the network, bf16 only where the hardware multiplies in it; of all else it is fp32",
    )
    compile: bool = Field(default=False, description="compile the network: a slow start, then faster steps")
    steps: int | None = Field(default=None, ge=1, description="budget: optimiser steps")
    images: int | None = Field(default=None, ge=1, description="budget: training items seen")
    minutes: float | None = Field(default=None, gt=0, description="budget: time; 30 minutes if no budget is given")
    seed: int = Field(default=0, description="of all random numbers")
    ema: tuple[Annotated[float, Field(gt=0, lt=0.288)], ...] = Field(
        default=(0.05, 0.10),
        min_length=1,
        description="relative widths of the averages of the weights; the first is kept",
    )
    held_out: float = Field(
        default=0.05, ge=0, lt=1, description="share of the data that is never trained on, to measure with"
    )
    evaluate_every: float | None = Field(
        default=None,
        gt=0,
        description="unit of the budget between measurements on held-out data; by default a tenth of it",
    )
    sample_every: float | None = Field(
        default=None, gt=0, description="unit of the budget between sheets of samples; by default a tenth of it"
    )
    save_every: float = Field(
        default=10.0, gt=0, description="minutes between checkpoints; there is also one at the end"
    )
    patience: int | None = Field(
        default=None, ge=1, description="stop after so many measurements without a better one, and keep the best"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(amount is not None for amount in (self.steps, self.images, self.minutes)) > 1:
            raise ValueError("give one budget: steps, images or minutes")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must lie in [0, 1)")
        if len(set(self.ema)) < len(self.ema):
            raise ValueError("the widths of ema must differ")
        if self.patience is not None and self.held_out == 0:
            raise ValueError("patience needs data held out")
        return self

    @property
    def budget(self) -> tuple[Unit, float]:
        """Unit and amount of the budget."""
        if self.steps is not None:
            return "steps", float(self.steps)
        if self.images is not None:
            return "images", float(self.images)
        return "minutes", self.minutes or _DEFAULT_MINUTES

    def part(self, share: float) -> "TrainingConfig":
        """The same with a share of the budget.

        Example:
            >>> TrainingConfig(steps=100).part(0.25).budget
            ('steps', 25.0)
        """
        unit, amount = self.budget
        return self.model_copy(update={unit: amount * share if unit == "minutes" else max(1, round(amount * share))})

    @property
    def evaluation(self) -> float:
        """Amount between measurements, in the budget's unit."""
        return self.evaluate_every or self.budget[1] / _SHARES

    @property
    def sampling(self) -> float:
        """Amount between sheets of samples, in the budget's unit."""
        return self.sample_every or self.budget[1] / _SHARES
