"""Their folders, read without running anything that is in them.

``model_index.json`` names a class for each part. Here only classes on a list are made, by name of the part, from
configuration files and safetensors; code and pickles are never touched.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from suffuse.errors import UserError
from suffuse.files import PIPELINE
from suffuse.interop.diffusers.native import FLOWS, TABLES
from suffuse.interop.diffusers.networks import ADAPTERS

OWN = "suffuse.interop.diffusers"
"""The library that an exported model says it is from."""

_NETWORKS: dict[str, str] = {
    **dict.fromkeys(ADAPTERS, "diffusers"),
    "Transformer2DModel": "diffusers",
    "SuffuseUNet": OWN,
}
_ENCODERS: dict[str, str] = dict.fromkeys(
    ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"), "transformers"
)
_TOKENIZERS: dict[str, str] = dict.fromkeys(
    ("CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast"), "transformers"
)
_PARTS: dict[str, dict[str, str]] = {
    "unet": _NETWORKS,
    "transformer": _NETWORKS,
    "scheduler": {name: "diffusers" for name in (*TABLES, *FLOWS)},
    "vae": {"AutoencoderKL": "diffusers"},
    **{f"text_encoder{number}": _ENCODERS for number in ("", "_2", "_3")},
    **{f"tokenizer{number}": _TOKENIZERS for number in ("", "_2", "_3")},
}
"""The classes that a part may be of, and their libraries."""
_WITHOUT_WEIGHTS = ("scheduler", "tokenizer", "tokenizer_2", "tokenizer_3")
_IGNORED = ("safety_checker", "feature_extractor", "image_encoder", "watermarker", "image_processor")
"""Parts that look at pictures before or after, and not at noise."""
_RENAMED = {"Transformer2DModel": "DiTTransformer2DModel"}


def named(modules: Sequence[Any]) -> dict[str, Any]:
    """Modules by the name of the part that each is, the first of several encoders first.

    Raises:
        UserError: one is no part of a pipeline that is known.
    """
    parts: dict[str, Any] = {}
    for module in modules:
        kind = type(module).__name__
        free = [name for name, kinds in _PARTS.items() if kind in kinds and name not in parts]
        if not free:
            raise UserError(f"a {kind} is not a part that is known here, or is one too many")
        parts[free[0]] = module
    return parts


def check(parts: Mapping[str, Any]) -> None:
    """Refuse a part that is not known here, since the others would not be what they are without it.

    Raises:
        UserError: there is one.
    """
    for name, part in parts.items():
        kind, kinds = type(part).__name__, _PARTS.get(name, {})
        unknown = kind not in kinds if name in _PARTS else isinstance(part, nn.Module)
        if unknown and part is not None and name not in _IGNORED:
            raise UserError(f"the part {name} is a {kind}, which is not known here")


def read(folder: Path) -> dict[str, Any]:
    """The parts of a pipeline in a folder, by name, and what else its index says.

    Raises:
        UserError: diffusers is not installed, the folder is no pipeline, or a part of it is unknown or damaged.
    """
    index = _json(folder / PIPELINE)
    parts: dict[str, Any] = {}
    for name, value in index.items():
        if not isinstance(value, list) or name.startswith("_"):
            parts[name] = value
        elif name not in _IGNORED and value[1:] != [None]:
            parts[name] = _part(folder, name, value)
    return parts


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}; copy the folder again") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is not the index of a diffusers pipeline")
    return content


def _part(folder: Path, name: str, value: list[Any]) -> Any:
    """One part, if it is on the list."""
    library, kind = map(str, value) if len(value) == 2 else ("?", "?")
    wanted = _PARTS.get(name, {}).get(kind)
    if wanted is None or wanted != library:
        raise UserError(
            f"{folder / PIPELINE} names a part {name} of the class {library}.{kind}, which is not known here"
        )
    if name not in _WITHOUT_WEIGHTS and not any((folder / name).glob("*.safetensors")):
        raise UserError(f"{folder / name} has no .safetensors weights; others are not read, since they may run code")
    return from_folder(getattr(library_of(library), _RENAMED.get(kind, kind)), folder / name, name)


def library_of(name: str) -> Any:
    """Import one of their libraries.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"this needs {name}; install it with: pip install 'suffuse[diffusers]'") from error


def from_folder(kind: Any, path: Path, name: str) -> Any:
    """Make a part of a class that is known to be harmless.

    Raises:
        UserError: its files are missing or damaged.
    """
    where = {"pretrained_model_name_or_path": path, "local_files_only": True}
    try:
        if name in _WITHOUT_WEIGHTS:
            return kind.from_pretrained(**where)
        part, found = kind.from_pretrained(**where, use_safetensors=True, output_loading_info=True)
    except Exception as error:  # their loaders raise whatever they met in a file
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path} cannot be read as a {kind.__name__}: {first}") from error
    if found["missing_keys"]:
        raise UserError(f"{path} is damaged: {len(found['missing_keys'])} of its weights are missing; copy it again")
    return part
