"""A number as a condition: told in training by a column's name, asked for in words."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import suffuse as sf


@pytest.fixture(scope="module")
def sums(tmp_path_factory):
    """A model of two numbers that is told their sum."""
    folder = tmp_path_factory.mktemp("sums")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(1500, 2)), columns=["a", "b"])
    frame.assign(total=frame.sum(axis=1)).to_csv(folder / "sums.csv", index=False)
    command = [sys.executable, "-m", "suffuse", "train", str(folder / "sums.csv"), "--condition", "total"]
    command += ["--out", str(folder / "run"), "--width", "64", "--depth", "2", "--steps", "500"]
    subprocess.run([*command, "--learning-rate", "3e-3"], check=True, capture_output=True)
    return folder / "run"


def test_what_is_drawn_follows_the_number(sums):
    model = sf.load(sums)
    assert "total: a number, about" in model.describe()
    for asked in (-2.0, "2.0"):
        drawn = model.generate(200, condition={"total": asked})
        assert drawn.sum(axis=1).mean() == pytest.approx(float(asked), abs=0.4)
    each = model.generate(200, condition=np.linspace(-2, 2, 200).tolist())
    assert np.corrcoef(each.sum(axis=1), np.linspace(-2, 2, 200))[0, 1] > 0.9


def test_a_word_is_refused(sums):
    with pytest.raises(sf.UserError, match="'tall' is no finite number"):
        sf.load(sums).generate(1, condition="tall")
