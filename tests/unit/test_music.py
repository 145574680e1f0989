"""Music: what is found in files, every mistake in them that we know of, and the verbs on real ones."""

import os
import struct
import subprocess
import sys
import tracemalloc
import wave
import zipfile
from dataclasses import replace
from pathlib import Path

import music21
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

import suffuse as sf
from suffuse.codecs.music import MusicCodec
from suffuse.data.music import MusicSource
from suffuse.data.notation import read_piece
from suffuse.data.sources import open_source
from suffuse.engraving import FORMS, waveform
from suffuse.errors import UserError
from suffuse.evaluation import evaluate_source
from suffuse.metrics.music import HISTOGRAMS, copied
from suffuse.music import HOLD, HOLE, REST, Piece, normal
from suffuse.networks import TokenTransformer
from suffuse.outputs import output_of
from suffuse.patterns import Voices
from suffuse.recipes.music import MusicKind
from suffuse.recipes.recipe import DataSection, Recipe
from suffuse.rng import Streams
from suffuse.scoring import score_source

BACH = Path(music21.__file__).parent / "corpus" / "bach"
SMALL = ["--width", "32", "--depth", "1", "--batch", "16"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def put(path: Path, data: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def suffuse(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "suffuse", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})


def refused(path: Path, **options: str) -> str:
    with pytest.raises(UserError) as error:
        open_source(path, **options).scan()
    assert "\n" not in str(error.value)
    return str(error.value)


def piece(*rows: str, **choices: object) -> Piece:
    """Voices as text: a letter is a pitch from C4 = a on, - goes on, . rests, ? is asked for."""
    signs = {"-": HOLD, ".": REST, "?": HOLE}
    cells = np.array([[signs.get(sign, ord(sign) - ord("a") + 60) for sign in row] for row in rows], np.uint8)
    return Piece("tune", cells, tuple(f"voice {n}" for n in range(1, len(rows) + 1)), **choices)  # pyright: ignore


def shown(found: Piece) -> list[str]:
    signs = {HOLD: "-", REST: ".", HOLE: "?"}
    return ["".join(signs.get(cell, chr(cell - 60 + ord("a"))) for cell in row) for row in found.cells.tolist()]


def midi(*tracks: bytes, quarter: int = 480) -> bytes:
    """A file of MIDI, byte by byte."""
    parts = [b"MTrk" + struct.pack(">I", len(each) + 4) + each + b"\x00\xff\x2f\x00" for each in tracks]
    return b"MThd" + struct.pack(">IHHH", 6, 1, len(tracks), quarter) + b"".join(parts)


def event(delta: int, *data: int) -> bytes:
    """An event so many ticks after the last."""
    digits = [delta & 127]
    while delta := delta >> 7:
        digits.insert(0, delta & 127 | 128)
    return bytes([*digits, *data])


def notes(*played: tuple[int, int, int], channel: int = 0) -> bytes:
    """(ticks of silence, ticks of sound, pitch) one after the other."""
    return b"".join(event(s, 0x90 + channel, p, 64) + event(d, 0x80 + channel, p, 0) for s, d, p in played)


def score(*parts: str, entity: str = "") -> str:
    """MusicXML of parts, each the notes of one measure; four divisions are a quarter."""
    head = "<attributes><divisions>4</divisions><time><beats>3</beats><beat-type>4</beat-type></time></attributes>"
    listed = "".join(f'<score-part id="P{n}"><part-name>part {n}</part-name></score-part>' for n in range(len(parts)))
    body = "".join(f'<part id="P{n}"><measure number="1">{head}{part}</measure></part>' for n, part in enumerate(parts))
    return f'<?xml version="1.0"?>{entity}<score-partwise><part-list>{listed}</part-list>{body}</score-partwise>'


def sung(step: str, duration: int, *, chord: bool = False, lyric: str = "", grace: bool = False) -> str:
    pitch = f"<pitch><step>{step}</step><octave>4</octave></pitch>"
    long = "" if grace else f"<duration>{duration}</duration>"
    words = f"<lyric><text>{lyric}</text></lyric>" if lyric else ""
    return f"<note>{'<grace/>' if grace else ''}{'<chord/>' if chord else ''}{pitch}{long}{words}</note>"


def silent(duration: int) -> str:
    return f"<note><rest/><duration>{duration}</duration></note>"


# The grid


def test_notes_begin_go_on_and_end():
    tune = piece("a--c..", "......")
    assert tune.notes() == [(0, 0, 3, 60), (0, 3, 4, 62)]
    assert tune.sounding().tolist() == [[60, 60, 60, 62, -1, -1], [-1] * 6]
    assert shown(tune.between(1, 4)) == ["a-c", "..."]
    assert shown(tune.without(1, 2)) == ["a?ac..", ".?...."]
    assert shown(tune.without(5, 8)) == ["a--c.???", ".....???"]
    assert shown(tune.moved_by(2)) == ["c--e..", "......"]
    with pytest.raises(UserError, match="leaves what MIDI has"):
        tune.moved_by(100)


@settings(deadline=None, max_examples=50, derandomize=True, database=None)
@given(st.lists(st.sampled_from([60, 62, HOLD, REST]), min_size=1, max_size=20), st.data())
def test_a_window_sounds_as_the_whole_does(row: list[int], data: st.DataObject):
    whole = Piece("", normal(np.array([row], np.uint8)), ("a",))
    first = data.draw(st.integers(0, len(row) - 1))
    stop = data.draw(st.integers(first, len(row)))
    part = whole.between(first, stop)
    assert part.sounding().tolist() == whole.sounding()[:, first:stop].tolist()
    hollow = whole.without(first, stop) if stop > first else whole
    outside = np.r_[0:first, stop : len(row)]
    assert hollow.sounding()[:, outside].tolist() == whole.sounding()[:, outside].tolist()
    assert (hollow.cells[:, first:stop] == HOLE).all()


@pytest.mark.parametrize("suffix", [".mid", ".musicxml", ".mxl"])
@pytest.mark.parametrize(
    "tune",
    [
        piece("a"),
        piece("a-c-----e..g----", "m-----------..m-", metre=(3, 4), key=-3, tempo=72.0),
        piece("....a---c-------", "aaaaaaaaaaaaaaaa", "............a---", metre=(6, 8), tempo=131.5),
    ],
)
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str, tune: Piece):
    back = read_piece(put(tmp_path / f"t{suffix}", FORMS[suffix](tune)))
    assert shown(back) == shown(tune)
    assert (back.metre, back.key, back.tempo, back.voices) == (
        tune.metre, tune.key, pytest.approx(tune.tempo, rel=1e-4), tune.voices
    )  # fmt: skip
    assert (back.moved, back.lost) == (0.0, 0)


# Files


def test_tuplets_are_moved_to_the_grid_and_said(tmp_path: Path):
    triplets = notes(*[(0, 160, 60 + n) for n in range(3)], (0, 60, 70), (0, 20, 71), (0, 40, 72), (0, 480, 73))
    source = open_source(put(tmp_path / "t.mid", midi(triplets)))
    found = source.raw([0])[0]
    assert found.cells.tolist() == [[60, 61, HOLD, 62, 70, 73, HOLD, HOLD, HOLD]]
    assert (found.moved, found.lost) == (pytest.approx(4 / 7), 2)
    assert "57.1% of the notes are moved to the nearest sixteenth; 2, which are shorter, are left out" in (
        source.scan().summary()
    )


def test_an_upbeat_stands_at_the_end_of_its_bar(tmp_path: Path):
    upbeat = score(sung("C", 4)).replace('number="1"', 'number="0" implicit="yes"')
    upbeat = upbeat.replace("</part></score", f'<measure number="1">{sung("D", 12)}</measure></part></score')
    found = read_piece(put(tmp_path / "u.musicxml", upbeat))
    assert shown(found) == ["........a---c-----------"]
    assert found.bar == 12


def test_chords_and_hands_become_voices(tmp_path: Path):
    chord = sung("G", 4) + sung("C", 4, chord=True) + sung("F", 4) + sung("D", 4, chord=True) + sung("E", 4)
    found = read_piece(put(tmp_path / "c.musicxml", score(chord)))
    assert sorted(shown(found)) == ["a---c---e---", "h---f---...."] or sorted(shown(found)) == [
        "a---c---....", "h---f---e---"
    ]  # fmt: skip
    assert found.voices == ("part 0 1", "part 0 2")
    two = midi(notes((0, 480, 72)), notes((0, 240, 48), (0, 240, 50)))
    assert read_piece(put(tmp_path / "h.mid", two)).cells.tolist() == [[72, *[HOLD] * 3], [48, HOLD, 50, HOLD]]


def test_holes_are_written_as_question_marks_or_as_empty_parts(tmp_path: Path):
    asked = score(sung("C", 4) + sung("D", 4, lyric="?") + sung("E", 4), silent(12), sung("C", 12, lyric="la"))
    found = read_piece(put(tmp_path / "h.musicxml", asked))
    assert shown(found) == ["a---????e---", "?" * 12, "a" + "-" * 11]
    sign = event(480, 0xFF, 5, 1, ord("?")) + event(0, 0x90, 64, 9) + event(480, 0x80, 64, 0)
    track = event(0, 0x90, 60, 9) + event(480, 0x80, 60, 0)
    assert shown(read_piece(put(tmp_path / "h.mid", midi(track + sign)))) == ["a---....????"]


def test_what_nobody_sings_is_left_out(tmp_path: Path):
    found = read_piece(put(tmp_path / "g.musicxml", score(sung("D", 0, grace=True) + sung("C", 12))))
    assert shown(found) == ["a-----------"]
    drums = midi(notes((0, 480, 60)), notes((0, 480, 36), channel=9))
    assert shown(read_piece(put(tmp_path / "d.mid", drums))) == ["a---"]


def test_a_folder_of_music_is_one_of_the_commonest_number_of_voices(tmp_path: Path):
    for name, rows in {"x/1": ["a-", "c-"], "x/2": ["c-", "e-"], "y/3": ["a-"], "y/4": ["h-h-", "c-.."]}.items():
        put(tmp_path / "d" / f"{name}.mid", FORMS[".mid"](piece(*rows, metre=(2, 4))))
    put(tmp_path / "d/x/bad.mid", b"MThd")
    put(tmp_path / "d/notes.txt", "about these")
    source = open_source(tmp_path / "d")
    report = source.scan()
    assert (source.kind, source.fields, report.kept, report.found) == ("music", ("metre", "key", "label"), 3, 5)
    assert ("3.mid", "has 1 voices, and most have 2") in report.left_out
    assert [name for name, _ in report.left_out] == ["bad.mid", "3.mid"]
    assert report.labels == {"x": 2, "y": 1}
    assert [source.column("metre")[place] for place in report.keep] == ["2/4"] * 3


def test_long_pieces_are_cut_into_windows_that_begin_with_bars():
    long = Piece("long", np.array([[60 + n % 12 for n in range(70)]], np.uint8), ("a",), (2, 4))
    short = piece("a-c-")
    source = MusicSource("two", [long, short]).cut(32)
    items = source.raw(range(len(source)))
    assert [each.cells.shape[1] for each in items] == [32] * 5 + [30, 4]
    assert source.names([0, 1, 6]) == ["long bar 1", "long bar 2", "tune bar 1"]
    assert (items[1].cells == long.cells[:, 8:40]).all()
    assert source.overlap == 3
    apart = MusicSource("two", [long, short]).cut(32, 32)
    assert [each.cells.shape[1] for each in apart.raw(range(len(apart)))] == [32, 32, 6, 4]
    slow = Piece("slow", np.full((1, 40), 60, np.uint8), ("a",), (12, 4))  # a bar is longer than a window
    bars = MusicSource("slow", [slow]).cut(16)
    assert [each.cells.shape[1] for each in bars.raw(range(len(bars)))] == [16]
    whole = MusicSource("one", [short])
    assert whole.cut(32) is whole


def zipped(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), data)
    return path


def test_mistakes_in_files(tmp_path: Path):
    assert "is not MIDI or is damaged" in refused(put(tmp_path / "a.mid", b"no midi at all, but a text of some length"))
    assert "is not MIDI or is damaged" in refused(put(tmp_path / "b.mid", FORMS[".mid"](piece("a-c-"))[:40]))
    assert "is not MIDI or is damaged" in refused(put(tmp_path / "c.mid", b""))
    assert "has no notes of a pitch" in refused(put(tmp_path / "d.mid", midi(b"")))
    assert "has no notes of a pitch" in refused(put(tmp_path / "e.mid", midi(notes((0, 480, 36), channel=9))))
    assert "in seconds instead of beats" in refused(put(tmp_path / "f.mid", midi(notes((0, 9, 60)), quarter=0xE718)))
    assert "not XML or is damaged" in refused(put(tmp_path / "a.musicxml", "<score-partwise><part>"))
    assert "no score that is written part by part" in refused(put(tmp_path / "b.musicxml", "<html><body/></html>"))
    assert "has no notes of a pitch" in refused(put(tmp_path / "c.musicxml", "<score-partwise></score-partwise>"))
    assert "has no notes of a pitch" in refused(put(tmp_path / "d.musicxml", score(silent(12))))
    assert "not XML or is damaged" in refused(put(tmp_path / "x.xml", "plain"), kind="music")
    assert "not compressed MusicXML" in refused(put(tmp_path / "a.mxl", b"PK\x03\x04 and so on"))
    assert "has no score in it" in refused(zipped(tmp_path / "b.mxl", a_txt=b"words"))
    assert "there is no music in" in refused(put(tmp_path / "t/a.txt", "words").parent, kind="music")
    entity = '<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
    assert "defines entities" in refused(put(tmp_path / "e.musicxml", score(sung("C", 4), entity=entity)))


def test_too_many_voices_and_none(tmp_path: Path):
    twelve = midi(*(notes((0, 480, 40 + n)) for n in range(12)))
    assert "has 12 voices at once, and at most 8 are read" in refused(put(tmp_path / "a.mid", twelve))


def test_bombs_and_endless_pieces_take_no_memory(tmp_path: Path):
    bomb = zipped(tmp_path / "bomb.mxl", score_xml=b"<score-partwise>" + b" " * 2**28)
    far = put(tmp_path / "far.mid", midi(notes((0x0FFFFFFF, 480, 60))))
    large = put(tmp_path / "large.mid", midi(b"\x00" * 2**23))
    tracemalloc.start()
    try:
        assert "larger than 32 MB after it is unpacked" in refused(bomb)
        assert "sixteenths long, and at most" in refused(far)
        assert "larger than 4 MB" in refused(large)
        assert tracemalloc.get_traced_memory()[1] < 3 * 2**25
    finally:
        tracemalloc.stop()


# The codec


def codec(length: int = 8, voices: int = 2) -> MusicCodec:
    return MusicCodec(
        tuple(f"voice {n}" for n in range(1, voices + 1)), length, 60, 84, [80.0 - 10 * n for n in range(voices)]
    )


def test_a_codec_is_fitted_to_pieces():
    fitted = MusicCodec.fit([piece("m-", "a-", tempo=60.0), piece("o", "c", tempo=80.0, metre=(3, 4))] * 2, 8, 2)
    assert (fitted.low, fitted.high, fitted.tempo, fitted.centres) == (58, 76, 70.0, (73.0, 61.0))
    with pytest.raises(UserError, match="tune has 1 voices, and the model is of 2"):
        fitted.encode([piece("a")])


def test_pitches_out_of_range_are_taken_by_octaves_into_it():
    low = Piece("", np.array([[0, 59, 60, 84, 85, 127]], np.uint8), ("a",))
    back = MusicCodec(("a",), 6, 60, 84, [70.0])
    assert back.decode(back.encode([low]))[0].cells.tolist() == [[60, 71, 60, 84, 73, 79]]


def test_every_step_of_a_note_tells_its_pitch():
    """And what goes on at a pitch that did not sound before begins there, as after another note or a rest."""
    whole = MusicCodec(("a", "b"), 8, 0, 127, [64.0, 64.0])
    tune = Piece("", np.array([[127, HOLD, HOLD, 127, 0, HOLD, REST, 0], [REST] * 8], np.uint8), ("a", "b"))
    tokens = whole.encode([tune])
    assert len(set((tokens[0, 0] // 2).tolist())) == 3  # two pitches, and silence
    assert whole.decode(tokens)[0].cells.tolist() == tune.cells.tolist()
    assert tokens.max() == whole.vocabulary - 1
    goes_on = torch.where(tokens >= 2, tokens | 1, tokens)
    assert whole.decode(goes_on)[0].cells[0].tolist() == [127, HOLD, HOLD, HOLD, 0, HOLD, REST, 0]


def test_missing_voices_are_asked_for_in_their_place():
    three = codec(voices=3)
    named = three.part(Piece("", piece("a-").cells, ("VOICE 2",)))
    assert shown(named) == ["??", "a-", "??"]
    low = three.part(Piece("", piece("a-").cells, ("melody",)))
    assert shown(low) == ["??", "??", "a-"]
    assert low.voices == ("voice 1", "voice 2", "melody")
    assert three.unfinished(piece("a-"))
    with pytest.raises(UserError, match="has 4 voices, and the model is of 3; leave some out"):
        three.part(piece("a", "a", "a", "a"))


def test_holes_in_bars():
    tune = piece("a-------c-------", metre=(2, 4))
    one = codec(voices=1)
    assert shown(one.hollowed(tune, 0.25, 0.5)) == ["a-??a---c-------"]
    assert shown(one.hollowed(tune, 2, 3)) == ["a-------c-------????????"]
    with pytest.raises(UserError, match="tune has 2 bars, and no hole from 3 to 4 can be in it"):
        one.hollowed(tune, 3, 4)


def test_what_is_given_stays_and_a_note_before_a_hole_is_not_made_longer():
    hollow = piece("a-??", "????")
    drawn = piece("c---", "-c-.")
    filled = codec().put_back(hollow, drawn)
    assert shown(filled) == ["a-a-", ".c-."]


def test_long_pieces_are_filled_window_by_window():
    one = codec(length=16, voices=1)
    long = piece("a---" * 4 + "?" * 24 + "c---", metre=(1, 4))
    seen: list[str] = []
    while one.unfinished(long):
        part = one.part(long)
        assert part.cells.shape[1] <= 16
        seen += shown(part)
        long = one.rejoin(long, one.put_back(part, piece("h-" * 8)))
    assert seen[:2] == ["a---????????????", "h-h-????????????"]
    assert shown(long) == ["a---" * 4 + "h-" * 12 + "c---"]
    middle = piece("a---" * 6 + "??c-" + "c---" * 6, metre=(1, 4))
    assert shown(one.part(middle)) == ["a---a---a---??c-"]
    last = piece("a---" * 6 + "????", metre=(1, 4))
    assert shown(one.part(last)) == ["a---a---a---????"]


def test_transposed_pieces_stay_in_the_range():
    recipe = Recipe(data=DataSection(transpose=5))
    fitted = MusicCodec.fit([piece("a-.g")], 4, 5)
    x0 = fitted.encode([piece("a-.g")] * 600)
    moved, _, _ = MusicKind().shown(x0, Streams.of(0, torch.arange(600)), recipe)
    assert isinstance(moved, torch.Tensor)
    assert moved.min() >= 1
    assert moved.max() < fitted.vocabulary
    steps = [each.cells[0, 0] - 60.0 for each in fitted.decode(moved)]
    assert stats.chisquare(np.unique(steps, return_counts=True)[1]).pvalue > 1e-3
    assert {each.cells[0, 3] - each.cells[0, 0] for each in fitted.decode(moved)} == {6}
    with pytest.raises(UserError, match="not to be transposed"):
        MusicKind().filled(Recipe(data=DataSection(transpose=5, condition=("key",))))


# Network and pattern


@torch.no_grad()
def test_a_patch_of_tokens_is_a_sum_of_what_each_is_in_its_place():
    torch.manual_seed(0)
    network = TokenTransformer(5, width=16, depth=1, heads=2, patch=(2, 2), places=(1, 2))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randint(0, 6, (3, 2, 4))
    out = network(x, torch.tensor(0.5))
    assert out.shape == (3, 2, 4, 5)
    other = x.clone()
    other[:, 1, 3] = (x[:, 1, 3] + 1) % 6
    assert ((network(other, torch.tensor(0.5)) - out).abs().amax((0, 3)) > 1e-4).all()
    swapped = x[:, :, [2, 3, 0, 1]]  # places are told, so that what is where matters beyond distances
    assert (network(swapped, torch.tensor(0.5))[:, :, [2, 3, 0, 1]] - out).abs().max() > 1e-3
    with pytest.raises(UserError, match=r"takes \(1, 2\) patches of tokens, not \(1, 3\)"):
        network(torch.zeros(1, 2, 6, dtype=torch.long), torch.tensor(0.5))


def test_voices_are_hidden_whole_or_in_spans():
    x0 = torch.zeros(4000, 4, 16, dtype=torch.long)
    clean = Voices(0.8).draw(x0, Streams.of(0, torch.arange(4000)))
    assert isinstance(clean, torch.Tensor)
    some = clean.any(2).any(1)
    rows = some & (clean == clean[..., :1]).all(2).all(1)
    spans = some & (clean == clean[:, :1]).all(2).all(1) & ~clean.all(2).all(1)
    assert ((clean.all(2) | ~clean.any(2)).all(1) | (clean == clean[:, :1]).all(2).all(1)).all()
    assert stats.binomtest(int(rows.sum()), 4000, 0.8 * 0.5 * 15 / 16).pvalue > 1e-3
    assert spans.sum() > 1000
    assert not Voices(0.0).draw(x0, Streams.of(0, torch.arange(4000))).any()


# Figures, sound and the verbs


def test_counts_are_those_of_the_notes():
    two = piece("a-c-e-..", "m-------")
    counted = {name: count([two])[0] for name, count in HISTOGRAMS.items()}
    assert np.flatnonzero(counted["intervals"]).tolist() == [15]
    assert counted["pitch classes"][[0, 2, 4]].tolist() == [10, 2, 2]
    assert {n - 12: c for n, c in enumerate(counted["spacing of voices"]) if c} == {-12: 2, -10: 2, -8: 2}
    assert {n: c for n, c in enumerate(counted["chords"]) if c} == {1: 1, 17: 1}
    assert copied([two, two.moved_by(1)], [two], 2).tolist() == [1, 0]


@pytest.mark.parametrize("pitch", [57, 69, 88])
def test_a_note_sounds_at_its_frequency_and_for_as_long(pitch: int):
    sound = waveform(Piece("", np.array([[pitch, *[HOLD] * 15, *[REST] * 16]], np.uint8), ("a",), tempo=120.0))
    assert len(sound) == int(32 * 60 / 120 / 4 * 22050) + 22050 // 2
    heard = np.abs(np.fft.rfft(sound[: 2 * 22050]))
    assert heard.argmax() / 2 == pytest.approx(440 * 2 ** ((pitch - 69) / 12), abs=0.5)
    assert np.abs(sound[2 * 22050 :]).max() == 0
    assert np.abs(sound).max() == pytest.approx(0.9, abs=1e-3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chorales")
    for name in ("bwv10.7", "bwv101.7", "bwv102.7", "bwv103.6", "bwv104.6", "bwv1.6"):
        put(folder / "bach" / f"{name}.mxl", (BACH / f"{name}.mxl").read_bytes())
    choices = ["--steps", 12, "--length", 32, "--transpose", 2, "--sampling-steps", 4, *SMALL]
    done = suffuse("train", folder / "bach", "--out", folder / "run", *choices)
    assert done.returncode == 0, done.stderr
    assert "5 of 6 used" in done.stdout
    assert "has 5 voices, and most have 4 (bwv1.6.mxl)" in done.stdout
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> sf.Model:
    return sf.load(run)


def test_pieces_are_drawn_and_written(model: sf.Model, tmp_path: Path):
    drawn: list[Piece] = model.generate(2)
    assert all(each.cells.shape[0] == 4 and 0 < each.cells.shape[1] <= 32 for each in drawn)
    output = output_of("music")
    with Image.open(output.save(drawn, tmp_path / "new")) as roll:
        assert roll.width > 4 * 4
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["0001.mid", "0002.mid", "roll.png"]
    output.save(drawn, tmp_path / "all.musicxml")
    back = read_piece(tmp_path / "all-2.musicxml")
    assert back.notes() == drawn[1].notes()
    output.save(drawn[:1], tmp_path / "one.wav")
    with wave.open(str(tmp_path / "one.wav")) as sound:
        assert sound.getframerate() == 22050
    with pytest.raises(UserError, match=r"must end in one of .mid, .midi, .musicxml"):
        output.save(drawn[:1], tmp_path / "one.pdf")


def test_a_soprano_is_harmonised_and_stays(run: Path, tmp_path: Path):
    whole = read_piece(BACH / "bwv104.6.mxl")
    soprano = Piece("soprano", whole.cells[:1], whole.voices[:1], whole.metre, whole.key, 90.0)
    put(tmp_path / "soprano.musicxml", FORMS[".musicxml"](soprano))
    done = suffuse("infill", run, tmp_path / "soprano.musicxml", "--out", tmp_path / "four.musicxml")
    assert done.returncode == 0, done.stderr
    four = read_piece(tmp_path / "four.musicxml")
    assert four.voices == ("Soprano", "Alto", "Tenor", "Bass")
    assert (four.cells[0] == whole.cells[0]).all()
    assert (four.tempo, four.key, four.metre) == (90.0, whole.key, whole.metre)


def test_each_voice_is_written_to_the_others_which_stay(model: sf.Model):
    whole = read_piece(BACH / "bwv104.6.mxl")
    for voice in range(4):
        cells = whole.cells.copy()
        cells[voice] = HOLE
        filled: Piece = model.infill([replace(whole, cells=cells)])[0]
        others = [place for place in range(4) if place != voice]
        assert (filled.cells[others] == whole.cells[others]).all()
        assert not (filled.cells == HOLE).any()


def test_a_phrase_is_continued_and_stays(run: Path, model: sf.Model, tmp_path: Path):
    whole = read_piece(BACH / "bwv104.6.mxl").between(0, 64)
    put(tmp_path / "four.mid", FORMS[".mid"](whole))
    done = suffuse("infill", run, tmp_path / "four.mid", "--holes", "1:2", "4:7", "--out", tmp_path / "f.mid")
    assert done.returncode == 0, done.stderr
    hollow = model.codec.hollowed(model.codec.hollowed(read_piece(tmp_path / "four.mid"), 1, 2), 4, 7)
    filled: Piece = model.infill([hollow])[0]
    assert filled.cells.shape == (4, 112)
    kept = hollow.cells != HOLE
    assert (filled.cells[kept] == hollow.cells[kept]).all()
    assert not (filled.cells == HOLE).any()
    assert (normal(filled.cells) == filled.cells).all()
    starts = {(voice, first, pitch) for voice, first, _, pitch in filled.notes()}
    assert {(voice, first, pitch) for voice, first, _, pitch in hollow.notes()} <= starts
    ends = {(voice, first): stop for voice, first, stop, _ in filled.notes()}
    assert all(ends[voice, first] == stop for voice, first, stop, _ in hollow.notes())


def test_verbs_that_measure(run: Path, model: sf.Model, tmp_path: Path):
    bach = run.parent / "bach"
    scores = score_source(model, bach / "bwv104.6.mxl", tmp_path / "s.csv", evaluations=4)
    assert len(scores) == 6
    assert "bwv104.6.mxl bar 1," in (tmp_path / "s.csv").read_text()
    figures = evaluate_source(model, bach, tmp_path / "r", bach, steps=2, evaluations=4)
    assert {"intervals", "pitch classes", "spacing of voices", "chords", "copied"} <= {each.name for each in figures}
    done = suffuse("classify", run, bach)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    with pytest.raises(UserError, match="not one Gaussian tensor"):
        model.restore(read_piece(BACH / "bwv104.6.mxl"), "denoise:0.1")
