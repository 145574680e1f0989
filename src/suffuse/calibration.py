"""The temperature that a model's probabilities of classes were found to need, kept in a file beside the model."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from suffuse.errors import UserError
from suffuse.training.checkpoint import replace

FILE = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    """A temperature, and what it was fitted to.

    Args:
        temperature: by which differences of bounds are divided.
        items: with labels, that it was fitted to; 0 where it never was.
        images: training items that the model had seen; one that has seen more needs a temperature of its own.
    """

    temperature: float = 1.0
    items: int = 0
    images: int = 0

    def save(self, folder: Path) -> None:
        """Write it beside the model, as a whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        text = json.dumps(asdict(self)) + "\n"
        try:
            replace(folder / FILE, lambda aside: aside.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot write {folder / FILE}: {error.strerror or error}") from error

    @classmethod
    def load(cls, folder: Path, images: int) -> "Calibration":
        """Read that of a model that has seen so many items; temperature 1, where there is none for it.

        Raises:
            UserError: the file is damaged.
        """
        file = folder / FILE
        if not file.is_file():
            return cls(images=images)
        try:
            saved = json.loads(file.read_text(encoding="utf-8"))
            found = cls(float(saved["temperature"]), int(saved["items"]), int(saved["images"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{file} is damaged; delete it, and calibrate again: suffuse classify --calibrate"
            ) from error
        return found if found.images == images else cls(images=images)
