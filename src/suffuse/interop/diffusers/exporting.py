"""Our models of pictures, as pipelines of diffusers."""

from pathlib import Path
from typing import Any

from suffuse.codecs.image import ImageCodec
from suffuse.errors import UserError
from suffuse.files import write_folder
from suffuse.interop.diffusers.folder import OWN, library_of
from suffuse.model import Model
from suffuse.processes import Gaussian

_CODE = f'''"""The pipeline of this folder, for those who open it without importing Suffuse first."""

from {OWN} import SuffusePipeline

__all__ = ["SuffusePipeline"]
'''


def export(model: Model, folder: str | Path) -> None:
    """Write a model of pictures as a folder that ``DiffusionPipeline.from_pretrained`` opens.

    The folder is a ``DDIMPipeline`` whose U-Net is the model, on a table of 1,000 betas, so any of their schedulers
    that takes predictions of the kind "sample" fits. Its reader needs ``pip install 'suffuse[diffusers]'``, and either
    imports ``suffuse.interop.diffusers`` first or opens it with ``custom_pipeline=folder, trust_remote_code=True``. For
    conditions there is ``SuffusePipeline.from_pretrained(folder)``. ``suffuse.load`` reads the folder as well.

    Args:
        model: of pictures.
        folder: to make or to replace, as a whole.

    Raises:
        UserError: the model is not of pictures, was itself trained elsewhere, or the folder cannot be written.

    Example:
        >>> import tempfile, suffuse as sf
        >>> from diffusers import DiffusionPipeline
        >>> from suffuse.model import Model, Origin
        >>> codec = sf.codecs.image.ImageCodec(8, channels=1)
        >>> with tempfile.TemporaryDirectory() as place:
        ...     export(Model(codec, {}, sf.recipes.Recipe(), Origin()), place + "/exported")
        ...     pipeline = DiffusionPipeline.from_pretrained(place + "/exported")
        >>> type(pipeline).__name__, type(pipeline.unet).__name__
        ('DDIMPipeline', 'SuffuseUNet')
    """
    if not isinstance(model.codec, ImageCodec):
        raise UserError(f"models of pictures can be exported, and this one is of the kind {model.codec.kind}")
    if not isinstance(model.denoiser.process, Gaussian):
        raise UserError(f"{model.origin.name} starts from pictures and not from noise, as their pipelines do")
    pipeline = _pipeline(model)
    write_folder(Path(folder), lambda aside: _write(pipeline, model, aside))


def _pipeline(model: Model) -> Any:
    """The model in one of their pipelines, with a scheduler that starts where there is only noise."""
    theirs = library_of("diffusers")
    from suffuse.interop.diffusers.exported import FIRST, LAST, STEPS, SuffuseUNet

    scheduler = theirs.DDIMScheduler(
        STEPS,
        beta_start=FIRST,
        beta_end=LAST,
        prediction_type="sample",
        clip_sample=False,
        timestep_spacing="trailing",
    )
    return theirs.DDIMPipeline(SuffuseUNet.of(model), scheduler)


def _write(pipeline: Any, model: Model, folder: Path) -> None:
    pipeline.save_pretrained(folder)
    (folder / "pipeline.py").write_text(_CODE, encoding="utf-8")
    (folder / "README.md").write_text(model.card(), encoding="utf-8")
    if model.solvers.found:
        model.solvers.save(folder)
