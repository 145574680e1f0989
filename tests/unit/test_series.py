"""Series: what is found in files, every mistake in them that we know of, and the verbs on real ones."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import suffuse as sf
from suffuse.codecs.series import CalendarCodec, Channel, SeriesCodec
from suffuse.data.loader import split
from suffuse.data.series import SeriesSource
from suffuse.data.sources import open_source
from suffuse.errors import UserError
from suffuse.learn import train
from suffuse.networks import Marked, Transformer
from suffuse.outputs import output_of
from suffuse.patterns import Spans
from suffuse.recipes.recipe import DataSection, Recipe
from suffuse.rng import Streams


def lake() -> pd.DataFrame:
    """Carbon dioxide over Mauna Loa, week by week, as statsmodels ships it: 2,284 weeks, 59 of them missing."""
    from statsmodels.datasets import co2

    return co2.load_pandas().data.reset_index(names="week")


def put(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(path, index=False)
    return path


def opened(path: Path, **options: str) -> SeriesSource:
    source = open_source(path, **options)
    assert isinstance(source, SeriesSource)
    return source


def refused(path: Path, **options: str) -> str:
    with pytest.raises(UserError) as error:
        open_source(path, **options).cut(16).scan()
    assert "\n" not in str(error.value)
    return str(error.value)


def hourly(count: int, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"time": pd.date_range("2024-01-01", periods=count, freq="h"), **columns})


WAVE = np.sin(np.arange(200) / 4)


# Files


def test_rows_whose_times_grow_are_a_series(tmp_path: Path):
    source = opened(put(tmp_path / "co2.csv", lake()))
    summary = source.scan().summary()
    assert "2284 steps of 7 days, each of 1: co2" in summary
    assert "59 values are missing and interpolated" in summary
    assert len(source.raw([0])[0]) == 2284
    windows = source.cut(52)
    assert len(windows) == 2284 - 51
    assert windows.raw([3])[0]["week"].iloc[0] == pd.Timestamp("1958-04-19")


def test_steps_of_months_are_months(tmp_path: Path):
    frame = pd.DataFrame({"month": pd.date_range("1950-01-31", periods=120, freq="ME"), "x": WAVE[:120]})
    source = opened(put(tmp_path / "a.csv", frame.drop(index=[7, 9])))
    assert "120 steps of a month" in source.scan().summary()
    assert source.raw([0])[0]["x"].isna().to_numpy().nonzero()[0].tolist() == [7, 9]


def test_uneven_and_unsorted_times_come_onto_a_grid(tmp_path: Path):
    frame = hourly(100, x=np.arange(100.0))
    frame.loc[50, "time"] += pd.Timedelta("4min")
    frame.loc[60, "time"] = frame.loc[61, "time"]
    source = opened(put(tmp_path / "a.csv", frame.sample(frac=1, random_state=0)), kind="series")
    values = source.raw([0])[0]["x"].to_numpy()
    assert values[50] == 50
    assert np.isnan(values[60])
    assert values[61] == 60.5
    assert len(values) == 100


def test_a_column_of_names_tells_series_apart(tmp_path: Path):
    parts = [hourly(80, x=WAVE[:80] + n, place=name) for n, name in enumerate(("here", "there"))]
    source = opened(put(tmp_path / "a.csv", pd.concat(parts)), kind="series")
    assert source.names([0, 1]) == ["here 2024-01-01 00:00:00", "there 2024-01-01 00:00:00"]
    assert len(source.cut(16)) == 2 * 65
    assert open_source(tmp_path / "a.csv").kind == "table"


def test_series_that_were_drawn_together_are_read_as_they_were_written(tmp_path: Path):
    parts = [hourly(20, x=WAVE[:20] + n, y=WAVE[:20] * n) for n in range(3)]
    output_of("series").save(parts, tmp_path / "a.csv")
    source = opened(tmp_path / "a.csv", kind="series")
    assert list(source.channels) == ["x", "y"]
    for part, item in zip(parts, source.raw([0, 1, 2]), strict=True):
        assert np.allclose(item[["x", "y"]], part[["x", "y"]])


def test_numbers_are_times_where_they_are_called_so_or_none_are_given(tmp_path: Path):
    source = opened(put(tmp_path / "a.csv", pd.DataFrame({"t": np.arange(90) / 2, "x": WAVE[:90]})), kind="series")
    assert "90 steps of 0.5" in source.scan().summary()
    source = opened(put(tmp_path / "b.csv", pd.DataFrame({"x": WAVE[:90]})), kind="series")
    assert list(source.raw([0])[0]["step"])[:3] == [0.0, 1.0, 2.0]


def test_columns_that_say_nothing_are_named_and_left_out(tmp_path: Path):
    frame = hourly(90, x=WAVE[:90], same=1.5, empty=np.nan)
    source = opened(put(tmp_path / "a.csv", frame), kind="series")
    assert source.learned == ("x",)
    assert source.raw([0])[0]["same"].tolist() == [1.5] * 90  # a model that knows it may ask for it
    summary = source.scan().summary()
    assert "column same" in summary
    assert "column empty" in summary


def test_mistakes_are_one_sentence(tmp_path: Path):
    assert "fewer than a window of 16" in refused(put(tmp_path / "a.csv", hourly(10, x=WAVE[:10])), kind="series")
    assert "no column" in refused(put(tmp_path / "b.csv", hourly(90, x=np.nan)), kind="series")
    with pytest.raises(UserError, match="numbers that change"):
        train(put(tmp_path / "g.csv", hourly(90, x=1.0)), Recipe(data=DataSection(kind="series", length=16)), tmp_path)
    gone = hourly(90, x=WAVE[:90], y=WAVE[:90])
    gone.loc[3:, "y"] = np.nan
    assert "no window of which 50% is known" in refused(put(tmp_path / "c.csv", gone), kind="series")
    assert "all rows have the same time" in refused(put(tmp_path / "h.csv", hourly(1, x=WAVE[:1])), kind="series")
    words = pd.DataFrame({"time": [f"soon {n}" for n in range(90)], "x": WAVE[:90]})
    assert "is no time" in refused(put(tmp_path / "d.csv", words), kind="series")
    far = hourly(90, x=WAVE[:90])
    far.loc[89, "time"] += pd.Timedelta("3650D")
    assert "too uneven" in refused(put(tmp_path / "e.csv", far), kind="series")
    same = hourly(90, x=WAVE[:90]).assign(time=pd.Timestamp("2024-01-01"))
    assert "the same time" in refused(put(tmp_path / "f.csv", same), kind="series")


def test_what_is_held_out_shares_no_step_with_what_is_trained_on():
    windows = SeriesSource("a", "t", ["x"], [], opened_series()).cut(16)
    train, held = map(list, split(len(windows), 0, 0.1, windows.overlap))
    assert held
    assert windows.windows[train[-1], 1] + 16 == windows.windows[held[0], 1]


def opened_series() -> list[object]:
    from suffuse.data.series import Series

    return [Series("a", 0.0, 1.0, WAVE[:, None])]


# What is known, and what is asked for


def test_spans_hide_a_part_in_a_row_or_a_whole_channel_and_each_item_by_its_own_stream():
    x0 = torch.zeros(400, 3, 24)
    clean = Spans(0.8).draw(x0, Streams.of(0, range(400)))
    assert torch.equal(Spans(0.8).draw(x0[5:7], Streams.of(0, range(5, 7))), clean[5:7])
    shown = clean.flatten(1).any(1)
    assert 0.7 < shown.float().mean() < 0.88
    for row in (~clean[shown]).flatten(0, 1).int():
        assert (row.diff().abs().sum() + row[0] + row[-1]) <= 2
    assert 0.03 < (~clean[shown]).all(2).float().mean() < 0.2


def test_the_network_is_told_lines_between_what_is_known():
    from suffuse.networks.marked import _between

    x = torch.tensor([[[9.0, 9, 2, 9, 9, 5, 9], [1.0] * 7]])
    known = torch.tensor([[[0.0, 0, 1, 0, 0, 1, 0], [0.0] * 7]])
    assert _between(x, known).tolist() == [[[2.0, 2, 2, 3, 4, 5, 5], [0.0] * 7]]


def test_what_the_network_sees_of_hidden_elements_is_noise_alone():
    network = Marked(Transformer(7, dimensions=1, patch=1, width=16, depth=1, heads=2, out_channels=2))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, level = torch.randn(2, 2, 8), torch.full((2, 2, 8), -1.0)
    level[0, :, :4] = 20.0
    other = network(torch.where(level > 0, x + 1, x), level)
    assert not torch.allclose(network(x, level)[0], other[0])
    assert torch.equal(network(x, level)[1], other[1])


def test_a_series_may_go_where_it_has_never_been():
    """The values of a window far above all that was seen come back, given where it begins."""
    channel = Channel.fit("x", [WAVE], 8)
    codec = SeriesCodec([channel], 8, "t")
    window = pd.DataFrame({"t": range(8), "x": 100 + np.arange(8.0)})
    holes = window.assign(x=window["x"].where(window["t"] < 5))
    state, known = codec.partial([holes])
    assert known.tolist() == [[[True] * 5 + [False] * 3]]
    assert np.allclose(codec.fill([holes], codec.encode([window]))[0]["x"], window["x"], rtol=1e-5)
    assert state[0, 0, 0] == pytest.approx(channel.high)


def test_a_moment_is_told_by_the_cycles_that_it_is_in():
    days = CalendarCodec.fit(list(pd.date_range("2020-01-01", "2023-01-01", freq="D")))
    assert days.cycles == ("week", "year")
    assert CalendarCodec.fit(list(pd.date_range("2020-01-01", periods=100, freq="h"))).cycles == ("day",)
    with pytest.raises(UserError, match="no moment"):
        days.encode(["soon"])


# Verbs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a wave with noise, trained for a moment, beside its data."""
    folder = tmp_path_factory.mktemp("series")
    rng = np.random.default_rng(0)
    count = np.arange(600)
    frame = hourly(600, a=np.sin(count / 4) + 0.1 * rng.normal(size=600), b=50 + 10 * np.cos(count / 4))
    put(folder / "wave.csv", frame.round({"a": 3, "b": 3}))
    done = suffuse("train", folder / "wave.csv", "--out", folder / "run", "--steps", 400, "--length", 24, *SMALL)
    assert done.returncode == 0, done.stderr
    return folder


SMALL = ["--width", "32", "--depth", "2", "--batch", "32", "--learning-rate", "3e-3"]


def suffuse(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "suffuse", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})


def test_new_windows(trained: Path):
    done = suffuse("generate", trained / "run", "-n", 3, "--out", trained / "new.csv", "--steps", 4)
    assert done.returncode == 0, done.stderr
    new = pd.read_csv(trained / "new.csv")
    assert list(new) == ["time", "a", "b", "series"]
    assert len(new) == 72


def test_the_future_and_holes_are_filled_and_the_rest_stays(trained: Path):
    """Thirty steps are more than a window leaves room for, so that they are drawn part by part."""
    real = pd.read_csv(trained / "wave.csv").tail(100)
    holes = real.copy()
    holes.loc[holes.index[-30:], ["a", "b"]] = np.nan
    holes.loc[holes.index[30:34], "b"] = np.nan
    put(trained / "holes.csv", holes)
    wanted = ["infill", trained / "run", trained / "holes.csv", "--steps", 8]
    done = suffuse(*wanted, "--out", trained / "filled.csv")
    assert done.returncode == 0, done.stderr
    filled = pd.read_csv(trained / "filled.csv")
    assert list(filled["time"]) == list(real["time"])
    assert not filled.isna().any(axis=None)
    known = holes.notna().to_numpy()
    assert (filled.to_numpy()[known] == real.to_numpy()[known]).all()
    done = suffuse(*wanted, "--draws", 8, "--out", trained / "fan.csv")
    assert done.returncode == 0, done.stderr
    fan = pd.read_csv(trained / "fan.csv")
    assert list(fan) == ["time", "a", "b", "a 5%", "a 95%", "b 5%", "b 95%"]
    ahead = fan.tail(30)
    assert (ahead["a 5%"] <= ahead["a"]).all()
    assert (ahead["a"] <= ahead["a 95%"]).all()
    assert ahead["a 5%"].mean() < ahead["a 95%"].mean()
    near = (fan["b"] - real["b"].to_numpy())[70:76].abs().mean()
    assert near < 0.5 * (real["b"] - real["b"].mean()).abs().mean()


def test_holes_may_be_said_on_the_command_line(trained: Path):
    """The same steps are drawn as where the file has holes."""
    real = pd.read_csv(trained / "wave.csv").tail(100)
    put(trained / "whole.csv", real.head(90))
    holes = real.copy()
    holes.loc[[*holes.index[10:14], *holes.index[90:]], ["a", "b"]] = np.nan
    put(trained / "written.csv", holes)
    infill = ["infill", trained / "run", "--steps", 4]
    for name, said in (("whole", ["--holes", "10:14", "90:100"]), ("written", [])):
        done = suffuse(*infill, trained / f"{name}.csv", *said, "--out", trained / f"{name}-filled.csv")
        assert done.returncode == 0, done.stderr
    one, other = (pd.read_csv(trained / f"{name}-filled.csv") for name in ("whole", "written"))
    pd.testing.assert_frame_equal(one, other)
    for said, message in (
        ("5", "'5' is not understood; write from:to, such as 1.2:1.25"),
        ("9:9", "holds nothing"),
        ("95:99", "between whole steps, of which there are 90"),
        ("1.5:2", "between whole steps"),
    ):
        done = suffuse(*infill, trained / "whole.csv", "--holes", said)
        assert done.returncode == 2
        assert message in done.stderr.splitlines()[-1]


def test_windows_are_scored_by_their_time_and_a_broken_one_is_the_least_likely(trained: Path):
    frame = pd.read_csv(trained / "wave.csv")
    frame.loc[100:105, "a"] = 5.0
    put(trained / "broken.csv", frame)
    done = suffuse(
        "score", trained / "run", trained / "broken.csv", "--out", trained / "scores.csv", "--evaluations", 16
    )
    assert done.returncode == 0, done.stderr
    scores = pd.read_csv(trained / "scores.csv")
    assert len(scores) == 600 // 24
    assert scores["nats"].idxmin() == 100 // 24
    assert scores["name"][1] == "2024-01-02 00:00:00"


def test_a_report_has_forecasts(trained: Path):
    wanted = ["evaluate", trained / "run", trained / "wave.csv", "--out", trained / "report", "--steps", 4]
    done = suffuse(*wanted, "--evaluations", 8)
    assert done.returncode == 0, done.stderr
    report = (trained / "report/report.md").read_text()
    for figure in ("CRPS", "coverage of 90%", "autocorrelation error", "channel error"):
        assert f"| {figure} |" in report


def test_the_same_in_python(trained: Path):
    model = sf.load(trained / "run")
    drawn = model.generate(2, steps=4, condition="2024-03-01 06:00")
    assert [list(frame) for frame in drawn] == [["time", "a", "b"]] * 2
    assert model.embed(drawn).shape[0] == 2
    with pytest.raises(UserError, match="shorter than the 24"):
        model.infill(drawn[0].head(5))
    with pytest.raises(UserError, match="no channel 'b'"):
        model.score([drawn[0].drop(columns="b")])
