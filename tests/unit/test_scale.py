"""Folders of samples: what is in their files, of every kind of data, and whose they are."""

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile
import xarray as xr
from PIL import Image

from suffuse.clips import Clip
from suffuse.codecs.audio import SoundCodec
from suffuse.codecs.cells import CategoryCells, ConstantCells, DateCells, NumberCells
from suffuse.codecs.image import ImageCodec
from suffuse.codecs.registry import CODECS
from suffuse.codecs.series import Channel, SeriesCodec
from suffuse.codecs.spelling import Alphabet, Letters
from suffuse.codecs.table import Field, TableCodec
from suffuse.codecs.text import SequenceCodec, TextCodec
from suffuse.codecs.video import VideoCodec
from suffuse.errors import UserError
from suffuse.pictures import made_by, signed
from suffuse.scale.plan import MANIFEST, Plan, held
from suffuse.scale.rows import ROWS, rows_of
from suffuse.scale.shards import write_parquet, write_webdataset
from suffuse.sounds import Sound

PLAN = Plan("1f2e", ("0.1.0", "2.13.0"), n=25, seed=10, shard=10, steps=3)
MOMENT = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)


def columns(codec: Any, items: list[Any], path: Path) -> dict[str, list[Any]]:
    write_parquet(path, rows_of(codec), [([7], items[:1]), ([8], items[1:])])
    return pq.read_table(path).to_pydict()


def archived(codec: Any, items: list[Any], path: Path) -> dict[str, bytes]:
    write_webdataset(path, rows_of(codec), [([7], items[:1]), ([8], items[1:])])
    with tarfile.open(path) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive}


def test_pictures_are_files_that_say_how_they_were_made(tmp_path):
    items = [signed(Image.new("RGB", (8, 8), colour), {"seed": 7}) for colour in ("red", "blue")]
    found = columns(ImageCodec(8, 3), items, tmp_path / "a.parquet")
    assert found["seed"] == [7, 8]
    assert [cell["path"] for cell in found["image"]] == ["000000000007.png", "000000000008.png"]
    for cell, item in zip(found["image"], items, strict=True):
        picture = Image.open(io.BytesIO(cell["bytes"]))
        assert picture.tobytes() == item.tobytes()
        assert made_by(picture) == {"seed": 7}
    files = archived(ImageCodec(8, 3), items, tmp_path / "a.tar")
    assert files["000000000008.png"] == found["image"][1]["bytes"]
    assert json.loads(files["000000000008.json"]) == {"seed": 8}
    assert len(files) == 4


@pytest.mark.parametrize(
    ("codec", "name", "items"),
    [
        (TextCodec(Letters(), 8), "text", ["Grüße", "a\nb"]),
        (SequenceCodec(Alphabet("ACGT", "DNA"), 6), "sequence", ["GATT", "A"]),
    ],
)
def test_texts_are_a_column(codec, name, items, tmp_path):
    assert columns(codec, items, tmp_path / "a.parquet") == {"seed": [7, 8], name: items}
    files = archived(codec, items, tmp_path / "a.tar")
    assert json.loads(files["000000000007.json"]) == {"seed": 7, name: items[0]}


def test_columns_of_a_table_have_their_types_whatever_is_missing(tmp_path):
    fields = {
        "whole": (NumberCells.fit([1, 5, 9]), 5),
        "real": (NumberCells.fit([0.5, 1.5]), 0.5),
        "day": (DateCells.fit([date(2024, 2, 29), date(2024, 3, 1)]), date(2024, 2, 29)),
        "moment": (DateCells.fit([MOMENT]), MOMENT),
        "hour": (DateCells.fit([datetime(2024, 1, 1, 5)]), datetime(2024, 1, 1, 5)),
        "colour": (CategoryCells(["red", "blue"]), "blue"),
        "yes": (CategoryCells([True, False]), True),
        "code": (CategoryCells([3, 1]), 3),
        "same": (ConstantCells(2.5), 2.5),
        "seed": (CategoryCells(["apple", "pear"]), "pear"),  # which the column of seeds must not hide
    }
    codec = TableCodec([Field(name, cells, True) for name, (cells, _) in fields.items()])
    items = [dict.fromkeys(fields), {name: value for name, (_, value) in fields.items()}]
    found = columns(codec, items, tmp_path / "a.parquet")
    assert found == {"_seed": [7, 8]} | {name: [None, value] for name, (_, value) in fields.items()}
    none = tmp_path / "none.parquet"
    write_parquet(none, rows_of(codec), [([7], items[:1])])
    assert pq.read_schema(none) == pq.read_schema(tmp_path / "a.parquet")
    told = json.loads(archived(codec, items, tmp_path / "a.tar")["000000000008.json"])
    assert (told["day"], told["moment"], told["seed"]) == ("2024-02-29", "2024-02-29T12:30:00+00:00", "pear")


def test_series_are_lists(tmp_path):
    items = [pd.DataFrame({"t": [0, 1], "a": [1.5, 2.5], "n": [k, 4]}) for k in (3, 5)]
    channels = [Channel.fit("a", [np.array([0.5, 2.0])], 2), Channel.fit("n", [np.array([0, 2])], 2)]
    found = columns(SeriesCodec(channels, 2, "t"), items, tmp_path / "a.parquet")
    assert found == {"seed": [7, 8], "t": [[0, 1]] * 2, "a": [[1.5, 2.5]] * 2, "n": [[3, 4], [5, 4]]}


def test_sounds_clips_pieces_and_fields_are_files(tmp_path):
    wave = Sound(np.sin(np.linspace(0, 9, 400, dtype=np.float32))[None], 8000)
    found = columns(SoundCodec(8000, 1, 400), [wave, wave], tmp_path / "a.parquet")
    samples, rate = soundfile.read(io.BytesIO(found["audio"][1]["bytes"]))
    assert rate == 8000
    assert np.abs(samples - wave.samples[0]).max() < 2**-14
    clip = Clip(np.full((4, 16, 16, 3), 99, np.uint8), Fraction(10))
    found = columns(VideoCodec(4, (16, 16), 3, Fraction(10)), [clip, clip], tmp_path / "b.parquet")
    with av.open(io.BytesIO(found["video"][1]["bytes"])) as film:
        assert len([*film.decode(video=0)]) == 4
    assert found["video"][0]["path"] == "000000000007.mp4"
    weather = xr.Dataset({"u": (("y", "x"), np.arange(6.0).reshape(2, 3))})
    cell = ROWS["field"].cells(weather)["field"]
    (tmp_path / "u.nc").write_bytes(cell.data)
    with xr.open_dataset(tmp_path / "u.nc") as read:
        assert read["u"].to_numpy().squeeze().tolist() == weather["u"].to_numpy().tolist()


def test_kinds_that_are_drawn_from_nothing_are_all_laid_out():
    assert {*CODECS} - {*ROWS} == {"table", "series", "segments", "next-field"}  # the first two by their columns


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with held(tmp_path / "samples", PLAN):
        (tmp_path / "samples" / PLAN.name(1)).touch()
    return tmp_path / "samples"


def test_a_plan_has_every_seed_once():
    assert [seed for number in range(PLAN.count) for seed in PLAN.seeds(number)] == [*range(10, 35)]
    assert PLAN.name(2) == "train-00002-of-00003.parquet"


def test_what_is_missing_is_found_and_what_is_half_written_swept(folder):
    (folder / f".tmp-ab12-{PLAN.name(0)}").touch()
    with held(folder, PLAN):
        assert PLAN.missing(folder) == [0, 2]
        assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, PLAN.name(1)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n": 26}, "n 25, and this is 26"),
        ({"seed": 0}, "seed 10"),
        ({"model": "9"}, "model 1f2e"),
        ({"steps": None}, "steps 3"),
    ],
)
def test_a_folder_of_something_else_is_refused(folder, changed, said):
    with pytest.raises(UserError, match=said), held(folder, replace(PLAN, **changed)):
        pass


def test_a_folder_without_a_file_is_anybodys(folder):
    (folder / PLAN.name(1)).unlink()
    with held(folder, replace(PLAN, n=7)):
        assert json.loads((folder / MANIFEST).read_text())["n"] == 7


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UserError, match="holds something else"), held(tmp_path, PLAN):
        pass


def test_a_folder_is_written_to_by_one_process(folder):
    with held(folder, PLAN), pytest.raises(UserError, match="another process"), held(folder, PLAN):
        pass


def test_a_damaged_manifest_is_refused(folder):
    (folder / MANIFEST).write_text("{")
    with pytest.raises(UserError, match="is damaged"), held(folder, PLAN):
        pass


@pytest.mark.parametrize(("name", "value"), [("n", 0), ("shard", 0)])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(UserError, match="at least 1, not 0"):
        replace(PLAN, **{name: value})
