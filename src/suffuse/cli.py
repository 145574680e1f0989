"""The command line: one verb, one function; exit codes 0 done, 2 the user's mistake, 1 our own fault."""

import io
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from suffuse.errors import UserError

VERBS = {
    "train": "learn from a folder or file of your data, and keep the model in a run folder",
    "generate": "draw new samples from a trained model",
    "infill": "fill the holes of items: empty cells of a table, gaps of a text",
    "restore": "draw a picture from what was measured of it: smaller, noisy, blurred, grey, or in part",
    "edit": "change items: a little or much, as a whole or where a mask is white, or on the way to another",
    "classify": "say what every item of a source is: its class, or the target that a model was trained to predict",
    "embed": "turn every item of a source into a vector",
    "translate": "draw what a picture or a text becomes, as pairs in training had it",
    "evaluate": "compare what a model draws with real items that it was not trained on, in a report",
    "score": "say how likely a model finds every item of a source",
    "tune": "fit a solver of few steps to a trained model; generate takes it for as many",
    "serve": "serve trained models over HTTP, with a route for each verb",
    "studio": "open a page on this machine: every verb without a line of code",
    "info": "say what is in a run folder, or in a source of data",
    "demo": "train and show a small model on data that a package ships: digits, mnist, table, series and more",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command; gives its exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        from suffuse import __version__

        print(__version__)
        return 0
    try:
        _command(arguments[0])(arguments[1:])
    except UserError as mistake:
        print(f"suffuse: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _overview() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in VERBS.items())
    return (
        "Suffuse: diffusion models for everything you have.\n\n"
        f"usage: suffuse VERB ...\n\n{verbs}\n\n"
        "suffuse VERB --help says all that a verb can do."
    )


def _command(verb: str) -> Callable[[list[str]], Any]:
    if verb not in VERBS:
        near = get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the verbs are {', '.join(VERBS)}"
        raise UserError(f"there is no verb {verb!r}; {hint}")
    function = getattr(import_module("suffuse.commands"), verb)
    return lambda arguments: _parsed(function, verb, arguments)


def _parsed(function: Callable[..., None], verb: str, arguments: list[str]) -> None:
    """Parse with tyro, whose boxes of several lines become one; then run."""
    import tyro

    said = io.StringIO()
    try:
        with redirect_stderr(said):
            call = tyro.cli(_deferred(function), args=arguments, prog=f"suffuse {verb}", console_outputs=True)
    except SystemExit as stop:
        if stop.code in (0, None):
            sys.stderr.write(said.getvalue())
            raise
        raise UserError(_one_line(said.getvalue(), verb)) from None
    call()


def _deferred(function: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The function with its signature, but only bound: parsing is over when the work begins."""
    from functools import partial, wraps

    @wraps(function)
    def bind(*positional: Any, **named: Any) -> Callable[[], None]:
        return partial(function, *positional, **named)

    return bind


def _one_line(box: str, verb: str) -> str:
    """The first sentence of tyro's message, and the option that it suggests."""
    lines = [line.strip("╭╮╰╯│─ \n") for line in box.splitlines()]
    text = " ".join(line for line in lines if line)
    unknown = re.search(r"Unrecognized options?: (\S+?)(?:,|\s|$)", text)
    if unknown:
        near = re.search(r"Perhaps you meant:\s*(--[\w.-]+)", text)
        hint = f"did you mean {near[1]}?" if near else f"suffuse {verb} --help lists them"
        return f"there is no option {unknown[1]} for {verb}; {hint}"
    rule = re.search(r"Value error, (.+?) \[type=", text)
    if rule:
        return rule[1]
    pydantic = re.search(r"validation errors? for \w+ (\w+) (.+?) \[type=\w+, input_value=(.+?), input_type", text)
    if pydantic:
        return f"--{pydantic[1].replace('_', '-')} {pydantic[3]}: {pydantic[2]}"
    text = re.sub(r"^[A-Z][a-z]+ (error|options?|choice) ", "", text)
    text = re.split(r"Argument helptext|For full helptext|Got errors", text)[0]
    return f"{text.strip()} (suffuse {verb} --help says more)"
