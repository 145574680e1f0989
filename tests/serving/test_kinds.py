"""Videos, fields and rows over the wire: each in its own form, both ways."""

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
import xarray as xr

import suffuse as sf
from suffuse.clips import Clip, write_mp4
from suffuse.data.sources import open_source
from tests.serving.servers import Server, Start


@pytest.fixture(scope="module")
def server(start: Start, kinds: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Server:
    jobs = tmp_path_factory.mktemp("jobs") / "jobs.sqlite"
    return start(kinds["clips"], kinds["fields"], kinds["rows"], "--jobs", jobs)


def _post(server: Server, model: str, verb: str, file: Path, **options: Any) -> httpx.Response:
    sent = {"file": (file.name, file.read_bytes())}
    return server.client.post(f"/v1/models/{model}/{verb}", files=sent, data={"options": json.dumps(options)})


def _kept(answer: httpx.Response, path: Path) -> Path:
    assert answer.status_code == 200, answer.text
    path.write_bytes(answer.content)
    return path


def test_each_kind_is_drawn_in_its_own_form(server: Server, tmp_path: Path):
    forms = {"clips": "video/mp4", "fields": "application/netcdf", "rows": "text/csv"}
    for name, form in forms.items():
        answer = server.client.post(f"/v1/models/{name}/generate", json={"n": 1, "seed": 3})
        assert answer.headers["content-type"].partition(";")[0] == form
    drawn = _kept(server.client.post("/v1/models/fields/generate", json={"n": 2}), tmp_path / "drawn.nc")
    with xr.open_dataset(drawn) as found:
        assert found.sizes["sample"] == 2
    with av.open(str(_kept(server.client.post("/v1/models/clips/generate", json={}), tmp_path / "a.mp4"))) as film:
        assert sum(1 for _ in film.decode(video=0)) == 4


def test_what_comes_next_in_a_video_is_that_of_the_model(
    server: Server, kinds: Mapping[str, Path], data: Path, tmp_path: Path
):
    model = sf.load(kinds["clips"])
    (clip,) = open_source(data / "film.mp4", kind="video").raw([0])
    few = tmp_path / "few.mp4"
    write_mp4(Clip(clip.frames[:2], clip.rate), few)
    filled = _kept(_post(server, "clips", "infill", few, holes=["2:4"], seed=5), tmp_path / "filled.mp4")
    (back,) = open_source(filled, kind="video").raw([0])
    (sent,) = open_source(few, kind="video").raw([0])
    write_mp4(model.infill([model.codec.hollowed(sent, 2, 4)], seed=5)[0], tmp_path / "ours.mp4")
    (ours,) = open_source(tmp_path / "ours.mp4", kind="video").raw([0])
    assert back.frames.shape == (4, 16, 16, 3)
    assert np.abs(back.frames.astype(int) - ours.frames.astype(int)).mean() < 1


def test_fields_and_rows_are_scored(server: Server, data: Path):
    for name, file, count in (("fields", "waves.nc", 12), ("rows", "rows.csv", 40)):
        answer = _post(server, name, "score", data / file, evaluations=4)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()) == count


def test_what_is_no_such_file_is_told_so(server: Server, tmp_path: Path):
    for name, suffix, message in (
        ("clips", ".mp4", "no recording"),
        ("fields", ".nc", "cannot be read"),
        ("fields", ".zarr", "a file that ends in .nc"),
        ("rows", ".csv", ""),
    ):
        file = tmp_path / f"a{suffix}"
        file.write_bytes(b"\x00nothing of the kind" * 9)
        answer = _post(server, name, "score", file)
        assert answer.status_code == 400, answer.text
        assert message in answer.json()["error"]
        assert "/tmp" not in answer.json()["error"]
    long = tmp_path / "long.mp4"
    write_mp4(Clip(np.zeros((700, 16, 16, 3), np.uint8), Fraction(1)), long)
    answer = _post(server, "clips", "score", long)
    assert "lasts 700 seconds, and at most 600" in answer.json()["error"]
