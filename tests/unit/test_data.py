"""Sources, report and loader over real files, and every mistake with them that we know of."""

import csv
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from suffuse.codecs.conditions import CaptionCodec, ClassCodec
from suffuse.codecs.image import ImageCodec
from suffuse.data.loader import Batches, mirror, order, split
from suffuse.data.pictures import decoding, open_picture
from suffuse.data.records import PictureSource
from suffuse.data.sources import ArraySource, open_source
from suffuse.errors import UserError


def picture(number: int, size: int = 8) -> Image.Image:
    """Noise that its number decides: no two alike, and it does not compress to nothing."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8))


def put(path: Path, image: Image.Image | bytes, **options: object) -> Path:
    """Write a picture, or bytes, making folders on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image) if isinstance(image, bytes) else image.save(path, **options)
    return path


def table(path: Path, *rows: dict[str, object]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def names(source: PictureSource) -> list[str]:
    return [source[position].name for position in range(len(source))]


def refused(path: object, **options: str) -> str:
    """The one sentence that says why a source was refused, on opening or on scanning it."""
    with pytest.raises(UserError) as error:
        open_source(path, **options).scan()
    assert "\n" not in str(error.value)
    return str(error.value)


# Layouts


def test_a_nested_folder_of_pictures(tmp_path: Path):
    for number, name in enumerate(["b.png", "a.JPG", "deep/er/c.webp", "deep/d.gif", "deep/.hidden.png", ".x/e.png"]):
        put(tmp_path / name, picture(number))
    source = open_source(str(tmp_path))
    assert names(source) == ["a.JPG", "b.png", "deep/d.gif", "deep/er/c.webp"]
    assert source.fields == ()
    assert np.array_equal(np.array(source[1].image), np.array(picture(0)))
    report = source.scan()
    assert (report.found, report.kept, report.keep, report.left_out) == (4, 4, [0, 1, 2, 3], [])


def test_sub_folders_are_classes(tmp_path: Path):
    for number, name in enumerate(["cats/1.png", "cats/long hair/2.png", "dogs/3.png", "4.png"]):
        put(tmp_path / name, picture(number))
    (tmp_path / "birds").mkdir()
    source = open_source(tmp_path)
    assert source.fields == ("label",)
    assert dict(zip(names(source), source.column("label"), strict=True)) == {
        "4.png": None, "cats/1.png": "cats", "cats/long hair/2.png": "cats", "dogs/3.png": "dogs"
    }  # fmt: skip
    report = source.scan()
    assert report.labels == {"cats": 2, "dogs": 1}
    assert report.fields == {"label": 3}
    assert report.notes == ["the folder birds holds no pictures"]
    assert "birds" in report.summary()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata_gives_fields(tmp_path: Path, kind: str):
    for number in range(3):
        put(tmp_path / f"in/{number}.png", picture(number))
    rows = [
        {"file_name": "in/1.png", "caption": "Größe, “viel”\nin 2 lines", "label": "x"},
        {"file_name": "in/0.png", "caption": None, "label": "y"},
        {"file_name": "in/1.png", "caption": "another", "label": "x"},
        {"file_name": "in/1.png", "caption": "another", "label": "x"},
    ]
    if kind == "csv":
        table(tmp_path / "metadata.csv", *rows)
    else:
        lines = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / "metadata.jsonl").write_text(lines + "\n\n", encoding="utf-8-sig")
    source = open_source(tmp_path)
    assert source.fields == ("caption", "label")
    assert [(record.name, record.fields["caption"], record.fields["label"]) for record in source] == [
        ("in/0.png", None, "y"),
        ("in/1.png", rows[0]["caption"], "x"),
        ("in/1.png", "another", "x"),
        ("in/2.png", None, None),
    ]
    report = source.scan()
    assert report.fields == {"caption": 2, "label": 3}
    assert report.duplicates == 0
    assert report.notes == [f"1 rows of metadata.{kind} repeat an earlier row"]


def test_metadata_in_a_sub_folder_is_relative_to_it(tmp_path: Path):
    put(tmp_path / "a/x.png", picture(0))
    put(tmp_path / "b/x.png", picture(1))
    table(tmp_path / "b/metadata.csv", {"": "0", "file_name": "x.png", "label": "bee"})
    source = open_source(tmp_path)
    assert source.fields == ("label",)
    assert source.column("label") == [None, "bee"]


def test_splits_by_folder(tmp_path: Path):
    put(tmp_path / "train/cats/1.png", picture(0))
    put(tmp_path / "train/dogs/2.png", picture(1))
    put(tmp_path / "test/cats/3.png", picture(2))
    source = open_source(tmp_path)
    assert source.column("label") == ["cats", "dogs"]
    assert source.report.notes == ["only the split train is read, not test"]
    assert names(open_source(tmp_path, split="test")) == ["cats/3.png"]
    assert "its splits are test, train" in refused(tmp_path, split="valid")
    assert "no splits" in refused(tmp_path / "train", split="test")


def test_arrays():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    source = ArraySource(images, np.array([3, 1, 3, 0, 1]), name="noise")
    assert source.column("label") == [3, 1, 3, 0, 1]
    report = source.scan()
    assert report.sizes["max"] == (6, 4)
    assert report.labels == {"3": 2, "1": 2, "0": 1}
    x, _ = Batches(source, ImageCodec((4, 6))).batch([4, 0])
    assert torch.equal(x, torch.from_numpy(images[[4, 0]]).permute(0, 3, 1, 2) / 127.5 - 1)
    for wrong in (images.astype(np.float32), images[..., :2], images[:0], images[0, 0]):
        with pytest.raises(UserError):
            ArraySource(wrong)
    with pytest.raises(UserError, match="5 pictures have 2 labels"):
        ArraySource(images, [1, 2])


@pytest.fixture
def datasets_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def encoded(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.usefixtures("datasets_cache")
def test_parquet_and_saved_sets(tmp_path: Path):
    import datasets

    features = datasets.Features(
        picture=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]), caption=datasets.Value("string")
    )
    rows = {
        "picture": [{"bytes": encoded(picture(0)), "path": "in/0.png"}, {"bytes": b"junk", "path": None}, None,
                    {"bytes": encoded(picture(3)), "path": None}, {"bytes": encoded(picture(4)), "path": "in/4.png"}],
        "label": [1, 0, 0, None, -1],
        "caption": ["one", "two", None, None, None],
    }  # fmt: skip
    made = datasets.Dataset.from_dict(rows, features=features)
    home = tmp_path / "a [set]"  # brackets would be a pattern to the library
    home.mkdir()
    made.to_parquet(home / "train-00000-of-00001.parquet")
    made.select([3]).to_parquet(home / "test-00000-of-00001.parquet")
    (home / "README").write_text("no picture")
    datasets.DatasetDict(train=made, test=made.select([3])).save_to_disk(tmp_path / "saved")
    for place in (home / "train-00000-of-00001.parquet", home, tmp_path / "saved"):
        source = open_source(place)
        assert source.fields == ("label", "caption")
        assert source.column("label") == ["dog", "cat", "cat", None, None]
        report = source.scan()
        assert report.keep == [0, 3, 4]
        assert dict(report.left_out).keys() == {"row 1", "row 2"}
        assert report.labels == {"dog": 1}
        assert np.array_equal(np.array(source[3].image), np.array(picture(3)))
        assert source[0].fields == {"label": "dog", "caption": "one"}
    assert len(open_source(home, split="test")) == 1
    assert "its splits are" in refused(home, split="dev")
    assert "its splits are train, test" in refused(tmp_path / "saved", split="dev")


@pytest.mark.usefixtures("datasets_cache")
def test_parquet_that_others_wrote(tmp_path: Path):
    import pyarrow
    import pyarrow.parquet

    columns = {"id": [7, 8], "data": [encoded(picture(0)), encoded(picture(1))]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "binary.parquet")
    source = open_source(tmp_path / "binary.parquet")
    assert source.column("id") == [7, 8]
    assert source.scan().kept == 2
    pyarrow.parquet.write_table(pyarrow.table({"id": [7, 8]}), tmp_path / "none.parquet")
    assert open_source(tmp_path / "none.parquet").kind == "table"
    put(tmp_path / "bad.parquet", b"PAR1 and then nothing")
    assert "cannot be read as parquet" in refused(tmp_path / "bad.parquet")


# Mistakes


def test_a_wrong_path_names_the_nearest(tmp_path: Path):
    put(tmp_path / "pictures/1.png", picture(0))
    assert f"did you mean {tmp_path / 'pictures'}?" in refused(tmp_path / "picturse")
    assert f"there is no {tmp_path / 'picturse'}; did" in refused(tmp_path / "picturse/cats/long")
    assert "check the path" in refused(tmp_path / "zzz")


def test_one_picture_is_a_source(tmp_path: Path):
    put(tmp_path / "pictures/1.png", picture(0))
    put(tmp_path / "pictures/2.png", b"no picture")
    source = open_source(tmp_path / "pictures/1.png")
    assert source.names([0]) == ["1.png"]
    assert source.scan().kept == len(source) == 1
    (tmp_path / "notes.md").write_text("no picture")
    with pytest.raises(UserError, match=r"notes.md is no picture"):
        open_source(tmp_path / "notes.md", kind="image")
    with pytest.raises(UserError, match=r"2.png of .* cannot be read: not a picture"):
        open_source(tmp_path / "pictures/2.png").raw([0])


def test_a_path_that_looks_like_a_hub_name_but_begins_here_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path / "data/cats/1.png", picture(0))
    monkeypatch.chdir(tmp_path)
    assert "did you mean data/cats?" in refused("data/cat")


def test_a_hub_name_without_a_hub_is_one_sentence(tmp_path: Path):
    program = (
        "from suffuse.data.sources import open_source\nfrom suffuse.errors import UserError\n"
        "try:\n    open_source('nobody-at-all/no-such-set')\nexcept UserError as error:\n    print(error)"
    )
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=tmp_path, check=True
    )
    assert len(done.stdout.splitlines()) == 1
    assert "no folder or file nobody-at-all/no-such-set here" in done.stdout


def test_folders_without_pictures(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    assert "is empty" in refused(tmp_path / "empty")
    for name in ("a.odd", "b.odd", "sub/c.md"):
        put(tmp_path / "others" / name, b"no picture")
    assert "found: 2 .odd, 1 .md" in refused(tmp_path / "others")
    for name in ("cats", "dogs"):
        (tmp_path / "classes" / name).mkdir(parents=True)
    assert "is empty" in refused(tmp_path / "classes")
    put(tmp_path / "bare/LICENSE", b"a text without a suffix")
    assert "LICENSE" in refused(tmp_path / "bare")


def test_every_picture_corrupt(tmp_path: Path):
    for number in range(3):
        put(tmp_path / f"{number}.png", b"\x89PNG\r\n\x1a\n and then nothing")
    assert "none of the 3 pictures" in refused(tmp_path)


def test_bad_files_among_good_ones_are_left_out_with_reasons(tmp_path: Path):
    good = put(tmp_path / "good.jpg", picture(0, 64), quality=95)
    cut = {}
    for name in ("cut.jpg", "cut.png", "cut.webp", "cut.gif", "cut.bmp", "cut.tif"):
        content = put(tmp_path / name, picture(1, 64)).read_bytes()
        cut[name] = put(tmp_path / name, content[: len(content) * 2 // 3])
    put(tmp_path / "zero.png", b"")
    put(tmp_path / "text.png", b"no picture, whatever its name says")
    put(tmp_path / "notes.txt", b"notes")
    put(tmp_path / "one.png", Image.new("RGB", (1, 1)))
    put(tmp_path / "png named.jpg", encoded(picture(2)))
    put(tmp_path / "copy.jpg", good.read_bytes())
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    source = open_source(tmp_path)
    calls: list[tuple[int, int]] = []
    report = source.scan(lambda done, total: calls.append((done, total)), threads=3)
    reasons = dict(report.left_out)
    assert sorted(names(source)[position] for position in report.keep) == [
        "copy.jpg", "good.jpg", "one.png", "png named.jpg"
    ]  # fmt: skip
    assert reasons.keys() == {*cut, "zero.png", "text.png", "notes.txt", "gone.png"}
    assert reasons["cut.jpg"].startswith("damaged: image file is truncated")
    assert reasons["zero.png"] == "empty file"
    assert reasons["gone.png"] == "no such file"
    assert "not a picture" in reasons["text.png"]
    assert (report.found, report.kept, report.duplicates) == (14, 4, 1)
    assert report.sizes == {"min": (1, 1), "median": (36, 36), "max": (64, 64)}
    assert calls == [(done, len(source)) for done in range(1, len(source) + 1)]
    report.to_json(tmp_path / "data-report.json")
    written = json.loads((tmp_path / "data-report.json").read_text())
    assert written["found"] == written["kept"] + len(written["left_out"]) == 14
    assert ["zero.png", "empty file"] in written["left_out"]
    assert "left out 1: empty file (zero.png)" in report.summary()


@pytest.mark.parametrize("field", ["lable", "colour"])
def test_a_missing_column_names_those_there_are(tmp_path: Path, field: str):
    put(tmp_path / "1.png", picture(0))
    table(tmp_path / "metadata.csv", {"file_name": "1.png", "label": "x", "caption": "y"})
    source = open_source(tmp_path)
    with pytest.raises(UserError, match="its fields are label, caption") as error:
        Batches(source, ImageCodec(8), {"class": (field, ClassCodec(["x"]))})
    assert ("did you mean 'label'?" in str(error.value)) == (field == "lable")
    put(tmp_path / "bare/1.png", picture(0))
    with pytest.raises(UserError, match="one folder per class"):
        open_source(tmp_path / "bare").column(field)


def test_metadata_naming_files_that_are_not_there(tmp_path: Path):
    put(tmp_path / "set/1.png", picture(0))
    put(tmp_path / "secret.png", picture(1))
    files = ("1.png", "2.png", "../secret.png", str(tmp_path / "secret.png"))
    rows = [{"file_name": name, "label": "x"} for name in files]
    table(tmp_path / "set/metadata.csv", *rows)
    report = open_source(tmp_path / "set").scan()
    assert (report.found, report.kept, report.labels) == (4, 1, {"x": 1})
    assert ("2.png", "named in metadata.csv, but there is no such file") in report.left_out
    table(tmp_path / "set/metadata.csv", *rows[1:])
    assert "no file that metadata.csv" in refused(tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metadata.csv", "file_name,caption\n1.png,café\n".encode("latin-1"), "is not UTF-8 text (line 2)"),
        ("metadata.csv", "file_name,caption\n1.png,café\n".encode("utf-16"), "is not UTF-8 text (line 1)"),
        ("metadata.csv", b"filename,caption\n1.png,x\n", "rename 'filename' to it"),
        ("metadata.csv", b"a;b\n1.png;x\n", "the columns are a;b"),
        ("metadata.csv", b"", "the columns are none"),
        ("metadata.csv", b"file_name,caption\n1.png,a cat, a dog\n", "line 2 of"),
        ("metadata.csv", b'file_name,caption\n1.png,"never closed\n2.png,x\n', "is not CSV"),
        ("metadata.csv", b"file_name,caption\n,x\n", "line 2 of"),
        ("metadata.jsonl", b'{"file_name": "1.png"}\n{"file_name": \n', "line 2 of"),
        ("metadata.jsonl", b"[1]\n", "is no JSON object"),
        ("metadata.jsonl", b'{"caption": "x"}\n', "names no file"),
    ],
)
def test_metadata_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, said: str):
    put(tmp_path / "1.png", picture(0))
    put(tmp_path / name, content)
    message = refused(tmp_path)
    assert said in message
    assert str(tmp_path / name) in message


def test_links_that_loop_do_not_hang(tmp_path: Path):
    put(tmp_path / "set/a/1.png", picture(0))
    put(tmp_path / "set/z/3.png", picture(3))
    put(tmp_path / "elsewhere/2.png", picture(1))
    put(tmp_path / "outside.png", picture(2))
    links = {"a/self": ".", "a/up": "..", "out": "../..", "root": "/", "a-z": "z", "A": "a", "e": "../elsewhere"}
    for name, target in links.items():
        (tmp_path / "set" / name).symlink_to(target)
    (tmp_path / "set/x.png").symlink_to("x.png")
    os.mkfifo(tmp_path / "set/pipe.png")
    source = open_source(tmp_path / "set")
    assert names(source) == ["a/1.png", "x.png", "z/3.png", "e/2.png"]
    report = source.scan()
    assert report.kept == 3
    assert sum("links to a folder read elsewhere" in note for note in report.notes) == 6
    (tmp_path / "home").symlink_to("set")
    (tmp_path / "set/z/home").symlink_to("../../set")
    assert names(open_source(tmp_path / "home")) == names(open_source(tmp_path / "set/z/home")) == names(source)


@pytest.fixture
def nobody() -> Iterator[None]:
    """Be an ordinary user: to root nothing is unreadable."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def unreadable(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file and a folder that no one may read; the folders above it can be walked through."""
    for number, name in enumerate(["a.png", "b.png", "sub/c.png"]):
        put(tmp_path / name, picture(number))
    open_source(tmp_path).scan()  # now, as it loads modules from places an ordinary user may not read
    above = [folder for folder in tmp_path.parents if folder.stat().st_uid == os.getuid() and folder != Path("/")]
    modes = {folder: folder.stat().st_mode for folder in above}
    for folder in above:
        folder.chmod(modes[folder] | 0o111)
    tmp_path.chmod(0o755)
    (tmp_path / "a.png").chmod(0)
    (tmp_path / "sub").chmod(0)
    yield tmp_path
    (tmp_path / "sub").chmod(0o755)
    for folder in above:
        folder.chmod(modes[folder])


def test_what_may_not_be_read_is_left_out(unreadable: Path, nobody: None):
    report = open_source(unreadable).scan()
    assert report.left_out == [("a.png", "no permission to read it")]
    assert report.notes == ["the folder sub was passed over: no permission to read it"]
    assert "no permission" in refused(unreadable / "sub")


def hollow_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(body: bytes) -> bytes:
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT" + zlib.compress(bytes(99))) + chunk(b"IEND")


def test_large_pictures_are_kept_and_absurd_ones_left_out(tmp_path: Path):
    put(tmp_path / "small.png", picture(0))
    put(tmp_path / "large.jpg", Image.new("L", (8000, 3000), 200))
    put(tmp_path / "larger.png", Image.new("1", (9500, 9500), 1), compress_level=1)  # PIL warns of it, we do not
    put(tmp_path / "absurd.png", hollow_png(20000, 20000))
    source = open_source(tmp_path)
    report = source.scan()
    assert report.left_out == [("absurd.png", "too large: more than 178 megapixels")]
    assert report.sizes["max"] == (9500, 9500)
    x, _ = Batches(source, ImageCodec(4, 1), keep=report.keep).batch([0, 1])
    assert (x[0] == torch.tensor(200) / 127.5 - 1).all()
    assert (x[1] == 1).all()


def test_a_large_jpeg_is_decoded_at_part_of_its_size(tmp_path: Path):
    path = put(tmp_path / "large.jpg", Image.new("L", (9000, 4200), 200))
    image = open_picture(path.read_bytes())
    with decoding(image):
        assert np.asarray(image).shape == (2100, 4500)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_fifty_megapixels_are_read_in_bounded_memory(tmp_path: Path):
    first = put(tmp_path / "0.png", Image.new("L", (10000, 5000), 100), compress_level=1)
    for number in range(1, 5):
        (tmp_path / f"{number}.png").hardlink_to(first)
    program = """
import re, sys
from pathlib import Path
from suffuse.codecs.image import ImageCodec
from suffuse.data.loader import Batches
from suffuse.data.pictures import decoding, open_picture
from suffuse.data.sources import ArraySource, open_source
import numpy as np

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

Batches(ArraySource(np.zeros((8, 9, 9), np.uint8)), ImageCodec(32, 1)).batch(range(8))
before = peak()
source = open_source(sys.argv[1])
report = source.scan(threads=5)
x, _ = Batches(source, ImageCodec(32, 1)).batch(range(5))
assert report.kept == 5 and np.allclose(x, 100 / 127.5 - 1)
print(peak() - before)
"""
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, env=environment, check=True
    )
    assert 48 < float(done.stdout) < 2.5 * 48  # MiB, of 48 each: at least one was in memory, and never three


# Loader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine pictures in two classes, one without; a file that is none."""
    for number in range(9):
        put(tmp_path / f"set/{'abc'[number % 3]}/{number}.png", picture(number))
    put(tmp_path / "set/a/0 bad.png", b"bad")
    rows = [{"file_name": f"{'abc'[n % 3]}/{n}.png", "label": n % 2, "caption": f"picture {n}"} for n in range(8)]
    table(tmp_path / "set/metadata.csv", *rows)
    return tmp_path / "set"


def batches(folder: Path, **options: int) -> tuple[PictureSource, Batches, ClassCodec, CaptionCodec]:
    source = open_source(folder)
    classes, captions = ClassCodec.fit(source.column("label")), CaptionCodec.fit(source.column("caption"))
    conditions = {"class": ("label", classes), "text": ("caption", captions)}
    return source, Batches(source, ImageCodec(8), conditions, source.scan().keep, **options), classes, captions


@pytest.mark.parametrize("memory", [0, 500, 2**30])
def test_a_batch_holds_the_right_pictures_and_conditions(folder: Path, memory: int):
    _, loader, classes, captions = batches(folder, memory=memory)
    assert len(loader) == 9
    found = {}
    for positions in ([8, 0, 3, 3], torch.arange(9), [5]):
        x, condition = loader.batch(positions)
        assert condition.keys() == {"class", "class/present", "text", "text/present"}
        for place, position in enumerate(positions):
            image = ImageCodec(8).decode(x[place : place + 1])[0].tobytes()
            said = captions.decode(condition["text"][place : place + 1])[0]
            label = classes.decode(condition["class"][place : place + 1])[0]
            present = (condition["class/present"][place].item(), condition["text/present"][place].item())
            assert found.setdefault(int(position), (image, said, label, present)) == (image, said, label, present)
    numbers = [next(n for n in range(9) if picture(n).tobytes() == found[place][0]) for place in range(9)]
    assert numbers == [0, 3, 6, 1, 4, 7, 2, 5, 8]  # by folder, and without the bad one
    for place, number in enumerate(numbers):
        right = (f"picture {number}", str(number % 2), (True, True)) if number < 8 else ("", "0", (False, False))
        assert found[place][1:] == right


def test_packed_pictures_are_kept_where_all_are_within_the_bound_and_not_read_again(folder: Path):
    _, rich, _, _ = batches(folder)
    _, poor, _, _ = batches(folder, memory=9 * 8 * 8 * 3 - 1)
    first = rich.batch(range(9))[0]
    assert torch.equal(poor.batch(range(9))[0], first)
    for path in folder.rglob("*.png"):
        path.unlink()
    assert torch.equal(rich.batch(range(9))[0], first)
    for position in range(9):
        with pytest.raises(UserError, match="no such file"):
            poor.batch([position])


def test_prefetching_changes_nothing_but_when_files_are_read(folder: Path):
    _, loader, _, _ = batches(folder, memory=0)
    _, plain, _, _ = batches(folder, memory=0)
    loader.prefetch([1, 2])
    loader.prefetch(torch.tensor([4, 4, 7]))
    assert torch.equal(loader.batch([7, 4, 1])[0], plain.batch([7, 4, 1])[0])
    loader.prefetch([0])
    loader.batch([3])
    ahead = plain.batch([0])[0]
    loader._pool.shutdown(wait=True)
    for path in folder.rglob("*.png"):
        path.unlink()
    assert torch.equal(loader.batch([0])[0], ahead)


def test_what_was_prefetched_and_not_fetched_is_dropped(folder: Path):
    _, loader, _, _ = batches(folder)
    loader.prefetch([1])
    loader.prefetch([4])
    loader.batch([4])
    for path in folder.rglob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match="no such file; scan the source again"):
        loader.batch([1])


def test_a_value_that_a_condition_cannot_encode_is_refused_at_once(folder: Path):
    with pytest.raises(UserError, match="no class '1'"):
        Batches(open_source(folder), ImageCodec(8), {"class": ("label", ClassCodec(["0"]))})


def test_mirroring_flips_those_asked_for():
    x = torch.arange(24).reshape(2, 1, 3, 4)
    y = mirror(x, torch.tensor([True, False]))
    assert torch.equal(y[0], x[0].flip(-1))
    assert torch.equal(y[1], x[1])


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_every_epoch_is_another_permutation_and_any_slice_can_be_computed(size: int):
    index = torch.arange(3 * size)
    whole = order(size, index, seed=5)
    assert torch.equal(whole.view(3, size).sort(1).values, torch.arange(size).expand(3, size))
    shuffled = index[torch.randperm(3 * size, generator=torch.Generator().manual_seed(0))]
    assert torch.equal(order(size, shuffled, seed=5), whole[shuffled])
    assert torch.equal(order(size, index[-1:], seed=5), whole[-1:])
    if size == 1000:
        assert len({tuple(epoch.tolist()) for epoch in whole.view(3, size)}) == 3
        assert not torch.equal(order(size, index, seed=6), whole)


def test_every_item_comes_first_equally_often():
    n, size = 4000, 8
    first = order(size, torch.arange(n) * size, seed=0)
    chi2 = ((first.bincount(minlength=size) - n / size) ** 2 / (n / size)).sum()
    assert chi2 < 29.9  # 99.99% quantile at 7 degrees of freedom


@pytest.mark.parametrize(("size", "held_out", "count"), [(100, 0.1, 10), (10, 0.0, 0), (10, 0.01, 1), (3, 0.5, 2)])
def test_a_split_is_a_partition_that_the_seed_decides(size: int, held_out: float, count: int):
    train, test = split(size, 7, held_out)
    assert len(test) == count
    assert sorted([*train, *test]) == list(range(size))
    assert list(split(size, 7, held_out)[1]) == list(test)
    if count == 10:
        assert list(split(size, 8, held_out)[1]) != list(test)


@pytest.mark.parametrize(("size", "held_out"), [(1, 0.1), (10, 1.0), (10, -0.1 + 1.2)])
def test_a_split_that_leaves_nothing_is_refused(size: int, held_out: float):
    with pytest.raises(UserError):
        split(size, 0, held_out)
