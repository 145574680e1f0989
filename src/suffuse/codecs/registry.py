"""All codecs by the name under which a model is saved, so that laws are tested over every one of them."""

from suffuse.codecs.audio import SoundCodec
from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.changes import ChangeCodec, PresentCodec
from suffuse.codecs.conditions import CaptionCodec, ClassCodec, NumberCodec
from suffuse.codecs.fields import FieldCodec
from suffuse.codecs.image import ImageCodec
from suffuse.codecs.music import MusicCodec
from suffuse.codecs.pictures import PictureCodec
from suffuse.codecs.segments import SegmentCodec
from suffuse.codecs.series import CalendarCodec, SeriesCodec
from suffuse.codecs.table import TableCodec
from suffuse.codecs.text import SequenceCodec, TextCodec, TextConditionCodec
from suffuse.codecs.video import VideoCodec

CODECS: dict[str, type[Codec]] = {
    codec.kind: codec
    for codec in (
        ImageCodec,
        SegmentCodec,
        TableCodec,
        TextCodec,
        SequenceCodec,
        SeriesCodec,
        FieldCodec,
        ChangeCodec,
        VideoCodec,
        MusicCodec,
        SoundCodec,
    )
}
CONDITIONS: dict[str, type[ConditionCodec]] = {
    codec.kind: codec
    for codec in (
        ClassCodec,
        NumberCodec,
        CaptionCodec,
        TextConditionCodec,
        CalendarCodec,
        PictureCodec,
        PresentCodec,
    )
}
