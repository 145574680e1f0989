"""What is measured of each kind of data, by the kind of its codec."""

from collections.abc import Mapping
from types import MappingProxyType

from suffuse.errors import UserError
from suffuse.metrics.protocols.base import Figure, Protocol, Samples
from suffuse.metrics.protocols.pictures import OfPictures, OfVideos
from suffuse.metrics.protocols.series import OfFields, OfSeries
from suffuse.metrics.protocols.tables import OfTables
from suffuse.metrics.protocols.texts import OfMusic, OfTexts

__all__ = ["PROTOCOLS", "Figure", "Protocol", "Samples", "protocol_of"]

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "image": OfPictures(),
        "video": OfVideos(),
        "table": OfTables(),
        "text": OfTexts((1, 3, 5), words=True),
        "sequence": OfTexts((1, 2, 3), words=False),
        "series": OfSeries(),
        "field": OfFields(),
        "music": OfMusic(),
    }
)
"""By the kind of the model's codec."""


def protocol_of(kind: str) -> Protocol:
    """The protocol of a kind of data.

    Raises:
        UserError: there is none.
    """
    if kind not in PROTOCOLS:
        raise UserError(f"nothing is measured yet of models of {kind}; suffuse score gives their bounds")
    return PROTOCOLS[kind]
