"""Metrics of collections: closed forms, the same law on both sides, and faults that were planted."""

import math
import sys

import numpy as np
import pytest
import torch

import suffuse as sf
from suffuse.errors import UserError
from suffuse.metrics import clips, grids, images, restoration, tables, texts
from suffuse.metrics.bootstrap import bootstrap, mean_interval
from suffuse.metrics.tables import Columns


def test_the_interval_of_a_mean_is_that_of_the_normal_law():
    """n = 400: its half width is 1.96 deviations over the root of n."""
    values = np.random.default_rng(0).normal(size=400)
    found = mean_interval(values)
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.2)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Of 200 samples of 60 numbers each: 95% of the intervals of the mean cover it, within four deviations."""
    rng = np.random.default_rng(1)
    samples = rng.normal(3, 1, (200, 60))
    covered = [found.low <= 3 <= found.high for found in map(mean_interval, samples)]
    wrong = [found.low <= 3.3 <= found.high for found in map(mean_interval, samples)]
    assert 0.88 < np.mean(covered) < 0.99
    assert np.mean(wrong) < 0.6


def people(n: int, seed: int, shift: float = 0.0, link: float = 0.8, share: float = 0.5) -> list[dict[str, object]]:
    """Two linked numbers, one of them missing at times, and a category that the first tells."""
    rng = np.random.default_rng(seed)
    a, noise = rng.normal(size=n), rng.normal(size=n)
    b = link * a + math.sqrt(1 - link**2) * noise
    kind = np.where(rng.random(n) < share, np.where(a > 0, "up", "down"), "none")
    return [
        {"a": x + shift, "b": None if place % 10 == 0 else y, "kind": k}
        for place, (x, y, k) in enumerate(zip(a.tolist(), b.tolist(), kind.tolist(), strict=True))
    ]


REAL = people(1500, 0)
SAME = people(1500, 1)


def test_distances_of_columns_have_their_closed_forms():
    """Two normal laws half a deviation apart: 2 Phi(1/4) - 1; three categories."""
    rng = np.random.default_rng(2)
    far = rng.normal(size=(2, 20_000)) + np.array([[0.0], [0.5]])
    ours, theirs = (Columns(("x",), part[:, None], np.empty((20_000, 0), np.int64), ()) for part in far)
    assert tables.column_errors(ours, theirs)[0] == pytest.approx(math.erf(0.25 / math.sqrt(2)), abs=0.02)
    real, made = ([{"c": c} for c in letters] for letters in ("aabc", "abbb"))
    assert tables.column_error(real, made).value == pytest.approx(0.5)


def test_missing_numbers_count():
    real = [{"x": float(i)} for i in range(100)]
    made = [{"x": None if i < 30 else float(i)} for i in range(100)]
    assert tables.column_error(real, made).value == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("measure", "fault"),
    [
        (tables.column_error, {"shift": 0.4}),
        (tables.column_error, {"share": 0.7}),
        (tables.pair_error, {"link": 0.3}),
        (tables.two_sample_auc, {"link": 0.0}),
        (tables.two_sample_auc, {"shift": 0.8}),
    ],
)
def test_a_planted_difference_of_rows_is_seen(measure, fault):
    same, wrong = measure(REAL, SAME), measure(REAL, people(1500, 1, **fault))
    assert wrong.low > same.high


def test_a_classifier_cannot_tell_rows_of_one_law():
    found = tables.two_sample_auc(REAL, SAME)
    assert found.low - 0.02 < 0.5 < found.high + 0.02


def test_dependence_that_is_the_same_has_no_error():
    assert tables.pair_error(REAL, REAL).value == 0
    twice = [{"x": float(i), "y": float(i), "z": 3 * float(i)} for i in range(200)]
    turned = [{"x": float(i), "y": -float(i), "z": 3 * float(i)} for i in range(200)]
    assert tables.pair_error(twice, turned).value == pytest.approx((2 + 0 + 2) / 3)
    equal = [{"c": "ab"[i % 2], "d": "xy"[i % 2]} for i in range(100)]
    free = [{"c": "ab"[i % 2], "d": "xy"[i // 2 % 2]} for i in range(100)]
    assert tables.pair_error(equal, free).value == pytest.approx(1)


def test_what_rows_are_good_for():
    """A category that one number tells; and a number that another tells, with R2 of the squared correlation."""
    test = people(1500, 3)
    alike = tables.usefulness(REAL, SAME, test, "kind")
    assert alike.measure == "AUC"
    assert abs(alike.gap.value) < 0.03
    broken = [{**row, "a": other["a"]} for row, other in zip(SAME, people(1500, 4), strict=True)]
    useless = tables.usefulness(REAL, broken, test, "kind")
    assert useless.gap.low > 0.05
    number = tables.usefulness(REAL, SAME, test, "b")
    assert number.measure == "R2"
    assert number.real.value == pytest.approx(0.64, abs=0.1)
    assert tables.usefulness(REAL, people(1500, 5, link=0.0), test, "b").gap.low > 0.3


def test_copies_are_found():
    """None of one law; all where the rows are the training rows themselves."""
    training, held_out = people(600, 6), people(500, 7)
    free = tables.closest_records(training, held_out, people(500, 8))
    assert free.low < 0.5 < free.high
    assert tables.closest_records(training, held_out, training[:300]).low > 0.7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tables.column_error([], SAME), "at least one to each side"),
        (lambda: tables.column_error(REAL, [{"a": 1.0}]), "without 'b'"),
        (lambda: tables.pair_error([{"a": 1}], [{"a": 1}]), "only one"),
        (lambda: tables.usefulness(REAL, SAME, SAME, "age"), "no column 'age'"),
        (lambda: tables.usefulness(REAL, [{**row, "kind": "up"} for row in SAME], SAME, "kind"), "single value"),
        (lambda: texts.divergence(["ab"], [""], 2), "no text is 2 tokens long"),
    ],
)
def test_collections_that_cannot_be_compared_are_refused(call, message):
    with pytest.raises(UserError, match=message):
        call()


def sentences(n: int, seed: int, chances: tuple[float, ...]) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abc "), 30, p=chances)) for _ in range(n)]


EVEN = (0.3, 0.3, 0.3, 0.1)


def test_divergence_has_its_closed_form():
    """Of single signs by hand; of one law nearly none, of another more."""
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    mid = (p + q) / 2
    exact = sum(np.sum(part[part > 0] * np.log2(part[part > 0] / mid[part > 0])) for part in (p, q)) / 2
    assert texts.divergence(["ab"], ["abcc"], 1).value == pytest.approx(exact)
    real, same = sentences(200, 0, EVEN), sentences(200, 1, EVEN)
    other = sentences(200, 2, (0.4, 0.2, 0.3, 0.1))
    for n in (1, 3):
        assert texts.divergence(real, other, n).low > texts.divergence(real, same, n).high
    assert texts.divergence(real, real, 3).value == 0


def test_order_is_seen_by_longer_runs_alone():
    real, turned = ["acgt" * 10] * 20, ["tgca" * 10] * 20
    assert texts.divergence(real, turned, 1).value == pytest.approx(0)
    assert texts.divergence(real, turned, 2).value > 0.5


def test_entropy_and_variety():
    """Four words alike are two bits; copies have fewer distinct pairs."""
    rng = np.random.default_rng(3)
    even = [" ".join(rng.choice(["one", "two", "three", "four"], 20)) for _ in range(200)]
    found = texts.entropy(even)
    assert found.value == pytest.approx(2, abs=0.01)
    assert texts.distinct(even[:10]).value < texts.distinct([" ".join(map(str, range(200)))]).value == 1
    assert texts.words("Don't 停！") == ["don", "'", "t", "停", "！"]


def test_translations_are_judged():
    right = ["the cat sat on the mat", "a dog barked at the moon", "it rains all day long"] * 10
    wrong = ["the cat sat on a hat", "dogs bark", "it rained for long days"] * 10
    for measure in (texts.chrf, texts.bleu):
        assert measure(right, right).value == pytest.approx(100)
        assert measure(wrong, right).high < 80


def test_bits_of_characters():
    """A code of log2(4) bits for each of four signs."""
    lines = sentences(50, 4, EVEN)
    found = texts.bits_per_character([-len(line) * math.log(4) for line in lines], lines)
    assert found.value == found.low == found.high == pytest.approx(2)


def pictures(n: int, seed: int, level: float = 0.0) -> torch.Tensor:
    noise = torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return (0.3 * noise + level).clamp(-1, 1)


def test_pictures_of_another_law_are_further_off():
    real, judge = pictures(300, 0), images.judge_of(pictures(10, 9), None)
    same, darker = images.frechet(real, pictures(300, 1), judge), images.frechet(real, pictures(300, 1, -0.2), judge)
    assert darker.low > same.high
    assert images.frechet(real, real, judge).value == pytest.approx(0, abs=1e-6)


def test_copied_pictures_are_found():
    training, held_out = pictures(200, 2), pictures(150, 3)
    free = images.nearest_share(training, held_out, pictures(200, 4))
    assert free.low < 0.5 < free.high
    assert images.nearest_share(training, held_out, training + 0.01).low > 0.7


def test_resampling_is_that_of_the_seed():
    values = np.arange(10.0)
    one, again, other = (bootstrap(lambda rows: values[rows].mean(), [10], seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one != other


# Clips


def moving(n: int, seed: int, speed: int = 1) -> torch.Tensor:
    """(N, 1, 5, 12, 12): a square anywhere, that goes to the right or to the left by so many pixels a frame."""
    rng = np.random.default_rng(seed)
    state = torch.full((n, 1, 5, 12, 12), -1.0)
    for item, x, y, way in zip(state, rng.integers(12, size=n), rng.integers(9, size=n), (-1, 1) * n, strict=False):
        for frame in range(5):
            item[0, frame, y : y + 3, [(x + way * speed * frame + column) % 12 for column in range(3)]] = 1.0
    return state


def test_clips_that_move_otherwise_are_further_off():
    """Twice as fast, not at all, and blended: against clips of the same law."""
    real = moving(120, 0)
    judge = clips.judge_of(moving(150, 9), None)
    same = clips.frechet(real, moving(120, 1), judge)
    still = real[:, :, :1].expand_as(real)
    mixed = clips.blended(real, 1, 4)
    for other in (moving(120, 2, 2), still, mixed):
        assert clips.frechet(real, other, judge).low > 2 * same.high
    assert clips.frechet(real, real, judge).value == pytest.approx(0, abs=1e-6)
    assert clips.psnr(real, real).tolist() == [60.0] * 120


# Restored pictures


def waves() -> tuple[torch.Tensor, torch.Tensor]:
    """Two pictures of 24 x 30 that are somewhat alike."""
    y, x = np.mgrid[:24, :30]
    truth = np.sin(0.3 * x) * np.cos(0.2 * y)
    found = np.clip(truth * 0.8 + 0.3 * np.sin(x * y), -1, 1)
    return torch.from_numpy(found)[None, None], torch.from_numpy(truth)[None, None]


def test_psnr_and_ssim_are_those_of_another_library():
    """The figures are scikit-image 0.26's of the same pictures: Gaussian weights, population moments."""
    found, truth = waves()
    assert float(restoration.psnr(found, truth)) == pytest.approx(18.966487089502714, abs=1e-9)
    assert float(restoration.ssim(found, truth)) == pytest.approx(0.6376828672266737, abs=1e-9)


def test_ssim_has_its_formula_in_every_window():
    found, truth = waves()
    place = np.arange(11) - 5
    window = np.exp(-(place[:, None] ** 2 + place**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for row in range(14):
        for column in range(20):
            x, y = (each[0, 0, row : row + 11, column : column + 11].numpy() + 1 for each in (found, truth))
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
            both = (window * (x - mean_x) * (y - mean_y)).sum()
            c1, c2 = 0.02**2, 0.06**2
            values.append(
                (2 * mean_x * mean_y + c1) * (2 * both + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
            )
    assert float(restoration.ssim(found, truth)) == pytest.approx(np.mean(values), abs=1e-9)
    both = restoration.ssim(torch.cat([found, truth]), torch.cat([truth, truth]))
    assert both.tolist() == pytest.approx([np.mean(values), 1.0], abs=1e-9)
    with pytest.raises(UserError, match="windows of 11x11 pixels, and these pictures are 8x8"):
        restoration.ssim(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))


def draws_of(scale: float, shift: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """19 draws for each of 400 items of 30 numbers, whose truth has deviation 1 about the same centre."""
    rng = torch.Generator().manual_seed(5)
    centre = torch.randn(400, 30, generator=rng)
    draws = centre + shift + scale * torch.randn(19, 400, 30, generator=rng)
    return draws, centre + torch.randn(400, 30, generator=rng)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.7, 0.0), (1.0, 1.0), (1.5, 0.0)])
def test_calibration_finds_draws_that_are_too_sure_too_unsure_or_off(scale: float, shift: float):
    """n = 12,000 numbers: the standard error of a share of 0.9 is 0.003, and that of a rank's share 0.002."""
    draws, truth = draws_of(scale, shift)
    inside, uneven = restoration.coverage(draws, truth), restoration.rank_deviation(draws, truth)
    calibrated = (scale, shift) == (1.0, 0.0)
    assert (abs(inside.value - 0.9) < 0.011) == calibrated
    assert (inside.low <= 0.9 <= inside.high) == calibrated
    assert (uneven.value < 0.03) == calibrated
    if scale != 1:
        assert (inside.value > 0.9) == (scale > 1)


def test_numbers_that_do_not_count_are_left_out_and_ties_are_shared():
    draws, truth = draws_of(1.0)
    seen = torch.arange(30) < 15
    known = torch.where(seen, truth, draws)
    assert restoration.coverage(known, truth, ~seen).value < restoration.coverage(known, truth).value - 0.03
    assert restoration.coverage(known, truth, ~seen) == restoration.coverage(draws, truth, ~seen)
    assert restoration.rank_deviation(known, truth, seen).value == pytest.approx(0, abs=1e-12)


def test_consistency_of_the_truth_is_one():
    """n = 65,536 numbers, measured in three ways: within 1%; and a measurement of nothing is met."""
    x = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    for operator in (sf.operators.Blur.gaussian(2.0), sf.operators.Identity(), sf.operators.Mask(x[0] > 0)):
        noise = 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        y = operator(x) + noise
        assert float(restoration.consistency(x, operator, y, 0.3)) == pytest.approx(1, rel=0.01)
        assert float(restoration.consistency(x + 0.3, operator, y, 0.3)) == pytest.approx(2**0.5, rel=0.01)
        assert float(restoration.consistency(x, operator, y, 0.0)) == pytest.approx(0.3, rel=0.01)
    nothing = sf.operators.Mask(torch.zeros(1, 1, 1))
    assert restoration.consistency(x, nothing, x, 0.1).tolist() == [0.0]


def test_lpips_without_its_package_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(UserError, match="LPIPS needs its package and its weights"):
        restoration.lpips(torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64))


@pytest.mark.parametrize("space", [(64,), (15, 16), (6, 8, 9)])
def test_waves_and_values_of_grids_have_their_closed_forms(space: tuple[int, ...]):
    """White noise has power 1 in all bands; twice as loud is 6 dB, and half a deviation away 2 Phi(1/4) - 1."""
    rng = np.random.default_rng(3)
    one, two = rng.normal(size=(2, 400, 2, *space))
    assert np.abs(grids.power(one).mean(0) - 1).max() < 0.25  # the lowest band has 2 waves, of 400 items
    assert grids.power(one + 7).mean() == pytest.approx(grids.power(one).mean())
    assert grids.spectrum_error(one, two).value < 0.8
    assert grids.spectrum_error(one, 2 * two).value == pytest.approx(20 * math.log10(2), rel=0.1)
    assert grids.value_error(one, two).value < 0.02
    assert grids.value_error(one, two + 0.5).value == pytest.approx(math.erf(0.25 / math.sqrt(2)), abs=0.02)
