"""Fields: what is found in files, every mistake in them that we know of, and the verbs on real ones."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from suffuse.codecs.fields import FieldCodec
from suffuse.data.fields import FieldSource, of_dataset
from suffuse.data.sources import open_source
from suffuse.demos.solvers import HEAT
from suffuse.denoiser import Corrective
from suffuse.errors import UserError
from suffuse.fields import later, step_between
from suffuse.learn import train
from suffuse.model import Model
from suffuse.networks import UNet
from suffuse.operators import Mask
from suffuse.outputs import FieldFiles
from suffuse.patterns import Places
from suffuse.recipes.recipe import DataSection, NetworkSection, ObjectiveSection, Recipe, SamplingSection
from suffuse.rng import Streams
from suffuse.rolling import rollout
from suffuse.training.config import TrainingConfig


def waves(count: int = 24, seed: int = 0) -> xr.Dataset:
    """A wave that goes round the earth, day by day, with land where it is never known; and a positive variable."""
    rng, days = np.random.default_rng(seed), np.arange(count)
    latitude, longitude = np.linspace(-60, 60, 6), np.arange(8) * 45.0
    phase = np.deg2rad(longitude)[None, None] - 0.5 * days[:, None, None]
    u = np.cos(phase) * np.cos(np.deg2rad(latitude))[None, :, None] + 0.05 * rng.normal(size=(count, 6, 8)) + 10
    u[:, 2, 3:5] = np.nan
    axes = ("time", "latitude", "longitude")
    return xr.Dataset(
        {"u": (axes, u.astype("f4"), {"units": "m s-1", "long_name": "wind"}), "rain": (axes, np.exp(3 * (u - 10)))},
        {
            "time": np.datetime64("2001-03-30", "ns") + days * np.timedelta64(1, "D"),
            "latitude": ("latitude", latitude, {"units": "degrees_north"}),
            "longitude": ("longitude", longitude, {"units": "degrees_east"}),
            "height": (axes[1:], rng.random((6, 8)), {"units": "m"}),
            "level": 850.0,
        },
    )


def put(path: Path, dataset: xr.Dataset) -> Path:
    dataset.to_zarr(path, consolidated=False) if path.suffix == ".zarr" else dataset.to_netcdf(path)
    return path


def opened(path: Path, **options: str) -> FieldSource:
    source = open_source(path, **options)
    assert isinstance(source, FieldSource)
    return source


def refused(dataset: xr.Dataset, kind: str = "field") -> str:
    with pytest.raises(UserError) as error:
        of_dataset(dataset, "wind", kind).scan()
    assert "\n" not in str(error.value)
    return str(error.value)


# Files


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_file_is_a_field_for_each_time(tmp_path: Path, suffix: str):
    source = opened(put(tmp_path / f"wind{suffix}", waves()))
    assert len(source) == 24
    report = source.scan()
    assert report.grid == {"latitude": 6, "longitude": 8}
    assert report.variables == {"u": "m s-1", "rain": ""}
    assert report.maps == ("height",)
    assert report.missing == 0
    assert any("rain: no units" in note for note in report.notes)
    assert source.column("month") == [3, 3, *[4] * 22]
    assert set(source.fields) == {"time", "month"}  # the year and the level are the same for all
    (item,) = source.raw([3])
    np.testing.assert_array_equal(item["u"].values, waves()["u"].values[3])
    assert item.sizes == {"latitude": 6, "longitude": 8}


def test_values_are_read_when_they_are_asked_for(tmp_path: Path):
    source = opened(put(tmp_path / "wind.nc", waves()))
    assert not source.parts[0].dataset["u"].variable._in_memory
    source.scan()
    source.raw([0, 1])
    assert not source.parts[0].dataset["u"].variable._in_memory


def test_arrays_of_numpy_are_samples_on_the_axes_that_they_are_as_long_as(tmp_path: Path):
    rng = np.random.default_rng(0)
    arrays = {"u": rng.random((5, 3, 4)), "mask": rng.random((3, 4)), "speed": rng.random(5), "x": np.arange(4.0) ** 2}
    np.savez(tmp_path / "a.npz", **arrays)
    source = opened(tmp_path / "a.npz")
    assert source.fields == ("speed",)
    assert source.column("speed") == arrays["speed"].tolist()
    (item,) = source.raw([2])
    np.testing.assert_array_equal(item["u"].values, arrays["u"][2])
    np.testing.assert_array_equal(item["x"].values, arrays["x"])
    report = source.scan()
    assert report.maps == ("mask",)
    assert any("steps of x are uneven" in note for note in report.notes)
    np.savez(tmp_path / "b.npz", u=rng.random((7, 3, 4)), time=np.arange(7) / 2)
    assert opened(tmp_path / "b.npz", kind="next-field").step() == {"unit": "number", "value": 0.5}


def test_a_folder_is_all_of_its_files_and_those_of_another_grid_are_named(tmp_path: Path):
    for name, count in (("a", 4), ("b", 3)):
        put(tmp_path / f"{name}.nc", waves(count))
    put(tmp_path / "c.nc", waves(3).isel(latitude=slice(4)))
    (tmp_path / "d.nc").write_bytes(b"no such file")
    source = opened(tmp_path)
    assert len(source) == 7
    assert source.column("file") == ["a"] * 4 + ["b"] * 3
    reasons = dict(source.report.left_out)
    assert "latitude is not as long" in reasons["c.nc"]
    assert "cannot be read as NetCDF" in reasons["d.nc"]


def test_runs_stand_beside_each_other_and_what_comes_next_is_in_the_same_run():
    values = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    source = of_dataset(
        xr.Dataset({"u": (("run", "time", "x"), values), "k": (("run", "x"), values[:, 0])}), "runs", "next-field"
    )
    assert len(source) == 4
    pairs = [(a["u"].values[0], b["u"].values[0]) for a, b in source.raw(range(4))]
    assert pairs == [(0, 4), (4, 8), (12, 16), (16, 20)]
    assert source.changing() == ["u"]


# Mistakes


def test_what_holds_no_number_is_refused():
    empty = waves()
    empty["u"][:] = np.nan
    assert "u of wind has no number at all, only NaN" in refused(empty)
    assert "holds no numbers on a grid" in refused(waves()[[]])
    assert "no numbers on a grid" in refused(xr.Dataset({"u": ("time", [1.0, 2.0])}))
    words = xr.Dataset({"u": (("time", "x"), np.array([["a", "b"], ["c", "d"]]))})
    assert "variable u holds <U1, not numbers" in refused(words)
    text = waves().assign(name=(("latitude", "longitude"), np.full((6, 8), "sea")))
    assert [why for name, why in of_dataset(text, "wind").report.left_out if name == "variable name"]


def test_an_item_without_numbers_is_left_out_and_gaps_are_counted():
    holes = waves()
    holes["u"][4], holes["u"][5, 0, :2] = np.nan, np.inf
    report = of_dataset(holes, "wind").scan()
    assert (report.kept, report.missing) == (23, 2)
    assert [reason for _, reason in report.left_out] == ["most of it is missing"]
    assert 4 not in report.keep


def test_variables_of_another_grid_are_left_out():
    mixed = waves().assign(coarse=(("time", "y", "x"), np.zeros((24, 2, 2))))
    source = of_dataset(mixed, "wind")
    assert source.parts[0].variables == ["u", "rain"]
    assert ("variable coarse", "is on another grid") in source.report.left_out


def test_four_axes_of_space_are_refused_and_say_what_to_do():
    assert "more than three; call an axis of items sample or time" in refused(
        xr.Dataset({"u": (("time", "a", "b", "c", "d"), np.zeros((2, 3, 3, 3, 3)))})
    )


def test_an_unreadable_file_is_refused(tmp_path: Path):
    for name in ("a.nc", "b.npz"):
        (tmp_path / name).write_bytes(b"\x89HDF\r\n" + bytes(100))
        with pytest.raises(UserError, match="cannot be read as"):
            opened(tmp_path / name)


def test_one_sample_is_too_few_to_train_on(tmp_path: Path):
    with pytest.raises(UserError, match="of 1 items leaves none to train on"):
        train(of_dataset(waves(1), "wind"), Recipe(), tmp_path / "run")


def test_what_nothing_follows_has_no_next():
    assert "no item that another one follows in time" in refused(waves(1), "next-field")
    assert "no item that another one follows" in refused(waves().rename(time="sample"), "next-field")


@pytest.mark.parametrize("options", [{"periodic": ("altitude",)}, {"target": "wind", "kind": "next-field"}])
def test_what_is_not_there_is_refused(tmp_path: Path, options: dict[str, object]):
    with pytest.raises(UserError, match=r"has no (space axis 'altitude'|variable 'wind')"):
        train(
            of_dataset(waves(), "wind", str(options.get("kind", "field"))),
            Recipe(data=DataSection(**options)),
            tmp_path,
        )


# Times


@pytest.mark.parametrize("times", ["2000-01-01", "2000-01-15"])
def test_months_are_whole(times: str):
    months = np.datetime64(times, "D") + np.array([0, 31, 60, 91]).astype("m8[D]")
    step = step_between(months.astype("M8[ns]"))
    assert step == {"unit": "months", "value": 1}
    assert [str(later(m, step))[:10] for m in months[:3].astype("M8[ns]")] == [str(m) for m in months[1:]]


def test_times_that_are_unevenly_apart_have_no_step():
    assert step_between(np.array([0.0, 1.0, 3.0])) is None
    assert step_between(np.array(["2000-01-01", "2000-01-02", "2000-01-05"], "M8[ns]")) is None


# Codec


def test_a_skewed_positive_variable_is_learned_by_its_logarithm_and_a_climate_around_its_places():
    rng = np.random.default_rng(0)
    place = 30 * rng.normal(size=5)
    items = [xr.Dataset({"t": ("x", place + rng.normal(size=5)), "p": ("x", np.exp(rng.normal(size=5)))})
             for _ in range(400)]  # fmt: skip
    codec = FieldCodec.fit(items, ("x",))
    t, p = codec.variables
    assert not t.logarithm
    assert p.logarithm
    np.testing.assert_allclose(t.mean, place, atol=0.3)
    assert t.deviation == pytest.approx(1, abs=0.1)
    assert p.mean.ndim == 0
    state = codec.encode(items)
    assert state.std(0).mean() == pytest.approx(1, abs=0.1)


def test_holes_are_asked_for_and_land_is_not():
    item = waves().isel(time=0)
    codec = FieldCodec.fit([waves().isel(time=n) for n in range(5)], ("latitude", "longitude"))
    holes = item.copy(deep=True)
    holes["u"][0] = np.nan
    _, known = codec.partial([holes])
    assert int((~known[0, 0]).sum()) == 8 + 2
    (filled,) = codec.fill([holes], torch.zeros(1, *codec.shape))
    known_u = ~np.isnan(holes["u"].values)
    np.testing.assert_array_equal(filled["u"].values[known_u], item["u"].values[known_u])
    assert np.isnan(filled["u"].values[2, 3:5]).all()
    assert np.isfinite(filled["u"].values[0]).all()
    assert filled["time"] == item["time"]


def test_a_field_of_another_grid_or_without_a_variable_is_refused():
    items = [waves().isel(time=n) for n in range(3)]
    codec = FieldCodec.fit(items, ("latitude", "longitude"))
    with pytest.raises(UserError, match="no variable 'rain', which the model was trained with"):
        codec.encode([items[0].drop_vars("rain")])
    with pytest.raises(UserError, match="on a grid of latitude 3, longitude 8, and the model on one of latitude 6"):
        codec.encode([items[0].isel(latitude=slice(3))])


def test_a_coarse_field_has_means_of_places():
    items = [waves().fillna(10).isel(time=n) for n in range(3)]
    codec = FieldCodec.fit(items, ("latitude", "longitude"))
    coarse = codec.measured((2, 3, 4))
    assert isinstance(coarse, FieldCodec)
    blocks = items[0][["u"]].coarsen(latitude=2, longitude=2).mean()
    blocks["rain"] = np.exp(np.log(items[0]["rain"]).coarsen(latitude=2, longitude=2).mean())
    state = codec.encode(items[:1]).unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    torch.testing.assert_close(coarse.encode([blocks]), state, atol=1e-5, rtol=1e-5)
    assert codec.measured((2, 4, 4)) is None


def test_sensors_are_few_or_many_and_boxes_are_whole():
    like = torch.zeros(4000, 2, 6, 8)
    clean = Places(0.5).draw(like, Streams.of(0, range(4000)))
    shares = clean.flatten(1).double().mean(1)
    assert 0.4 < (shares > 0).double().mean() < 0.51
    some = clean[shares > 0]
    assert 0.05 < (some.flatten(2).all(2).double().mean()) < 0.2  # a channel that is known as a whole
    assert (some.flatten(2).double().mean((1, 2)) < 0.1).double().mean() > 0.1
    assert not Places(0.0).draw(like, Streams.of(0, range(4000))).any()


# Models


def small(kind: str, **data: object) -> Recipe:
    return Recipe(
        data=DataSection(kind=kind, **data),
        network=NetworkSection(width=8, blocks=1),
        sampling=SamplingSection(sampling_steps=3),
        training=TrainingConfig(images=64, batch=16, held_out=0.1, sample_every=64),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("fields")
    return train(of_dataset(waves(), "wind"), small("field", condition=("month",)), folder / "run")


@pytest.fixture(scope="module")
def follower(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("next")
    return train(of_dataset(waves(), "wind", "next-field"), about_a_regression(), folder / "run")


def about_a_regression() -> Recipe:
    return small("next-field", target="u").model_copy(update={"objective": ObjectiveSection(regression=0.5)})


def test_longitudes_that_go_round_are_found(model: Model):
    assert model.recipe.data.periodic == ("longitude",)
    assert model.recipe.network.multipliers is not None


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".npz"])
def test_what_is_drawn_is_read_again(model: Model, tmp_path: Path, suffix: str):
    drawn = model.generate(3, condition=4)
    path = tmp_path / f"drawn{suffix}"
    for _ in range(2):  # over what is there
        FieldFiles().save(drawn, path)
    source = opened(path)
    assert len(source) == 3
    for item, again in zip(drawn, source.raw(range(3)), strict=True):
        for name in ("u", "rain"):
            np.testing.assert_array_equal(item[name].values, again[name].values)
        if suffix != ".npz":
            assert again["u"].attrs == {"units": "m s-1", "long_name": "wind"}
            assert again["latitude"].attrs["units"] == "degrees_north"
    assert np.isnan(drawn[0]["u"].values[2, 3:5]).all()
    assert np.isfinite(np.delete(drawn[0]["u"].values, 2, 0)).all()


def test_a_folder_that_is_no_store_is_not_replaced(model: Model, tmp_path: Path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="is no store of Zarr"):
        FieldFiles().save(model.generate(1), tmp_path / "a.zarr")
    assert (tmp_path / "a.zarr" / "letter.txt").read_text() == "dear"


def test_all_verbs_know_fields(model: Model):
    item = waves().isel(time=2)
    holes = item.copy(deep=True)
    holes["u"][4:] = np.nan
    (filled,) = model.infill([holes], draws=3)
    assert {"u", "u_p05", "u_p95"} <= {*filled.data_vars}
    np.testing.assert_array_equal(filled["u"].values[0], item["u"].values[0])
    (changed,) = model.edit([item], 0.5)
    assert changed["time"] == item["time"]
    whole = item.fillna(10.0)
    restored = model.restore(whole, "random:0.3", noise=0.1, draws=2)
    assert restored.draws[0]["u"].dims == ("latitude", "longitude")
    assert restored.measured is not None
    state, known = model.codec.partial([holes])
    assert isinstance(state, torch.Tensor)
    assert isinstance(known, torch.Tensor)
    by_mask = model.restore(state, Mask(known[0]), noise=0.1, draws=2)
    torch.testing.assert_close(model.restore(holes, "sensors", noise=0.1, draws=2).state, by_mask.state)
    coarse = whole.coarsen(latitude=2, longitude=2).mean()
    assert model.restore(coarse, "super-resolve:2", noise=0.1, draws=1).mean.sizes == item.sizes
    assert len(model.score([item, whole], evaluations=4)) == 2
    assert model.codec.dimensions(item) == 2 * 48 - 4


def test_what_comes_next_goes_on_from_what_came(follower: Model):
    now = waves().isel(time=3)
    states = list(rollout(follower, [now], 3, draws=2, seed=5))
    assert [len(each) for each in states] == [2, 2, 2]
    times = [str(each[0]["time"].values)[:10] for each in states]
    assert times == ["2001-04-03", "2001-04-04", "2001-04-05"]
    first, second = (each["u"].values for each in states[0])
    assert (first != second)[~np.isnan(first)].any()
    assert np.isnan(first[2, 3:5]).all()
    for again, member in zip(follower.translate(states[0], seed=5 + 2), states[1], strict=True):
        np.testing.assert_array_equal(again["u"].values, member["u"].values)
        np.testing.assert_array_equal(again["rain"].values, now["rain"].values)  # is told, and not drawn
    (alone,) = follower.translate(states[0][:1], seed=5 + 2)  # a network rounds by the size of its batch
    np.testing.assert_allclose(alone["u"].values, states[1][0]["u"].values, rtol=1e-6)
    fixed = list(rollout(follower, [now], 2, given=lambda number, item: {"rain": item["rain"] * 0 + number}))
    assert float(fixed[1][0]["rain"].max()) == 1.0


def test_a_training_that_ended_between_regression_and_rest_goes_on_to_the_bit(follower: Model, tmp_path: Path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    recipe = about_a_regression()
    train(of_dataset(waves(), "wind", "next-field"), recipe, whole)
    shutil.copytree(whole / "mean", run / "mean")
    again = train(of_dataset(waves(), "wind", "next-field"), recipe, run)
    for name, value in follower.denoiser.state_dict().items():
        assert torch.equal(value, again.denoiser.state_dict()[name]), name


def test_a_larger_budget_goes_on_about_the_same_regression(follower: Model, tmp_path: Path):
    run, recipe = tmp_path / "run", about_a_regression()
    train(of_dataset(waves(), "wind", "next-field"), recipe, run)
    longer = recipe.model_copy(update={"training": recipe.training.model_copy(update={"images": 128})})
    model = train(of_dataset(waves(), "wind", "next-field"), longer, run)
    before, after = follower.denoiser, model.denoiser
    assert isinstance(before, Corrective)
    assert isinstance(after, Corrective)
    assert torch.equal(before.units, after.units)
    for name, value in before.regression.state_dict().items():
        assert torch.equal(value, after.regression.state_dict()[name]), name
    assert any(not torch.equal(*pair) for pair in zip(before.parameters(), after.parameters(), strict=True))
    assert model.codec.config() == follower.codec.config()
    assert model.origin.sigma_data == follower.origin.sigma_data
    assert model.origin.images == 64
    assert "about       a regression, trained with 50% of the budget" in model.describe()


def test_what_comes_next_is_drawn_about_a_regression_where_that_is_asked_for(follower: Model, tmp_path: Path):
    denoiser, now = follower.denoiser, waves().isel(time=3)
    assert isinstance(denoiser, Corrective)
    _, told, _ = follower.start({"source": [now]}, [0])
    with torch.no_grad():
        expected = denoiser.expected(torch.zeros(1, *follower.codec.shape), told)
        at_once = denoiser(expected + 80 * torch.randn_like(expected), 1.0, told).mean
    assert float((at_once - expected).abs().max()) < 0.5  # of what the regression leaves
    plain = train(of_dataset(waves(), "wind", "next-field"), small("next-field", target="u"), tmp_path / "plain")
    assert not isinstance(plain.denoiser, Corrective)
    assert not (tmp_path / "plain" / "mean").exists()
    after = [model.translate([now], seed=1)[0]["u"].values for model in (follower, plain)]
    assert np.isfinite(after[0][2, :3]).all()
    assert np.isfinite(after[1][2, :3]).all()


def test_a_regression_first_is_for_what_comes_next_alone(tmp_path: Path):
    recipe = small("field").model_copy(update={"objective": ObjectiveSection(regression=0.5)})
    with pytest.raises(UserError, match="leave out --regression"):
        train(of_dataset(waves(), "wind"), recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_line_says_what_to_do(tmp_path: Path):
    run = [sys.executable, "-m", "suffuse"]
    put(tmp_path / "wind.nc", waves())
    found = subprocess.run([*run, "info", tmp_path / "wind.nc"], capture_output=True, text=True, check=True)
    assert "u [m s-1], rain on 6 x 8 (latitude, longitude)" in found.stdout
    (tmp_path / "bad.nc").write_bytes(b"bad")
    wrong = subprocess.run([*run, "info", tmp_path / "bad.nc"], capture_output=True, text=True, check=False)
    assert wrong.returncode
    assert "cannot be read as NetCDF" in wrong.stderr
    assert "Traceback" not in wrong.stderr


# Equations


def test_heat_that_leaves_a_place_arrives_at_its_neighbours():
    rng = np.random.default_rng(0)
    temperature, conductivity = rng.normal(size=(5, 6)), np.exp(rng.normal(size=(5, 6)))
    flow = np.zeros_like(temperature)
    for y, x in np.ndindex(5, 6):
        for other in (((y + 1) % 5, x), (y, (x + 1) % 6)):
            across = (conductivity[y, x] + conductivity[other]) / 2 * (temperature[other] - temperature[y, x])
            flow[y, x] += across
            flow[other] -= across
    given = {"conductivity": torch.from_numpy(conductivity)[None], "source": torch.zeros(1, 5, 6)}
    rate = HEAT.rate(torch.from_numpy(temperature)[None, None], given)[0, 0].numpy()
    np.testing.assert_allclose(rate, flow - 0.01 * temperature, atol=1e-12)


# Circles


def alive(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    return network


@pytest.mark.parametrize(("space", "axis"), [((8,), 0), ((8, 6), 0), ((7, 8), 1), ((4, 6, 5), 1)])
@torch.no_grad()
def test_a_periodic_axis_has_no_beginning(space: tuple[int, ...], axis: int):
    torch.manual_seed(0)
    network = alive(UNet(2, dimensions=len(space), width=8, multipliers=(1, 2), periodic=(axis,)))
    x, level = torch.randn(3, 2, *space), torch.zeros(3)
    turned = network(x.roll(2, axis + 2), level)
    torch.testing.assert_close(turned, network(x, level).roll(2, axis + 2), atol=1e-5, rtol=1e-5)
    plain = alive(UNet(2, dimensions=len(space), width=8, multipliers=(1, 2)))
    assert (plain(x.roll(2, axis + 2), level) - plain(x, level).roll(2, axis + 2)).abs().max() > 1e-2


def test_a_periodic_axis_that_does_not_close_is_refused():
    network = UNet(1, width=8, multipliers=(1, 2), periodic=(1,))
    with pytest.raises(UserError, match="a periodic axis of 7 does not close at 2 levels, which take multiples of 2"):
        network(torch.zeros(1, 1, 8, 7), torch.zeros(1))
