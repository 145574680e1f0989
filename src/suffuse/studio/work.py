"""Jobs of the page: the same that the server does for programs, followed while they run."""

from collections.abc import Callable, Iterator
from concurrent.futures import wait
from typing import Any

import gradio as gr
from PIL import Image
from pydantic import ValidationError

from suffuse.errors import UserError
from suffuse.serving.asked import Files
from suffuse.serving.engine import Engine, FullError
from suffuse.serving.store import Result
from suffuse.serving.verbs import VERBS

_TICK = 0.2


def following(
    engine: Engine,
    model: str,
    verb: str,
    options: dict[str, Any],
    files: Files,
    bar: Callable[..., Any],
    watched: int = 0,
) -> Iterator[Image.Image | str | Result]:
    """How samples look while a verb walks, and in the end what it gives. Whoever stops following cancels the job.

    Args:
        engine: that does it.
        model: name of the model.
        verb: its name.
        options: of the verb; those that are None are as the model says.
        files: that belong to it.
        bar: Gradio's progress.
        watched: how many samples are shown on the way.

    Raises:
        gr.Error: it cannot be done; says why in a sentence.
    """
    try:
        request = VERBS[verb].model_validate({name: value for name, value in options.items() if value is not None})
        job, over = engine.submit(model, verb, request, files)
    except ValidationError as error:
        first = error.errors()[0]
        raise gr.Error(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except FullError as error:
        raise gr.Error(str(error)) from error
    seen: Image.Image | str | None = None
    try:
        while not wait([over], _TICK).done:
            course = engine.standing(job.id).course
            bar((course.done, course.total) if course.total else 0.0, desc=f"{course.evaluations} evaluations")
            course.watch(watched)
            if course.look is not None and course.look != seen:
                seen = course.look
                yield seen
    finally:
        engine.cancel(job.id)
    outcome = over.result()
    if outcome.result is None:
        raise gr.Error(outcome.reason or "it was cancelled")
    yield outcome.result


def done(
    engine: Engine, model: str, verb: str, options: dict[str, Any], files: Files, bar: Callable[..., Any]
) -> Result:
    """What a verb gives; see :func:`following`."""
    *_, last = following(engine, model, verb, options, files, bar)
    assert isinstance(last, Result)
    return last


def told(work: Callable[[], Any]) -> Any:
    """What some work gives; a mistake of the user as the page tells it."""
    try:
        return work()
    except UserError as error:
        raise gr.Error(str(error)) from error
