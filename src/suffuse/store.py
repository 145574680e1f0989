"""Where models are kept: run folders, saved models and pipelines of diffusers, found and loaded."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from suffuse.calibration import Calibration
from suffuse.codecs.registry import CODECS, CONDITIONS
from suffuse.errors import UserError
from suffuse.files import MANIFEST, PIPELINE, digest, verify
from suffuse.model import CONFIG, FORMAT, WEIGHTS, Model, Origin
from suffuse.recipes.recipe import Recipe
from suffuse.solvers import FILE as SOLVERS
from suffuse.solvers import Solvers


def load(path: str | Path, device: str | torch.device | None = None) -> Model:
    """Load a model from a run folder, from a folder written by :meth:`Model.save`, or from a diffusers pipeline's.

    Args:
        path: the folder; of a run that has not finished, its newest checkpoint is taken.
        device: where to put it; by default a GPU where there is one.

    Raises:
        UserError: there is no model, a file is damaged, or it is of another version.
    """
    if (Path(path) / PIPELINE).is_file():
        from suffuse.interop import diffusers

        return diffusers.load(path, device)
    folder = _model_folder(Path(path))
    verify(folder)
    model = rebuilt(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    try:
        model.denoiser.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise UserError(
            f"{folder / WEIGHTS} does not hold the weights of the network that {CONFIG} beside it describes; "
            "it was made by another version: train again, or take that version"
        ) from error
    model.solvers = Solvers.load(Path(path), model.origin.images)
    model.calibration = Calibration.load(Path(path), model.origin.images)
    model.denoiser.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    return model


def fingerprint(path: Path) -> str:
    """What tells the model that :func:`load` finds here from every other: a digest of its files and tuned solvers.

    Raises:
        UserError: there is no model.
    """
    folder = path if (path / PIPELINE).is_file() else _model_folder(path)
    sealed = folder / MANIFEST  # which has the digests of all others
    files = [sealed] if sealed.is_file() else sorted(file for file in folder.rglob("*") if file.is_file())
    sums = [digest(file) for file in [*files, path / SOLVERS] if file.is_file()]
    return hashlib.sha256("".join(sums).encode()).hexdigest()[:16]


def is_run(path: Path) -> bool:
    """Whether a model or its checkpoints are in this folder."""
    return (path / CONFIG).is_file() or (path / PIPELINE).is_file() or (path / "checkpoints").is_dir()


def saved_recipe(run: Path) -> Recipe | None:
    """The recipe of a run that has been started, or None."""
    configs = _checkpoints(run)
    return Recipe.model_validate(json.loads(configs[-1].read_text(encoding="utf-8"))["recipe"]) if configs else None


def _checkpoints(run: Path) -> list[Path]:
    """Configurations of the models in a run's checkpoints, the newest last."""
    return sorted((run / "checkpoints").glob(f"[0-9]*/model/{CONFIG}"))


def _model_folder(path: Path) -> Path:
    """The folder itself, or the newest checkpoint's model in it."""
    if (path / CONFIG).is_file():
        return path
    if not path.is_dir():
        raise UserError(f"there is no folder {path}; give the run folder of a trained model")
    checkpoints = _checkpoints(path)
    if not checkpoints:
        raise UserError(f"there is no trained model in {path}; train one with: suffuse train SOURCE --out {path}")
    return checkpoints[-1].parent


def _rebuild(registry: Mapping[str, Any], saved: Mapping[str, Any]) -> Any:
    settings = dict(saved)
    kind = settings.pop("kind")
    if kind not in registry:
        raise UserError(f"this model needs a codec {kind!r}, which this version of Suffuse does not have; upgrade it")
    return registry[kind].from_config(settings)


def rebuilt(config: Mapping[str, Any]) -> Model:
    """The model that `config` described, with fresh weights.

    Raises:
        UserError: it is of another version, or was made up.
    """
    if config.get("suffuse") != FORMAT:
        raise UserError(
            f"this model was written in format {config.get('suffuse')}, and this version reads {FORMAT}; "
            "load it with the version of Suffuse that wrote it"
        )
    try:
        recipe = Recipe.model_validate(config["recipe"])
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"the recipe of this model is not one: {first['loc']}: {first['msg']}") from error
    conditions = {name: _rebuild(CONDITIONS, saved) for name, saved in config["conditions"].items()}
    return Model(_rebuild(CODECS, config["codec"]), conditions, recipe, Origin(**config["origin"]))
