"""Uploads that nobody should send, of every kind: cut short, with bytes changed, of other kinds, bombs, climbing names.

``SUFFUSE_UPLOADS`` says how many are sent; 10,000 of them take eight minutes.
"""

import io
import json
import os
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import httpx
import netCDF4
import numpy as np
import psutil
import pytest
from PIL import Image

from suffuse.clips import Clip, write_gif
from suffuse.serving.payloads import FORMS
from suffuse.sounds import SOUND_FORMS, Sound, write_sound
from tests.serving.servers import Server, Start
from tests.unit.test_music import event, midi, notes, score, sung

_UPLOADS = int(os.environ.get("SUFFUSE_UPLOADS", "600"))
_VERBS: tuple[tuple[str, dict[str, object]], ...] = (
    ("edit", {"strength": 0.2, "steps": 1}),
    ("score", {"evaluations": 4}),
    ("embed", {"draws": 1}),
    ("infill", {"steps": 1}),
)
_ROOM = 2**29
"""Bytes by which the server's memory may differ between two moments: what libraries keep, not what was sent."""

File = tuple[str, bytes]


@pytest.fixture(scope="module")
def server(start: Start, kinds: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Server:
    return start(*kinds.values(), "--jobs", tmp_path_factory.mktemp("jobs") / "jobs.sqlite")


@pytest.fixture(scope="module")
def good(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[File]]:
    """Files that can be read, in several forms, by the name of the model."""
    folder = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    write_gif(Clip(frames, Fraction(10)), folder / "a.gif")
    for form in (".avi", ".mkv", ".mov"):
        _film(folder / f"a{form}", frames)
    for form in SOUND_FORMS:
        write_sound(Sound(np.sin(np.arange(1000) / 5)[None].astype(np.float32), 8000), folder / f"a{form}", form)
    films, sounds = (
        [folder / f"a{form}" for form in forms] for forms in ((".gif", ".avi", ".mkv", ".mov"), SOUND_FORMS)
    )
    found = {
        "pictures": [(f"a{form}", _picture(frames[0], form)) for form in FORMS["image"]],
        "clips": [_file(data / "film.mp4"), *map(_file, films)],
        "fields": [_file(data / "waves.nc")],
        "rows": [_file(data / "rows.csv"), ("a.tsv", b"size\tcolour\n1\tred\n"), ("a.jsonl", b'{"size": 1}\n')],
        "walks": [_file(data / "walks.csv")],
        "words": [_file(data / "words.txt"), ("a.jsonl", b'{"text": "the sun"}\n'), ("a.csv", b"text\nthe sun\n")],
        "genes": [_file(data / "genes.fasta"), ("a.txt", b">a\nACGTACGTACGTACGT\n")],
        "tones": [_file(data / "tone.wav"), *map(_file, sounds)],
        "tunes": [_file(data / "tunes/0001.mid"), ("a.musicxml", score(sung("C", 16), sung("E", 16)).encode())],
    }  # fmt: skip
    return found


def test_what_is_spoiled_is_refused_in_a_sentence(server: Server, good: Mapping[str, list[File]]):
    rng = random.Random(0)
    memory, answers = list[int](), dict[int, int]()
    for number in range(_UPLOADS):
        model = rng.choice([*good])
        spoil = rng.choice(_SPOILERS)
        name, sent = spoil(rng, rng.choice(good[model]))
        status = _sent(server, model, name, sent, *rng.choice(_VERBS))
        answers[status] = answers.get(status, 0) + 1
        if number in (_UPLOADS // 3, _UPLOADS - 1):
            memory.append(_memory(server))
    print(answers, memory)
    assert answers[400] > _UPLOADS // 4
    assert memory[1] < memory[0] + _ROOM


def test_what_is_good_is_taken(server: Server, good: Mapping[str, list[File]]):
    for model, files in good.items():
        for name, sent in files:
            answer = _asked(server, model, name, sent, "embed", {"draws": 1})
            assert answer.status_code == 200 or (name in ("film.mp4", "tone.wav") and "at once" in answer.text), (
                name,
                answer.text,
            )


def test_a_film_keeps_its_sound(server: Server, good: Mapping[str, list[File]]):
    sounding = next(file for file in good["clips"] if file[0] == "a.mkv")
    answer = _asked(server, "clips", *sounding, "edit", {"strength": 0.2, "steps": 1})
    with av.open(io.BytesIO(answer.content)) as film:
        assert [stream.codec_context.name for stream in film.streams.audio] == ["mp3float"]  # as it was
        assert sum(packet.size for packet in film.demux(audio=0)) > 1000


def test_little_that_becomes_much_is_refused_before_it_does(server: Server, tmp_path: Path):
    for model, file in _bombs(tmp_path):
        assert _sent(server, model, *file, "edit", {"strength": 0.2, "steps": 1}) != 200, (model, file[0])
        assert _memory(server) < 2**31, (model, file[0])
    large = {"file": ("a.png", _picture(np.zeros((8, 8, 3), np.uint8), ".png")), "mask": ("m.png", _wide_picture())}
    for verb, options in (("restore", {"operator": "inpaint", "draws": 1}), ("edit", {"strength": 0.5})):
        answer = server.client.post(f"/v1/models/pictures/{verb}", files=large, data={"options": json.dumps(options)})
        assert answer.status_code == 400, answer.text
        assert "12000" in answer.json()["error"]


def _memory(server: Server) -> int:
    process = psutil.Process(server.process.pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


def _asked(server: Server, model: str, name: str, sent: bytes, verb: str, options: dict[str, object]) -> httpx.Response:
    return server.client.post(
        f"/v1/models/{model}/{verb}", files={"file": (name, sent)}, data={"options": json.dumps(options)}
    )


def _sent(server: Server, model: str, name: str, sent: bytes, verb: str, options: dict[str, object]) -> int:
    """The status of an answer that says what was wrong, if anything, and nothing of the server."""
    answer = _asked(server, model, name, sent, verb, options)
    assert answer.status_code in (200, 400, 413, 422), (answer.status_code, model, name, verb, answer.text[:300])
    if answer.status_code != 200:
        said = answer.json()["error"]
        assert "Traceback" not in said, said
        assert "/tmp" not in said, said
        assert len(said) < 600, said
    return answer.status_code


def _file(path: Path) -> File:
    return path.name, path.read_bytes()


def _picture(pixels: np.ndarray, form: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, Image.registered_extensions()[form])
    return stream.getvalue()


def _film(path: Path, frames: Sequence[np.ndarray] | np.ndarray) -> None:
    """MPEG-4 in whatever the suffix says."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(
            "mpeg4", rate=10, width=frames[0].shape[1], height=frames[0].shape[0], pix_fmt="yuv420p"
        )
        sound = file.add_stream("mp3", rate=32_000, layout="mono")
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        tone = av.AudioFrame.from_ndarray(np.full((1, len(frames) * 3200), 900, np.int16), "s16p", "mono")
        tone.sample_rate = 32_000
        file.mux([*sound.encode(tone), *sound.encode(), *stream.encode()])


def _cut(rng: random.Random, file: File) -> File:
    return file[0], file[1][: rng.randrange(len(file[1]))]


def _changed(rng: random.Random, file: File) -> File:
    sent = bytearray(file[1])
    for _ in range(rng.randrange(1, 9)):
        sent[rng.randrange(min(len(sent), rng.choice([64, 1024, len(sent)])))] = rng.randrange(256)
    return file[0], bytes(sent)


def _swollen(rng: random.Random, file: File) -> File:
    """Four bytes that may be a size become a large one."""
    sent, place = bytearray(file[1]), rng.randrange(max(1, min(len(file[1]) - 4, 2048)))
    sent[place : place + 4] = rng.choice([b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\x40"])
    return file[0], bytes(sent)


def _doubled(rng: random.Random, file: File) -> File:
    first = rng.randrange(len(file[1]))
    return file[0], file[1][:first] + file[1][rng.randrange(len(file[1])) :]


def _noise(rng: random.Random, file: File) -> File:
    return file[0], rng.randbytes(rng.randrange(2000))


def _renamed(rng: random.Random, file: File) -> File:
    suffixes = [suffix for forms in FORMS.values() for suffix in forms]
    return f"a{rng.choice([*suffixes, '.pkl', '.zip', '.zarr', '.svg', '.pt', ''])}", file[1]


def _climbing(rng: random.Random, file: File) -> File:
    suffix = file[0][file[0].rindex(".") :]
    name = rng.choice(["../../a{}", "/etc/passwd{}", "a\\..\\b{}", "%2e%2e/a{}", "a{}/../../b", "C:\\a{}", "{}"])
    return name.format(suffix), file[1][: len(file[1]) // 2]


_SPOILERS: list[Callable[[random.Random, File], File]] = [
    _cut, _changed, _changed, _swollen, _swollen, _doubled, _noise, _renamed, _climbing,
]  # fmt: skip


def _bombs(folder: Path) -> list[tuple[str, File]]:
    _film(folder / "wide.mp4", [np.zeros((4000, 4000, 3), np.uint8)] * 30)
    with av.open(str(folder / "loud.flac"), "w") as file:
        stream = file.add_stream("flac", rate=192_000, layout="7.1")
        frame = av.AudioFrame.from_ndarray(np.full((1, 8 * 192_000), 20_000, np.int16), "s16", "7.1")
        frame.sample_rate = 192_000
        for second in range(60):
            frame.pts = second * 192_000
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    with netCDF4.Dataset(folder / "vast.nc", "w") as file:
        for name, size in (("time", 4), ("y", 60_000), ("x", 60_000)):
            file.createDimension(name, size)
            file.createVariable(name, "i4", (name,))[:] = np.arange(size)
        file.createVariable("u", "f4", ("time", "y", "x"), zlib=True, chunksizes=(1, 1000, 1000))
    laughs = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {b} "{10 * f"&{a};"}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ) + "]>"  # fmt: skip
    endless = b"".join(notes((0, 480, 60)) + event(0x0FFFFFFF, 0x90, 60, 64) for _ in range(4))
    return [
        ("pictures", ("a.png", _wide_picture())),
        ("clips", _file(folder / "wide.mp4")),
        ("tones", _file(folder / "loud.flac")),
        ("fields", _file(folder / "vast.nc")),
        ("tunes", ("a.musicxml", score(sung("C", 16, lyric="&i;"), entity=laughs).encode())),
        ("tunes", ("a.mid", midi(endless, endless))),
        ("rows", ("a.jsonl", b"[" * 200_000)),
        ("rows", ("a.jsonl", b'{"size":' * 100_000)),
        ("rows", ("a.csv", b"size,colour\n" + b"1,red\n" * 2_000_000)),
        ("rows", ("a.csv", b",".join(b"c%d" % n for n in range(400_000)) + b"\n")),
        ("words", ("a.txt", b"the sun\n" * 300_000)),
        ("words", ("a.jsonl", b'{"text": ' + b"[" * 100_000 + b"\n")),
        ("genes", ("a.fasta", b">a\nACGT\n" * 300_000)),
        ("walks", ("a.csv", b"day,x\n2020-01-01,1\n2020-01-02,1\n9999-12-31,2\n")),
    ]


def _wide_picture() -> bytes:
    """12,000 x 9,000 white pixels in PNG, which packs a thousand into a byte."""
    rows = zlib.compress((b"\0" + b"\xff" * 1500) * 9000, 9)
    parts = [(b"IHDR", b"\0\0\x2e\xe0\0\0\x23\x28\1\0\0\0\0"), (b"IDAT", rows), (b"IEND", b"")]
    packed = [
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big") for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)
