"""The loop: steps of the learner, and what is due between them."""

import atexit
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from PIL import Image

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.objectives import Objective
from suffuse.training.batches import Data, Feed
from suffuse.training.checkpoint import check_run
from suffuse.training.config import TrainingConfig
from suffuse.training.ema import save_snapshot
from suffuse.training.evaluate import HeldOut
from suffuse.training.health import diagnose
from suffuse.training.keeper import Keeper, SaveModel
from suffuse.training.learner import Learner, Progress, learning_rate
from suffuse.training.log import Log, Meter, short, write_samples
from suffuse.training.stop import Interrupted, Signals, this_command

if TYPE_CHECKING:
    from accelerate import Accelerator

Show: TypeAlias = Callable[[], Image.Image | str]
Reason: TypeAlias = Literal["budget", "patience"]

_SNAPSHOTS = 16
"""How often the averages are kept, for other widths."""
_LINES = 200
"""Lines of figures in a training; there is also one every so many seconds."""
_SECONDS = 10.0
_MEETING = 0.5
"""Seconds between the moments when the device is waited for, the clock is read and signals are heeded."""
_ASIDE = 0.05
"""Share of the time that measurements, samples and checkpoints may take, where the budget is time."""
_HALVINGS = 3
"""How often the rate is halved after numbers that are not finite."""


@dataclass(frozen=True)
class Result:
    """How a training ended.

    Args:
        images: items seen.
        steps: optimiser steps.
        seconds: time spent.
        held_out: best measurement on held-out data, the bound in nats per element (the loss with a coupling), or None.
        reason: what ended it.
    """

    images: int
    steps: int
    seconds: float
    held_out: float | None
    reason: Reason


def train(
    denoiser: Denoiser,
    objective: Objective,
    data: Data,
    config: TrainingConfig,
    run: Path,
    *,
    save_model: SaveModel,
    show: Show | None = None,
    progress: bool = True,
) -> Result:
    """Train, or go on where a run stopped; in the end the denoiser has the weights that the saved model has.

    Every random number derives from (seed, global index of the sample, purpose), so that neither the number of
    processes nor a stop changes anything (but layers that draw by themselves, as dropout does, depend on the number of
    processes). With steps or images as budget, a run on a CPU that was killed ends with the bits of one that was not.

    Args:
        denoiser: what to train, in place.
        objective: what to minimise.
        data: items by position.
        config: the choices.
        run: the run folder.
        save_model: writes a model with these weights of the denoiser into a folder, for others to load; it is told how
            far training is.
        show: draws samples with the denoiser as it is when called: a sheet of pictures, or a text.
        progress: whether to say how it goes.

    Raises:
        UserError: the folder, the data or the settings do not fit; the disk is full at the end; or the loss is not
            finite even at an eighth of the rate.
        Interrupted: a signal stopped it, after a checkpoint.
    """
    check_run(run)
    accelerator = _accelerator(run)
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([accelerator.device] if accelerator.device.type == "cuda" else []))
        signals = stack.enter_context(Signals())
        log = Log(run, accelerator, progress)
        learner = Learner(denoiser, objective, config, accelerator)
        feed = Feed(data, config, objective, accelerator)
        stack.callback(feed.close)
        learner.progress.items = data.size
        keeper = Keeper(run, learner, config, save_model, accelerator, log.warn)
        path = keeper.begin()
        if path is not None:
            log.say(f"going on from {path}")
        log.open(learner.progress.images)
        stack.callback(log.close)
        held_out = HeldOut(data, learner.loss, config, accelerator) if config.held_out > 0 else None
        return _Training(config, run, accelerator, learner, feed, keeper, held_out, show, log).run(signals)


def _accelerator(run: Path) -> "Accelerator":
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    accelerator = Accelerator(
        # Also on a Mac, whose GPU has no float64, which random numbers need; and said so that torchrun needs no more.
        cpu=not torch.cuda.is_available(),
        mixed_precision="no",
        log_with="tensorboard" if find_spec("tensorboard") else None,
        project_dir=run,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
    )
    # A group of processes that lives on into the interpreter's end may abort there, its threads still at work.
    atexit.register(accelerator.state.destroy_process_group)
    return accelerator


class _Training:
    """The loop of one call of :func:`train`."""

    def __init__(
        self,
        config: TrainingConfig,
        run: Path,
        accelerator: "Accelerator",
        learner: Learner,
        feed: Feed,
        keeper: Keeper,
        held_out: HeldOut | None,
        show: Show | None,
        log: Log,
    ) -> None:
        self.config, self.folder, self.accelerator = config, run, accelerator
        self.learner, self.feed, self.keeper = learner, feed, keeper
        self.held_out, self.show, self.log = held_out, show, log
        self.unit, self.budget = config.budget
        self.origin = time.monotonic() - self.progress.seconds
        self.pace, self.rate, self.aside = math.inf, 0.0, 0.0
        self.meter, self.figured = Meter(self.progress.seconds), self.done

    @property
    def progress(self) -> Progress:
        """Where the training is."""
        return self.learner.progress

    @property
    def done(self) -> float:
        """Amount of the budget used."""
        now = self.progress
        return {"steps": now.steps, "images": now.images, "minutes": now.seconds / 60}[self.unit]

    @property
    def reason(self) -> Reason | None:
        """Why training is over, or None."""
        if self.config.patience is not None and self.progress.stale >= self.config.patience:
            return "patience"
        return "budget" if self.done >= self.budget else None

    def run(self, signals: Signals) -> Result:
        """All of it."""
        if self.reason and not self._is_due(self.progress.kept, math.inf):
            self.log.warn(f"{self.folder} is complete; for more, give a larger budget")
            return self._end(self.reason)
        while True:
            self._do_what_is_due()
            if reason := self.reason:
                break
            begun = self._clock()
            for _ in range(self._steps_to_meeting()):
                self.rate = learning_rate(self.config, self.progress, self.done / self.budget)
                self.learner.step(self.feed.get(self.progress.steps), self.rate)
            if number := self._meet(begun, signals):
                self._interrupt(number)
        self.log.curves(last=True)
        self.keeper.save()
        return self._end(reason)

    def _clock(self) -> float:
        return time.monotonic() - self.origin

    def _is_due(self, last: float, every: float) -> bool:
        """Whether something that happens every so often, and at the end, is to be done now."""
        done = self.done
        return last < done and (self.reason is not None or done // every > last // every)

    @property
    def _can_afford(self) -> bool:
        """Whether there is time for what helps to see but not to learn: with steps or images as budget, always."""
        return self.unit != "minutes" or self.reason is not None or self.aside < _ASIDE * self.progress.seconds

    def _do_what_is_due(self) -> None:
        now, config, width = self.progress, self.config, self.config.ema[0]
        better, afford = False, self._can_afford
        if afford and self.held_out is not None and self._is_due(now.evaluated, config.evaluation):
            with self.learner.averages.applied(width):
                better = self._evaluate(self.held_out)
        if afford and self.show is not None and self._is_due(now.sampled, config.sampling):
            now.sampled = self.done
            if self.accelerator.is_main_process:
                with self.learner.averages.applied(width):
                    self._sample(self.show)
        if self._is_due(now.kept, self.budget / _SNAPSHOTS):
            now.kept = self.done
            if self.accelerator.is_main_process:
                self.log.attempt(lambda: save_snapshot(self.folder, now.images, self.learner.averages))
        if self.keeper.due or (better and config.patience):
            self.keeper.try_to_save()

    def _evaluate(self, held_out: HeldOut) -> bool:
        """Measure; gives whether it is better than ever."""
        measured, now = held_out.measure(), self.progress
        now.evaluated = self.done
        better = now.figure is None or measured.figure < now.figure
        if better:
            now.best, now.figure, now.stale = now.images, measured.figure, 0
        else:
            now.stale += 1
        self.log.figures("held_out", {"images": now.images, "step": now.steps, **asdict(measured)})
        self.log.curves()
        self.log.say(f"{now.images:,} items: held out {measured.figure:.4f}" + (", the best so far" if better else ""))
        return better

    def _sample(self, show: Show) -> None:
        """Samples to look at."""
        self.learner.loss.eval()
        samples = show()
        self.learner.loss.train()
        for path in (self.folder / "samples" / f"{self.progress.images:09d}", self.folder / "samples"):
            self.log.attempt(lambda path=path: write_samples(samples, path))

    def _steps_to_meeting(self) -> int:
        """How many steps until half a second has passed, or something is due that the number of steps decides."""
        steps = [max(1, int(_MEETING / self.pace))]
        if self.unit != "minutes":
            each = 1 if self.unit == "steps" else self.config.batch
            for every in (self.config.evaluation, self.config.sampling, self.budget / _SNAPSHOTS, self.budget / _LINES):
                steps.append(math.ceil(((self.done // every + 1) * every - self.done) / each))
            steps.append(math.ceil((self.budget - self.done) / each))
        return max(1, min(steps))

    def _meet(self, begun: float, signals: Signals) -> int:
        """Wait for the device and agree with the other processes on how it went; gives a signal's number or 0."""
        learner, steps = self.learner, self.learner.steps
        found = torch.stack([learner.total, learner.norm.double(), learner.failed]).tolist()
        own = [*found, begun, self._clock(), float(signals.number)]
        row = torch.tensor([own], dtype=torch.float64, device=self.accelerator.device)
        gathered = self.accelerator.gather(row)
        assert isinstance(gathered, torch.Tensor)
        rows = gathered.tolist()
        begun, now = rows[0][3:5]
        self.aside += begun - self.progress.seconds
        self.progress.seconds = now
        seconds = max(self.progress.seconds - begun, 1e-9)
        self.pace = seconds / steps
        failed = [int(row[2]) for row in rows if row[2]]
        if failed:
            self._go_back(self.progress.steps - steps + min(failed))
        else:
            self._account(sum(row[0] for row in rows) / len(rows), steps, seconds, found[1])
        learner.reset()
        return int(max(row[5] for row in rows))

    def _account(self, loss: float, steps: int, seconds: float, norm: float) -> None:
        """Take in a sum of losses, and say how it goes."""
        meter, now, share = self.meter, self.progress, min(1.0, self.done / self.budget)
        meter.add(loss, steps, steps * self.config.batch, seconds)
        left = short(now.seconds * (1 - share) / share)
        speed = f"{meter.speed:,.0f} items/s"
        self.log.progress(share, f"{now.images:,} items  loss {meter.loss:.4f}  {speed}  {left} left")
        every = self.budget / _LINES
        if self.done // every > self.figured // every or now.seconds - meter.start > _SECONDS:
            values = {"images": now.images, "step": now.steps, "loss": meter.loss, "lr": self.rate, "grad_norm": norm}
            values |= {"images_per_second": round(meter.speed, 1), "seconds": round(now.seconds, 3)}
            self.log.figures("train", values)
            self.meter, self.figured = Meter(now.seconds), self.done

    def _go_back(self, step: int) -> None:
        """After numbers that are not finite: say where, and go on from the last checkpoint at half the rate."""
        from accelerate.utils import gather_object

        batch = self.feed.get(step - 1)
        diagnoses = gather_object([diagnose(self.learner.loss, batch.split(self.config.accumulate))])
        where = sorted(diagnoses, reverse=True)[0][1]
        said = f"the loss or its gradient is not finite at step {step}, {where}"
        seconds, halvings = self.progress.seconds, self.progress.halvings + 1
        if halvings > _HALVINGS:
            raise UserError(
                f"{said}, though the rate was halved {_HALVINGS} times; look at the data and at that layer, "
                "or train in a new run folder with a lower learning_rate"
            )
        path = self.keeper.go_back()
        if path is None:
            raise UserError(f"{said}, and there is no checkpoint to go back to; lower learning_rate")
        now = self.progress
        now.seconds, now.halvings = seconds, halvings
        self.meter, self.figured = Meter(seconds), self.done
        self.log.cut(now.images)
        self.log.figures("rollback", {"images": now.images, "step": now.steps, "said": said})
        self.log.warn(f"{said}; going back to {path} with {0.5**halvings:g} of the rate")

    def _interrupt(self, number: int) -> None:
        """Keep what there is, say how to go on, and end."""
        kept = self.keeper.try_to_save()
        seen = f"stopped at {self.progress.images:,} items" if kept else "stopped, at the last checkpoint"
        self.log.warn(f"{seen}; to go on: {this_command()}")
        raise Interrupted(128 + number)

    def _end(self, reason: Reason) -> Result:
        """Leave the denoiser with the weights of its model."""
        self.accelerator.wait_for_everyone()
        denoiser, now = self.learner.loss.denoiser, self.progress
        denoiser.load_state_dict(self.keeper.weights())
        denoiser.eval()
        return Result(now.images, now.steps, now.seconds, now.figure, reason)
