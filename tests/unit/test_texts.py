"""Texts and sequences: what is found in files, every mistake in them that we know of, and the verbs on real ones."""

import csv
import gzip
import inspect
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import suffuse as sf
from suffuse.data.sources import open_source
from suffuse.data.texts import BLOCK, FileSource, TextReport
from suffuse.errors import UserError

SMALL = ["--width", "32", "--depth", "1", "--batch", "16"]


def put(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def scanned(path: Path, **options: str) -> TextReport:
    report = open_source(path, **options).scan()
    assert isinstance(report, TextReport)
    return report


def refused(path: Path, **options: str) -> str:
    with pytest.raises(UserError) as error:
        open_source(path, **options).scan()
    assert "\n" not in str(error.value)
    return str(error.value)


def suffuse(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "suffuse", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})


def prose() -> str:
    """Real English: the documentation of Python's own modules."""
    some = (json.loads, json.dumps, random.Random, csv.DictReader, str, list, dict, bytes, open, sorted, print, Path)
    return "\n\n".join(inspect.getdoc(each) or "" for each in some)


# Files


def test_short_lines_are_texts_of_their_own(tmp_path: Path):
    source = open_source(put(tmp_path / "a.txt", "\ufeff".join(["", "eins\r\nzwei 大江\n", "drei\n"])))
    assert isinstance(source, FileSource)
    assert [text.lstrip("\ufeff") for text in source.raw(range(3))] == ["eins", "zwei 大江", "drei"]
    assert "3 lines, each a text" in source.scan().summary()


def test_prose_is_read_in_blocks_that_cut_no_letter(tmp_path: Path):
    text = "Über die Brücke, 大漠孤烟直。\n\n" * 900
    source = open_source(put(tmp_path / "a.txt", text))
    assert "".join(source.raw(range(len(source)))) == text
    assert all(len(block.encode()) <= BLOCK + 3 for block in source.raw(range(len(source))))
    assert "one text, read in blocks" in source.scan().summary()
    assert scanned(tmp_path / "a.txt").letters == len(text)


def test_a_folder_of_texts_with_a_sub_folder_for_each_class(tmp_path: Path):
    put(tmp_path / "d/good/1.txt", "fine")
    put(tmp_path / "d/bad/2.txt", "awful\n\nreally")
    source = open_source(tmp_path / "d")
    assert (source.kind, source.fields) == ("text", ("label",))
    assert dict(zip(source.raw([0, 1]), source.column("label"), strict=True)) == {
        "awful\n\nreally": "bad", "fine": "good"
    }  # fmt: skip


def test_a_column_of_texts_makes_a_table_one_of_texts(tmp_path: Path):
    rows = "".join(f'"a sentence about number {n}",{"pos" if n % 2 else "neg"}\n' for n in range(60))
    source = open_source(put(tmp_path / "a.csv", "text,label\n" + rows))
    assert (source.kind, source.fields) == ("text", ("label",))
    assert source.scan().labels == {"neg": 30, "pos": 30}
    assert open_source(tmp_path / "a.csv", kind="table").kind == "table"


def test_a_pair_is_a_target_that_is_told_its_source(tmp_path: Path):
    rows = [{"source": f"good day {n}", "target": f"guten Tag {n}" if n else ""} for n in range(30)]
    path = put(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    source = open_source(path)
    assert source.raw([3]) == ["guten Tag 3"]
    report = source.scan()
    assert (report.kept, report.found) == (29, 30)
    assert "1 empty texts are left out" in report.summary()


def test_sequences_of_every_form(tmp_path: Path):
    fasta = ">a first label=x\nACGT\nacgt\n\n>b label=y\nGGG\n"
    for path in (put(tmp_path / "s.fasta", fasta), put(tmp_path / "s.fa.gz", gzip.compress(fasta.encode()))):
        source = open_source(path)
        assert (source.kind, source.raw([0, 1])) == ("sequence", ["ACGTacgt", "GGG"])
        assert (source.names([0, 1]), source.column("label")) == (["a", "b"], ["x", "y"])
    assert open_source(put(tmp_path / "s.fastq", "@r1\nACGT\n+\nIIII\n@r2\nTT\n+\nII\n")).raw([0, 1]) == ["ACGT", "TT"]
    table = open_source(put(tmp_path / "s.csv", "sequence,class\nACG,1\nTTT,0\n"))
    assert (table.kind, table.raw([1]), table.column("class")) == ("sequence", ["TTT"], [1, 0])


def test_one_text_is_one(tmp_path: Path):
    """As it is sent to be scored: nothing in the table says anything but that."""
    for name, text in (("a.jsonl", '{"text": "the sun"}\n'), ("a.csv", "text\nthe sun\n")):
        assert open_source(put(tmp_path / name, text), kind="text").raw([0]) == ["the sun"]


def test_mistakes_in_files(tmp_path: Path):
    assert "is not UTF-8 text" in refused(put(tmp_path / "l.txt", "Größe\n".encode("latin-1") * 9))
    assert "there is no text in" in refused(put(tmp_path / "e.txt", ""))
    assert "every item of it is empty" in refused(put(tmp_path / "n.txt", "\n\n\n\n"))
    assert "line 1 of" in refused(put(tmp_path / "x.fasta", "ACGT\n>a\nACGT\n"))
    assert "has no sequences" in refused(put(tmp_path / "y.fasta", ""))
    assert "is damaged" in refused(put(tmp_path / "z.fa.gz", b"no gzip"))
    assert "no column of" in refused(put(tmp_path / "t.csv", "a,b\n1,2\n3,4\n"), kind="text")


# The verbs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prose")
    put(folder / "prose.txt", prose())
    done = suffuse("train", folder / "prose.txt", "--out", folder / "run", "--steps", 20, "--length", 64, *SMALL)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_texts_are_drawn_and_written(run: Path, tmp_path: Path):
    for suffix in ("txt", "jsonl", "csv"):
        done = suffuse("generate", run, "-n", 3, "--steps", 8, "--out", tmp_path / f"new.{suffix}")
        assert done.returncode == 0, done.stderr
    lines = (tmp_path / "new.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert len(texts) == 3
    assert sf.load(run).generate(3, steps=8) == texts
    with (tmp_path / "new.csv").open(encoding="utf-8", newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == texts


def test_gaps_are_filled_and_the_rest_stays(run: Path, tmp_path: Path):
    put(tmp_path / "holes.txt", "The list is [[6]] and then.\nUnknown ⿰ letters stay: [[]]\n")
    done = suffuse("infill", run, tmp_path / "holes.txt", "--out", tmp_path / "filled.jsonl", "--steps", 8)
    assert done.returncode == 0, done.stderr
    texts = [json.loads(line)["text"] for line in (tmp_path / "filled.jsonl").read_text(encoding="utf-8").splitlines()]
    assert texts[0].startswith("The list is ")
    assert texts[0].endswith(" and then.")
    assert texts[1].startswith("Unknown ⿰ letters stay: ")
    done = suffuse("infill", run, put(tmp_path / "wide.txt", "[[900]]\n"), "--out", tmp_path / "no.txt")
    assert done.returncode == 2
    assert "gaps of 900 tokens do not fit into the 64" in done.stderr


def test_the_bound_of_a_long_text_is_that_of_its_pieces(run: Path, tmp_path: Path):
    model = sf.load(run)
    long, short = model.score([prose()[:1000], "abc"], evaluations=8)
    assert abs(long.nats + long.bits_per_dimension * 1000 * 0.6931471805599453) < 1e-6 * abs(long.nats)
    assert long.nats < 10 * short.nats
    done = suffuse("score", run, run.parent / "prose.txt", "--evaluations", 8, "--out", tmp_path / "s.csv")
    assert done.returncode == 0, done.stderr


def test_pairs_translate(tmp_path: Path):
    rows = "".join(f'"{word}","{word[::-1]}"\n' for word in (f"word{n}" for n in range(200)))
    put(tmp_path / "pairs.csv", "source,target\n" + rows + '"lonely",\n')
    done = suffuse("train", tmp_path / "pairs.csv", "--out", tmp_path / "run", "--steps", 10, *SMALL)
    assert done.returncode == 0, done.stderr
    put(tmp_path / "in.txt", "word7\n\nword9 and a letter never seen: ⿰\n")
    done = suffuse("translate", tmp_path / "run", tmp_path / "in.txt", "--out", tmp_path / "out.jsonl", "--steps", 4)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 3


def test_sequences_end_to_end(tmp_path: Path):
    rng = random.Random(0)
    fasta = "".join(f">s{n} label={'ab'[n % 2]}\n{''.join(rng.choices('ACGT', k=20))}\n" for n in range(60))
    put(tmp_path / "s.fasta", fasta)
    arguments = ["--out", tmp_path / "run", "--steps", 10, "--condition", "label", *SMALL]
    done = suffuse("train", tmp_path / "s.fasta", *arguments)
    assert done.returncode == 0, done.stderr
    done = suffuse("generate", tmp_path / "run", "-n", 2, "--condition", "b", "--out", tmp_path / "new.fasta")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "new.fasta").read_text().splitlines()
    assert lines[::2] == [">generated1", ">generated2"]
    assert set("".join(lines[1::2])) <= set("ACGT")
    done = suffuse("classify", tmp_path / "run", tmp_path / "s.fasta", "--evaluations", 20, "--out", tmp_path / "c.csv")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "c.csv").open(encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert {"a", "b"} <= set(first)
    put(tmp_path / "bad.fasta", fasta + ">worst\nAC!GT\n")
    done = suffuse("train", tmp_path / "bad.fasta", "--out", tmp_path / "no", "--steps", 1)
    assert done.returncode == 2
    assert "worst of" in done.stderr
    assert "'!' at place 3 is no symbol of" in done.stderr


@pytest.mark.parametrize("text", ["x", "short one", "two\nlines"])
def test_texts_shorter_than_a_window_train(tmp_path: Path, text: str):
    put(tmp_path / "t.txt", text)
    done = suffuse("train", tmp_path / "t.txt", "--out", tmp_path / "run", "--steps", 2, "--held-out", 0, *SMALL)
    assert done.returncode == 0, done.stderr
