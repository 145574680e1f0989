"""How much a server takes on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on what is asked for; all of them are refused with a status of the 400s before any work.

    Args:
        queue: jobs that wait, at most.
        upload: bytes of a request, at most.
        pixels: of an uploaded picture, of a frame, or of all that is drawn, at most; numbers of an upload of fields.
        seconds: of an uploaded recording, at most.
        items: that are drawn or read for one request, at most.
        steps: of a walk, at most.
        kept: seconds that a result is kept after its job is done.
    """

    queue: int = 64
    upload: int = 32 * 2**20
    pixels: int = 2**24
    seconds: float = 600.0
    items: int = 1024
    steps: int = 1000
    kept: float = 3600.0
