"""Tables: what is found in files, every mistake in them that we know of, and the verbs on real ones."""

import csv
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.datasets import load_wine

import suffuse as sf
from suffuse.data.rows import TableReport
from suffuse.data.sources import open_source
from suffuse.errors import UserError
from suffuse.learn import train
from suffuse.recipes.recipe import Recipe
from suffuse.training.config import TrainingConfig


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def scanned(path: Path) -> TableReport:
    report = open_source(path).scan()
    assert isinstance(report, TableReport)
    return report


def roles(path: Path) -> dict[str, str]:
    return {column.name: column.role for column in scanned(path).columns}


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error:
        open_source(path).scan()
    assert "\n" not in str(error.value)
    return str(error.value)


MIXED = "id,age,income,city,member,since,note\n" + "".join(
    f"{n + 1},{20 + n % 50},{1000.5 + 37 * n % 900},{'ABC'[n % 3]},{'true' if n % 2 else 'false'},"
    f"2024-01-{1 + n % 28:02d},a longer remark number {n} of many\n"
    for n in range(200)
)


def test_columns_are_found_and_shown(tmp_path: Path):
    path = put(tmp_path / "a.csv", MIXED)
    assert roles(path) == {
        "id": "identifier", "age": "integer", "income": "number", "city": "category", "member": "boolean",
        "since": "date", "note": "text",
    }  # fmt: skip
    summary = scanned(path).summary()
    assert "city    category of 3" in summary
    assert "id      identifier: every value differs and says nothing; left out" in summary


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_every_form_of_a_table_reads_alike(tmp_path: Path, suffix: str):
    frame = pd.DataFrame({"x": [1, 2, 3] * 20, "y": ["a", None, "b"] * 20, "z": [0.5, 1.5, None] * 20})
    path = tmp_path / f"t.{suffix}"
    match suffix:
        case "jsonl":
            frame.to_json(path, orient="records", lines=True)
        case "parquet":
            frame.to_parquet(path)
        case _:
            frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    source = open_source(path)
    assert source.raw([1, 2]) == [{"x": 2, "y": None, "z": 1.5}, {"x": 3, "y": "b", "z": None}]
    columns = {each.name: (each.role, each.missing) for each in scanned(path).columns}
    assert columns == {"x": ("category", 0), "y": ("category", 20), "z": ("number", 20)}


def test_semicolons_marks_of_order_and_line_breaks_in_cells(tmp_path: Path):
    path = put(tmp_path / "t.csv", '\ufeffa;b\r\n"x;1\nand more";2\r\n"y";3\r\n')
    assert open_source(path).raw([0]) == [{"a": "x;1\nand more", "b": 2}]


def test_ragged_rows_are_left_out_and_named(tmp_path: Path):
    report = scanned(put(tmp_path / "t.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n"))
    assert (report.found, report.kept) == (4, 2)
    assert [name for name, _ in report.left_out] == ["line 3", "line 4"]
    assert "left out 2: not 2 values, as the heading has (line 3, line 4)" in report.summary()


def test_a_column_whose_later_values_are_no_numbers_is_text(tmp_path: Path):
    rows = "".join(f"{n % 7},{n}\n" for n in range(600_000)) + "seven,1\n" * 40
    path = put(tmp_path / "t.csv", "a,b\n" + rows)
    assert roles(path)["a"] == "category"


def test_wrong_encodings_are_refused_with_the_line(tmp_path: Path):
    assert "is not UTF-8 text (line 3)" in refused(put(tmp_path / "t.csv", "a,b\n1,x\n2,Größe\n".encode("latin-1")))
    assert "is not UTF-8 text (line 1)" in refused(put(tmp_path / "u.csv", "a,b\n1,2\n".encode("utf-16")))
    assert "(line 2)" in refused(put(tmp_path / "end.csv", b"a\nx\xc3"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; give a table with a line of headings"),
        ("a,b\n", "has no rows"),
        ("a,a\n1,2\n", "two columns of the name 'a'"),
        ("a,b\n1\n", "has no rows; not 2 values"),
    ],
)
def test_what_has_no_rows(tmp_path: Path, text: str, said: str):
    assert said in refused(put(tmp_path / "t.csv", text))


@pytest.mark.parametrize("text", ["a,b\n,\n,\n", "a,b\n1,x\n1,x\n"])
def test_tables_of_which_nothing_can_be_learned(tmp_path: Path, text: str):
    path = put(tmp_path / "t.csv", text)
    assert open_source(path).scan().kept == 2
    with pytest.raises(UserError, match="no column of"):
        train(path, out=tmp_path / "run")


def test_constant_empty_and_crowded_columns(tmp_path: Path):
    rows = "".join(f"same,,c{n % 9_000:05d},{n % 31}\n" for n in range(27_000))
    found = {column.name: column for column in scanned(put(tmp_path / "t.csv", "k,e,many,x\n" + rows)).columns}
    assert [found[name].role for name in "ke"] == ["constant", "empty"]
    assert (found["many"].role, found["many"].distinct) == ("category", 9_000)
    assert "every cell is empty; left out" in found["e"].describe()


def test_there_may_be_many_columns_but_not_any_number(tmp_path: Path):
    wide = {f"c{n}": n for n in range(50_001)}
    for name, text in (("a.csv", ",".join(wide) + "\n"), ("a.jsonl", json.dumps(wide) + "\n")):
        assert "has 50,001 columns, and at most 50,000 are read" in refused(put(tmp_path / name, text))


def test_decimals_of_a_database_are_numbers(tmp_path: Path):
    frame = pd.DataFrame({"price": [Decimal(n) / 4 for n in range(40)], "colour": ["red", "blue"] * 20})
    frame.to_parquet(tmp_path / "t.parquet")
    recipe = Recipe(training=TrainingConfig(steps=1, batch=4, held_out=0.0))
    model = train(tmp_path / "t.parquet", recipe, tmp_path / "run")
    assert len(model.score(frame, evaluations=4)) == 40


def test_what_is_no_table(tmp_path: Path):
    assert "JSON lines" in refused(put(tmp_path / "t.jsonl", '{"a": 1}\n{"a": \n'))
    assert "cannot be read as parquet" in refused(put(tmp_path / "t.parquet", b"PAR1 not at all"))
    assert "is no file that is read" in refused(put(tmp_path / "t.xyz", "a"))


# The verbs


def suffuse(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "suffuse", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})


def wine() -> pd.DataFrame:
    frame = load_wine(as_frame=True).frame
    frame = frame.astype({"proline": int})
    frame.insert(0, "number", range(len(frame)))
    frame["origin"] = frame.pop("target").map({0: "Barolo", 1: "Grignolino", 2: "Barbera"})
    frame.loc[::7, "ash"] = None
    frame["country"] = "Italy"
    return frame


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wine")
    wine().to_csv(folder / "wine.csv", index=False)
    done = suffuse("train", folder / "wine.csv", "--out", folder / "run", "--steps", 300, "--width", 64, "--depth", 2,
                   "--target", "origin")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "number" in done.stdout
    assert "left out" in done.stdout
    return folder / "run"


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_new_rows_have_the_columns_types_and_values_of_the_old(run: Path, tmp_path: Path, suffix: str):
    out = tmp_path / f"new.{suffix}"
    done = suffuse("generate", run, "-n", 40, "--out", out)
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = {
        "csv": pd.read_csv, "tsv": lambda path: pd.read_csv(path, sep="\t"), "parquet": pd.read_parquet,
        "jsonl": lambda path: pd.read_json(path, lines=True),
    }  # fmt: skip
    new, old = read[suffix](out), wine().drop(columns="number")
    assert len(new) == 40
    assert list(new) == list(old)
    assert set(new["origin"]) <= set(old["origin"])
    assert set(new["country"]) == {"Italy"}
    assert new["ash"].isna().any()
    assert new["proline"].dtype == "int64" or suffix == "jsonl"
    assert new["alcohol"].between(old["alcohol"].min(), old["alcohol"].max()).all()
    assert ((new["alcohol"] * 100).round(6) % 1 == 0).all()  # two decimals, as the old ones have


def test_empty_cells_are_filled_and_the_others_kept_to_the_letter(run: Path, tmp_path: Path):
    holes = wine().head(20).astype(object)
    holes.loc[0, "alcohol"] = None
    holes.loc[1, "origin"] = None
    holes.loc[2, ["ash", "proline", "origin"]] = None
    holes.loc[3, "alcohol"] = 99.875  # beyond all that was seen
    holes.to_csv(tmp_path / "holes.csv", index=False)
    done = suffuse("infill", run, tmp_path / "holes.csv", "--out", tmp_path / "filled.csv", "--steps", 20)
    assert done.returncode == 0, done.stderr
    before, after = pd.read_csv(tmp_path / "holes.csv"), pd.read_csv(tmp_path / "filled.csv")
    assert not after.drop(columns="country").isna().any().any()
    for name in after:
        known = before[name].notna()
        assert (after[name][known] == before[name][known]).all(), name


def test_scores_have_a_row_for_every_row(run: Path, tmp_path: Path):
    done = suffuse("score", run, run.parent / "wine.csv", "--evaluations", 16, "--out", tmp_path / "scores.csv")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 178
    assert {"nats", "bits_per_dimension"} <= set(rows[0])


def test_one_row_is_enough_to_ask_about_and_a_word_is_no_number(run: Path, tmp_path: Path):
    heading, first, *_ = (run.parent / "wine.csv").read_text(encoding="utf-8").splitlines()
    (one := tmp_path / "one.csv").write_text(f"{heading}\n{first}\n", encoding="utf-8")
    done = suffuse("score", run, one, "--evaluations", 4, "--out", tmp_path / "scores.csv")
    assert done.returncode == 0, done.stderr
    place = heading.split(",").index("alcohol")
    odd = ",".join("much" if n == place else cell for n, cell in enumerate(first.split(",")))
    one.write_text(f"{heading}\n{odd}\n", encoding="utf-8")
    done = suffuse("score", run, one, "--evaluations", 4, "--out", tmp_path / "scores.csv")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "'much' of column 'alcohol' is no number" in done.stderr


def test_in_python_a_table_is_a_frame(run: Path):
    model = sf.load(run)
    new = model.generate(5, steps=8)
    assert isinstance(new, pd.DataFrame)
    assert len(model.score(new, evaluations=4)) == 5
    new.loc[0, "alcohol"] = None
    assert model.infill(new, steps=8)["alcohol"].notna().all()
    assert json.loads((run.parent / "run" / "data-report.json").read_text())["kept"] == 178


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "{run}", "--out", "new.xlsx"], "must end in one of .csv, .tsv, .jsonl, .parquet"),
        (["infill", "{run}", "nowhere.csv"], "there is no nowhere.csv"),
        (["train", "{data}", "--target", "orgin"], "did you mean 'origin'?"),
        (["train", "{data}", "--network", "unet"], "a table is learned by an mlp"),
    ],
)
def test_mistakes_are_one_line(run: Path, tmp_path: Path, arguments: list[str], said: str):
    known = {"run": run, "data": run.parent / "wine.csv"}
    done = suffuse(*(argument.format(**known) for argument in arguments))
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
