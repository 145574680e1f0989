"""Where samples go: a folder of pictures, or one file whose suffix says its form; and how they are shown."""

import csv
import io
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image, ImageDraw, ImageOps

from suffuse.clips import Clip, strips, write_gif, write_mp4
from suffuse.data.series import NUMBER
from suffuse.engraving import FORMS, piano_roll
from suffuse.errors import UserError
from suffuse.maps import maps, side_by_side, write_arrays, write_store
from suffuse.music import Piece
from suffuse.pictures import check_pictures, name_of, named, save_png, save_samples, sheet
from suffuse.restoring import Restored
from suffuse.sounds import SOUND_FORMS, portraits, write_sound
from suffuse.training.checkpoint import replace


class Output(ABC):
    """How the items of one kind of data are written and shown."""

    default: str
    """Name, in the run folder, of what is written to unless another is given."""

    @abstractmethod
    def save(self, items: Any, path: Path) -> Path:
        """Write what ``Model.generate`` gives; gives the path of what to look at.

        Raises:
            UserError: the path cannot be written, or its suffix is of no form that these items have.
        """

    def files(self, items: Any, name: str) -> Mapping[str, bytes]:
        """The content of the files that :meth:`save` writes, by their names below the folder that it writes into.

        Args:
            items: what ``Model.generate`` gives.
            name: of a path as for :meth:`save`, in a folder of its own.

        Raises:
            UserError: the suffix is of no form that these items have.
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                self.save(items, Path(folder) / name)
            except UserError as error:
                raise UserError(str(error).replace(f"{folder}/", "")) from error
            return contents(Path(folder))

    def save_beside(self, before: Sequence[Any], items: Any, path: Path) -> Path:
        """Write items that were made from others, the same number from each, with these beside them where that shows.

        Raises:
            UserError: as for :meth:`save`.
        """
        del before
        return self.save(items, path)

    def filled(self, source: Path) -> str:
        """Name, in the run folder, of what is written when the holes of a source are filled."""
        return f"filled{source.suffix}"

    @abstractmethod
    def show(self, items: Any) -> Image.Image | str:
        """A few items at a glance."""

    def save_restored(self, restored: Restored, operator: str, folder: Path) -> Path:
        """Write draws, mean and what was measured, ``restored.json``, and all at a glance; gives the path of that.

        Args:
            restored: an item.
            operator: what it was restored from, by name.
            folder: to write into.

        Raises:
            UserError: the folder cannot be written to.
        """
        made = {} if restored.measured is None else {"measured": restored.measured}
        made |= {"mean": restored.mean} | _numbered(restored)
        for name, item in made.items():
            self.save([item], folder / Path(name).with_suffix(Path(self.default).suffix))
        shown = self.show([*made.values()])
        path = folder / ("side-by-side.png" if isinstance(shown, Image.Image) else "side-by-side.txt")
        with writing(folder):
            if isinstance(shown, Image.Image):
                shown.save(path)
            else:
                path.write_text(shown + "\n", encoding="utf-8")
            _tell(restored, operator, folder)
        return path


def _numbered(restored: Restored) -> dict[str, Any]:
    return {f"draw-{number}": draw for number, draw in enumerate(restored.draws, 1)}


def _tell(restored: Restored, operator: str, folder: Path) -> None:
    told = {
        "operator": operator,
        "noise": restored.noise,
        "consistency": [round(float(each), 4) for each in restored.consistency],
        "white in uncertainty.png": restored.scale,
        "evaluations": restored.evaluations,
    }
    (folder / "restored.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by their paths in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@contextmanager
def writing(folder: Path) -> Generator[None, None, None]:
    """Say in a sentence that a folder cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error


class Pictures(Output):
    """A PNG for each, named by its seed, and a sheet of them all."""

    default = "generated"

    def save(self, items: Any, path: Path) -> Path:
        """Into a folder; see :func:`suffuse.pictures.save_samples`."""
        return save_samples(items, path)

    def files(self, items: Any, name: str) -> Mapping[str, bytes]:
        """See the base class; of one picture without the sheet, and all without a disk, which may take longer."""
        check_pictures(items)
        files = {f"{name}/{name_of(image)}": _png(image) for image in items}
        return files if len(items) == 1 else files | {f"{name}/sheet.png": _png(sheet(items))}

    def save_beside(self, before: Sequence[Any], items: Any, path: Path) -> Path:
        """The sheet has a row for each picture: it, and what was made of it."""
        each = len(items) // len(before)
        made = [items[start : start + each] for start in range(0, len(items), each)]
        rows = [[_fitted(one, new[0].size), *new] for one, new in zip(before, made, strict=True)]
        return save_samples(items, path, rows)

    def show(self, items: Any) -> Image.Image:
        """The sheet."""
        return sheet(items)

    def save_restored(self, restored: Restored, operator: str, folder: Path) -> Path:
        """See the base class; with a map of where the draws differ."""
        assert restored.std is not None
        draws = _numbered(restored)
        images = [named(image, name) for name, image in draws.items()]
        save_samples([*images, named(restored.mean, "mean"), named(restored.std, "uncertainty", restored.mean)], folder)
        shown = {} if restored.measured is None else {"measured": restored.measured}
        shown |= {"mean": restored.mean, f"uncertainty to {restored.scale:.2g}": restored.std} | draws
        path = folder / "side-by-side.png"
        with writing(folder):
            (folder / "sheet.png").replace(path)
            labelled(shown).save(path)
            _tell(restored, operator, folder)
        return path


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    save_png(image, stream)
    return stream.getvalue()


def _fitted(item: Any, size: tuple[int, int]) -> Image.Image:
    """Upright, and cropped and resized as for a model; of a pair of pictures the second."""
    image = item if isinstance(item, Image.Image) else item[1]
    return ImageOps.fit(ImageOps.exif_transpose(image).convert("RGBA"), size)


class Tables(Output):
    """One file of rows: CSV, TSV, JSON lines or parquet."""

    default = "generated.csv"

    def save(self, items: Any, path: Path) -> Path:
        """See the base class."""
        writers: dict[str, Callable[[Path], object]] = {
            ".csv": lambda aside: items.to_csv(aside, index=False),
            ".tsv": lambda aside: items.to_csv(aside, index=False, sep="\t"),
            ".jsonl": lambda aside: items.to_json(aside, orient="records", lines=True, date_format="iso"),
            ".parquet": lambda aside: items.to_parquet(aside, index=False),
        }
        return write_as(writers, path)

    def show(self, items: Any) -> str:
        """The rows, as text."""
        return items.to_string(max_cols=None, line_width=160)


class SeriesFiles(Output):
    """One file of rows, as of a table; of several series each has a number."""

    default = "generated.csv"

    def save(self, items: Any, path: Path) -> Path:
        """See the base class."""
        import pandas as pd

        several = [part.assign(**{NUMBER: number}) for number, part in enumerate(items, 1)]
        return Tables().save(items[0] if len(items) == 1 else pd.concat(several, ignore_index=True), path)

    def show(self, items: Any) -> Image.Image:
        """Lines."""
        from suffuse.plots import lines

        return lines(items[:16])


class FieldFiles(Output):
    """One file of them side by side: NetCDF, Zarr, or NumPy arrays."""

    default = "generated.nc"

    def save(self, items: Any, path: Path) -> Path:
        """See the base class."""
        whole = side_by_side(items)
        writers: dict[str, Callable[[Path], object]] = {
            ".nc": lambda aside: whole.to_netcdf(aside, engine="netcdf4"),
            ".zarr": lambda aside: write_store(whole, aside, path),
            ".npz": lambda aside: write_arrays(whole, aside),
        }
        return write_as(writers, path)

    def show(self, items: Any) -> Image.Image:
        """Maps, a row for each variable."""
        return maps(items[:8])


class Videos(Output):
    """An mp4 or GIF file, or a folder of them with a film strip of all."""

    default = "generated.mp4"

    def filled(self, source: Path) -> str:
        """See the base class; a picture is filled to a video."""
        return f"filled{source.suffix if source.suffix.lower() in self.forms else '.mp4'}"

    forms: Mapping[str, Callable[[Clip, Path], None]] = MappingProxyType({".mp4": write_mp4, ".gif": write_gif})

    def save(self, items: Any, path: Path) -> Path:
        """See the base class; several items are written into a folder that is named like the file."""
        check_form(self.forms, path)
        if len(items) == 1:
            return write_as({path.suffix.lower(): partial(self.forms[path.suffix.lower()], items[0])}, path)
        folder = path.with_suffix("")
        for number, clip in enumerate(items, 1):
            self.save([clip], folder / f"{number:04d}{path.suffix}")
        with writing(folder):
            self.show(items).save(folder / "strips.png")
        return folder / "strips.png"

    def show(self, items: Any) -> Image.Image:
        """Film strips."""
        return strips(items[:16])


class Sounds(Output):
    """A file of sound, or a folder of them with what all of them look like."""

    default = "generated.wav"

    def filled(self, source: Path) -> str:
        """See the base class; what is of another form is filled to WAV."""
        return f"filled{source.suffix if source.suffix.lower() in SOUND_FORMS else '.wav'}"

    def save(self, items: Any, path: Path) -> Path:
        """See the base class; several items are written into a folder that is named like the file."""
        check_form(dict.fromkeys(SOUND_FORMS), path)
        if len(items) == 1:
            form = path.suffix.lower()
            return write_as({form: lambda aside: write_sound(items[0], aside, form)}, path)
        folder = path.with_suffix("")
        for number, sound in enumerate(items, 1):
            self.save([sound], folder / f"{number:04d}{path.suffix}")
        with writing(folder):
            self.show(items).save(folder / "sounds.png")
        return folder / "sounds.png"

    def show(self, items: Any) -> Image.Image:
        """Waveforms and spectrograms."""
        return portraits(items[:16])


class Texts(Output):
    """One file: lines of a text file (a blank line between texts that have several), JSON lines, or a column of CSV."""

    default = "generated.txt"

    def save(self, items: Any, path: Path) -> Path:
        """See the base class."""
        between = "\n\n" if any("\n" in item.strip("\n") for item in items) else "\n"
        plain = between.join(item.strip("\n") for item in items) + "\n"
        lines = "".join(json.dumps({"text": item}, ensure_ascii=False) + "\n" for item in items)
        writers: dict[str, Callable[[Path], object]] = {
            ".txt": lambda aside: aside.write_text(plain, encoding="utf-8"),
            ".jsonl": lambda aside: aside.write_text(lines, encoding="utf-8"),
            ".csv": lambda aside: _column_of("text", items, aside),
        }
        return write_as(writers, path)

    def show(self, items: Any) -> str:
        """The texts, one below the other."""
        return "\n----\n".join(items)


class Sequences(Output):
    """One file: FASTA, lines of a text file, or a column of CSV."""

    default = "generated.fasta"

    def save(self, items: Any, path: Path) -> Path:
        """See the base class."""
        fasta = "".join(f">generated{number}\n{item}\n" for number, item in enumerate(items, 1))
        writers: dict[str, Callable[[Path], object]] = {
            ".fasta": lambda aside: aside.write_text(fasta, encoding="utf-8"),
            ".fa": lambda aside: aside.write_text(fasta, encoding="utf-8"),
            ".txt": lambda aside: aside.write_text("".join(f"{item}\n" for item in items), encoding="utf-8"),
            ".csv": lambda aside: _column_of("sequence", items, aside),
        }
        return write_as(writers, path)

    def show(self, items: Any) -> str:
        """The sequences, one below the other."""
        return "\n".join(items)


class MusicFiles(Output):
    """A file of MIDI, MusicXML or sound for each, or a folder of MIDI files with all of them at a glance."""

    default = "generated"

    def save(self, items: Any, path: Path) -> Path:
        """See the base class."""
        if not path.suffix:
            for number, piece in enumerate(items, 1):
                self.save([piece], path / f"{number:04d}.mid")
            with writing(path):
                self.show(items).save(path / "roll.png")
            return path / "roll.png"
        for number, piece in enumerate(items, 1):
            each = path if len(items) == 1 else path.with_stem(f"{path.stem}-{number}")
            write_as(_forms(piece), each)
        return path

    def show(self, items: Any) -> Image.Image:
        """Piano rolls."""
        return piano_roll(items[:16])


def _forms(piece: Piece) -> dict[str, Callable[[Path], object]]:
    return {suffix: lambda aside, form=form: aside.write_bytes(form(piece)) for suffix, form in FORMS.items()}


def _column_of(name: str, items: Sequence[str], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[name], *([item] for item in items)])


def write_as(writers: Mapping[str, Callable[[Path], object]], path: Path) -> Path:
    """Write a file in the form that its suffix says, as a whole or not at all.

    Raises:
        UserError: the suffix is none of those known, or the file cannot be written.
    """
    check_form(writers, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, writers[path.suffix.lower()])
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def check_form(writers: Mapping[str, object], path: Path) -> None:
    """Refuse a path whose suffix is none of the forms that there are.

    Raises:
        UserError: names them.
    """
    if path.suffix.lower() not in writers:
        raise UserError(f"{path} must end in one of {', '.join(writers)}, which say how to write these samples")


_LABEL = 14


def labelled(
    images: Mapping[str, Image.Image], columns: int = 6, least: int = 112, widest: int = 256, gap: int = 4
) -> Image.Image:
    """Pictures on one, each under its label; all as large as the largest, within bounds.

    Args:
        images: by their labels.
        columns: per row, at most.
        least: width of a picture in pixels, for which small ones are magnified by a whole factor.
        widest: width to which large ones are shrunk.
        gap: pixels between them.

    Example:
        >>> labelled({"small": Image.new("L", (7, 7)), "large": Image.new("L", (28, 28))}).size
        (236, 134)
    """
    width, height = max((image.size for image in images.values()), key=lambda size: size[0] * size[1])
    scale = max(1, -(-least // width)) if width < widest else widest / width
    width, height = round(width * scale), max(1, round(height * scale))
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    size = (columns * (width + gap) + gap, rows * (height + _LABEL + gap) + gap)
    page = Image.new("RGB", size, (238, 238, 238))
    draw = ImageDraw.Draw(page)
    for place, (label, image) in enumerate(images.items()):
        left = gap + place % columns * (width + gap)
        top = gap + place // columns * (height + _LABEL + gap)
        draw.text((left, top), label, fill=(64, 64, 64))
        kind = Image.Resampling.NEAREST if image.width <= width else Image.Resampling.LANCZOS
        large = image.resize((width, height), kind)
        page.paste(large.convert("RGB"), (left, top + _LABEL), large.getchannel("A") if large.mode == "RGBA" else None)
    return page


OUTPUTS: Mapping[str, Output] = MappingProxyType(
    {
        "image": Pictures(),
        "segments": Pictures(),
        "table": Tables(),
        "text": Texts(),
        "sequence": Sequences(),
        "series": SeriesFiles(),
        "video": Videos(),
        "field": FieldFiles(),
        "next-field": FieldFiles(),
        "music": MusicFiles(),
        "audio": Sounds(),
    }
)
"""By the kind of the model's codec."""


def output_of(kind: str) -> Output:
    """The output of a kind of data.

    Raises:
        UserError: there is none.
    """
    if kind not in OUTPUTS:
        raise UserError(f"the samples of a model of {kind} cannot be written to files")
    return OUTPUTS[kind]
