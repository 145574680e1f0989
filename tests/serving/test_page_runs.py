"""What the page may train on, and how it calls what it trains: nothing outside its two folders."""

import io
import random
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from suffuse.data.sources import open_source
from suffuse.errors import UserError
from suffuse.studio.runs import Trainings


@pytest.fixture
def trainings(tmp_path: Path) -> Trainings:
    (tmp_path / "data" / "cats").mkdir(parents=True)
    (tmp_path / "data" / "cats" / "a.txt").write_text("a")
    (tmp_path / "data" / ".hidden").write_text("a")
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    (tmp_path / "data" / "link.csv").symlink_to(tmp_path / "secret.csv")
    return Trainings(tmp_path / "runs", tmp_path / "data")


def test_what_is_below_the_folder_of_data_can_be_chosen(trainings: Trainings, tmp_path: Path):
    assert trainings.source("cats") == (tmp_path / "data" / "cats").resolve()
    assert {"cats", "cats/a.txt"} <= {*trainings.listing()}
    assert ".hidden" not in trainings.listing()


@pytest.mark.parametrize("name", ["../secret.csv", "/etc/passwd", "link.csv", "cats/../../secret.csv", "not there"])
def test_what_leads_out_of_it_is_not_there(trainings: Trainings, name: str):
    with pytest.raises(UserError, match="there is no"):
        trainings.source(name)


def test_without_such_a_folder_there_is_nothing_to_choose(tmp_path: Path):
    trainings = Trainings(tmp_path, None)
    assert trainings.listing() == []
    with pytest.raises(UserError, match="there is no"):
        trainings.source(".")


@pytest.mark.parametrize("name", ["", "..", "a/b", "/tmp", ".studio", "--out", "a\n", "x" * 80])
def test_names_are_words(trainings: Trainings, tmp_path: Path, name: str):
    for work in (
        lambda: trainings.start(name, tmp_path, 1.0, []),
        lambda: trainings.kept(name, [tmp_path / "secret.csv"]),
        lambda: trainings.run(name),
    ):
        with pytest.raises(UserError, match="a name has letters"):
            work()
    for ask in (trainings.standing, trainings.stop):
        with pytest.raises(UserError):
            ask(name)
    assert not (tmp_path / "runs").exists()


def test_uploads_stay_where_the_page_keeps_them(trainings: Trainings, tmp_path: Path):
    kept = trainings.kept("mine", [tmp_path / "secret.csv"])
    assert kept.read_text() == "a,b\n1,2\n"
    assert kept.parent == tmp_path / "runs" / ".studio" / "mine" / "data"
    assert trainings.kept("mine", [tmp_path / "secret.csv", tmp_path / "data" / "cats" / "a.txt"]) == kept.parent
    assert {path.name for path in kept.parent.iterdir()} == {"secret.csv", "a.txt"}


def test_a_folder_with_folders_in_it_is_sent_as_an_archive(trainings: Trainings, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for number in range(4):
            stream = io.BytesIO()
            Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(stream, "PNG")
            archive.writestr(f"pets/{'cat' if number % 2 else 'dog'}/{number}.png", stream.getvalue())
        archive.writestr("__MACOSX/pets/._0.png", b"")
    source = open_source(trainings.kept("mine", [tmp_path / "pets.zip"]))
    assert sorted(source.column("label")) == ["cat", "cat", "dog", "dog"]


def test_archives_that_climb_or_swell_do_neither(trainings: Trainings, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("../../out.txt", "/tmp/suffuse-out.txt", "in.txt"):
            archive.writestr(name, b"text")
    kept = trainings.kept("mine", [tmp_path / "a.zip"])
    assert sorted(path.name for path in kept.rglob("*.txt")) == ["in.txt", "out.txt", "suffuse-out.txt"]
    assert not Path("/tmp/suffuse-out.txt").exists()
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(100_001):
            archive.writestr(f"{number}", b"")
    with pytest.raises(UserError, match="holds more than 100,000 files"):
        trainings.kept("mine", [tmp_path / "many.zip"])
    (tmp_path / "no.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:60])
    with pytest.raises(UserError, match=r"no.zip is no ZIP file that can be read"):
        trainings.kept("mine", [tmp_path / "no.zip"])


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_archives_are_told_in_a_sentence(trainings: Trainings, tmp_path: Path, packed: int):
    rng, said = random.Random(0), list[str]()
    with zipfile.ZipFile(tmp_path / "a.zip", "w", packed) as archive:
        for name in ("a/b.txt", "a/Größe.txt", "a/c/d.txt"):
            archive.writestr(name, b"text " * 99 + rng.randbytes(99))
    good = (tmp_path / "a.zip").read_bytes()
    for _ in range(200):
        hurt = bytearray(good)
        for _ in range(4):
            hurt[rng.randrange(len(hurt))] = rng.randrange(256)
        (tmp_path / "a.zip").write_bytes(hurt)
        try:
            trainings.kept("mine", [tmp_path / "a.zip"])
        except UserError as error:
            said.append(str(error))
    assert len(said) > 100
    assert not any("\n" in each for each in said)


def test_uploads_that_cannot_be_kept_are_told_in_a_sentence(tmp_path: Path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UserError, match="cannot write"):
        Trainings(tmp_path / "runs", None).kept("mine", [tmp_path / "runs"])
    with pytest.raises(UserError, match="cannot write"):
        Trainings(tmp_path / "runs", None).start("mine", tmp_path, 1.0, [])
