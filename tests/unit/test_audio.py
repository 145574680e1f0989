"""Sounds: files of every form, every mistake in them that we know of, their codec and networks, and the verbs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from scipy import stats
from torch import nn

from suffuse.codecs.audio import SoundCodec
from suffuse.codecs.windows import window_of_gap
from suffuse.data.loader import Batches
from suffuse.data.sounds import SoundSource, SoundsReport, SoundTrack
from suffuse.data.sources import open_source
from suffuse.demos.enhancement import by_wiener, cubic, interpolated
from suffuse.errors import UserError
from suffuse.learn import train
from suffuse.metrics.sounds import decibels, log_spectral_distance, si_sdr
from suffuse.model import Model
from suffuse.networks import UNet
from suffuse.networks.spectral import Spectral
from suffuse.operators import Clip, Mask
from suffuse.outputs import output_of
from suffuse.patterns import Gaps
from suffuse.recipes.audio import AudioKind
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe, SamplingSection
from suffuse.rng import Streams
from suffuse.sounds import Sound, portraits, resampled, write_sound
from suffuse.training.config import TrainingConfig

RATES = (8000, 11025, 22050, 44100, 48000, 96000)


def tone(frequency: float, seconds: float, rate: int = 8000, channels: int = 1, level: float = 0.5) -> Sound:
    wave = level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)
    return Sound(np.tile(wave.astype(np.float32), (channels, 1)), rate)


def silence(seconds: float, rate: int = 8000) -> Sound:
    return Sound(np.zeros((1, round(seconds * rate)), np.float32), rate)


def joined(*parts: Sound) -> Sound:
    return replace(parts[0], samples=np.concatenate([part.samples for part in parts], 1))


def write(sound: Sound, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sound(sound, path, path.suffix)
    return path


def opened(path: Path, **options: str) -> SoundSource:
    source = open_source(path, **options)
    assert isinstance(source, SoundSource)
    return source


def report(source: SoundSource) -> SoundsReport:
    found = source.scan()
    assert isinstance(found, SoundsReport)
    return found


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error:
        opened(path, kind="audio").scan()
    assert "\n" not in str(error.value)
    return str(error.value)


# --- rates and channels


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("other", RATES)
def test_a_tone_keeps_its_frequency_and_loudness_at_other_rates(rate: int, other: int):
    """Within 0.1% of full scale, away from the ends."""
    frequency, seconds = 0.4 * min(rate, other), 0.16
    made = tone(frequency, seconds, rate).at(other)
    assert made.rate == other
    truth = tone(frequency, seconds, other)
    assert abs(made.length - truth.length) <= 1
    inside = slice(other // 50, -other // 50)
    count = min(made.length, truth.length)
    assert np.abs(made.samples[0, :count] - truth.samples[0, :count])[inside].max() < 1e-3


def test_what_a_lower_rate_cannot_hold_is_left_out():
    assert np.abs(tone(6000, 0.2, 16000).at(8000).samples[0, 100:-100]).max() < 1e-4


def test_rates_without_a_common_measure_take_little_memory():
    assert resampled(np.ones((1, 44099), np.float32), 44099, 44100).shape == (1, 44100)


def test_channels_are_mixed_evenly():
    eight = Sound(np.arange(8, dtype=np.float32)[:, None].repeat(3, 1), 8000)
    assert eight.mixed(1).samples.tolist() == [[3.5] * 3]
    assert eight.mixed(2).samples.tolist() == [[3.0] * 3, [4.0] * 3]
    assert tone(100, 0.1).mixed(2).samples.shape == (2, 800)


# --- files


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
@pytest.mark.parametrize("rate", [8000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
def test_written_sounds_are_read_again(tmp_path: Path, suffix: str, rate: int, channels: int):
    """Lossless forms to 16 bits; the others within a tenth of full scale, and a few hundred samples of padding."""
    sound = tone(440, 0.5, rate, channels)
    source = opened(write(sound, tmp_path / f"a{suffix}"))
    (read,) = source.raw([0])
    assert (read.rate, len(read.samples)) == (rate, channels)
    if suffix in (".wav", ".flac"):
        assert np.abs(read.samples - sound.samples).max() <= 2**-15
    else:
        assert 0 <= read.length - sound.length < 2500
        assert si_sdr(read.samples[0, : sound.length], sound.samples[0]) > 10


def encoded(sound: Sound, path: Path, codec: str) -> Path:
    """A file that soundfile does not write."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=sound.rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound.samples, "fltp", "mono")
        frame.sample_rate = sound.rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    return path


def test_what_soundfile_does_not_know_is_read_by_pyav(tmp_path: Path):
    """A sweep in AAC: whole, and windows of it from their beginning, within what the form loses."""
    rate, place = 16000, np.arange(32000)
    sound = Sound((0.5 * np.sin(2 * np.pi * (200 * place / rate + 400 * (place / rate) ** 2)))[None].astype("f4"), rate)
    source = opened(encoded(sound, tmp_path / "sweep.m4a", "aac"))
    (whole,) = source.raw([0])
    assert si_sdr(whole.samples[0, 1024:32000], sound.samples[0, : 32000 - 1024]) > 10  # the coder begins with silence
    windows = source.cut(2000)
    assert len(windows) > 10
    for number in (1, len(windows) // 2):
        assert windows.windows is not None
        _, first, count = windows.windows[number].tolist()
        part = windows.raw([number])[0]
        assert part.length == count
        assert (
            decibels(whole.samples[:, first : first + count], whole.samples[:, first : first + count] - part.samples)
            > 30
        )


def test_windows_of_another_rate_are_parts_of_the_whole_at_that_rate(tmp_path: Path):
    rng = np.random.default_rng(0)
    loud = Sound(rng.uniform(-0.5, 0.5, (1, 44100)).astype(np.float32), 44100)
    for number in range(2):
        write(tone(300, 1.0), tmp_path / f"{number}.wav")
    write(loud, tmp_path / "z.wav")
    source = opened(tmp_path)
    assert source.rate == 8000
    windows, whole = source.cut(1000), source.raw([2])[0].at(8000)
    mine = [place for place, name in enumerate(windows.names(range(len(windows)))) if name.startswith("z.wav")]
    for place in mine[1:4]:
        assert windows.windows is not None
        _, first, _ = windows.windows[place].tolist()
        part = windows.raw([place])[0]
        assert part.rate == 8000
        at = first * 8000 / 44100
        around = whole.samples[:, round(at) : round(at) + part.length]
        near = abs(at - round(at)) < 0.02
        assert around.shape[1] == part.length
        assert not near or decibels(around, around - part.samples) > 20


def test_what_is_said_of_sounds(tmp_path: Path):
    """Folders are classes, texts and tables fields, and loudness a number in decibels."""
    for number, folder in enumerate(("low", "high")):
        write(tone(200 + 800 * number, 0.5, level=0.5 / 10**number), tmp_path / folder / "a.wav")
        (tmp_path / folder / "a.txt").write_text(f"hum {number}\n")
    source = opened(tmp_path)
    assert (source.column("label"), source.column("text")) == (["high", "low"], ["hum 1", "hum 0"])
    levels = source.column("loudness")
    assert levels[1] == pytest.approx(20 * np.log10(0.5 / 2**0.5), abs=0.1)
    assert levels[1] - levels[0] == pytest.approx(20, abs=0.1)
    assert report(source).left_out == []
    (tmp_path / "metadata.csv").write_text("file_name,text\nlow/a.wav,from the table\n")
    assert opened(tmp_path).column("text") == [None, "from the table"]


def test_silence_around_sounds_is_trimmed_and_makes_no_windows():
    """Of nine seconds two sound, and all windows have something of these."""
    steady = replace(tone(300, 1), samples=np.full((1, 8000), 0.5, np.float32))
    parts = (silence(1), steady, silence(5), steady, silence(1))
    source = SoundSource("one", [SoundTrack(joined(*parts), "one")])
    found = report(source)
    assert (found.seconds, found.silence) == (7.0, 2.0)
    windows = source.cut(2000)
    assert all(np.abs(sound.samples).max() > 0.4 for sound in windows.raw(range(len(windows))))
    assert windows.overlap > 0


# --- mistakes


def test_a_corrupt_mp3_is_left_out_and_a_damaged_one_read_as_far_as_it_goes(tmp_path: Path):
    good = write(tone(440, 2.0, 44100), tmp_path / "good.mp3").read_bytes()
    (tmp_path / "bad.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    middle = len(good) // 2
    (tmp_path / "hurt.mp3").write_bytes(good[:middle] + bytes(400) + good[middle + 400 :])
    (tmp_path / "short.mp3").write_bytes(good[:middle])
    (tmp_path / "empty.mp3").write_bytes(b"")
    found = report(opened(tmp_path))
    assert {name for name, _ in found.left_out} == {"bad.mp3", "empty.mp3"}
    assert all("\n" not in reason for _, reason in found.left_out)
    assert found.kept == 3
    assert "none of the 1 sounds" in refused(tmp_path / "bad.mp3")


def test_eight_channels_are_learned_as_two(tmp_path: Path):
    eight = Sound(np.random.default_rng(0).uniform(-0.5, 0.5, (8, 16000)).astype(np.float32), 8000)
    soundfile.write(tmp_path / "a.wav", eight.samples.T, 8000)
    source = opened(tmp_path)
    found = report(source)
    assert found.channels == {"8": 1}
    recipe = AudioKind().completed(Recipe(data=DataSection(length=1024)), source, found)
    cut = source.cut(1024)
    codec = AudioKind().codec(recipe, cut, cut.scan())
    assert codec.shape == (2, 1024)
    assert np.abs(codec.decode(codec.encode([cut.raw([0])[0]]))[0].samples[0]).max() > 0.1


def test_clips_shorter_than_the_window_are_followed_by_silence(tmp_path: Path):
    for number in range(3):
        write(tone(300, 0.1), tmp_path / f"{number}.wav")
    source = opened(tmp_path)
    found = report(source)
    recipe = AudioKind().completed(Recipe(), source, found)
    cut = source.cut(recipe.data.length)
    assert len(cut) == 3
    codec = AudioKind().codec(recipe, cut, cut.scan())
    state = codec.encode(cut.raw([0]))
    assert float(state[..., 800:].abs().max()) == 0
    assert codec.in_place_of(cut.raw([0])[0], codec.decode(state)[0]).length == 800


def test_a_sound_of_one_sample_is_one(tmp_path: Path):
    soundfile.write(tmp_path / "one.wav", np.array([0.5]), 8000)
    source = opened(tmp_path)
    assert report(source).kept == 1
    codec = SoundCodec(8000, 1, 64)
    assert float(codec.encode(source.raw([0]))[0, 0, 0]) == pytest.approx(0.5, abs=1e-4)
    assert portraits(source.raw([0])).width > 100


def test_an_empty_folder_and_silence_are_refused_in_a_sentence(tmp_path: Path):
    (tmp_path / "none").mkdir()
    assert "there is no sound in" in refused(tmp_path / "none")
    write(silence(1.0), tmp_path / "still" / "a.wav")
    assert "silence from end to end" in refused(tmp_path / "still")
    soundfile.write(tmp_path / "still" / "b.wav", np.zeros(0), 8000)
    assert "none of the 2 sounds" in refused(tmp_path / "still")
    (tmp_path / "text.wav").write_text("no sound")
    assert "not a sound" in refused(tmp_path / "text.wav")
    data = bytearray(write(tone(440, 0.5, 8000), tmp_path / "fast" / "a.wav").read_bytes())
    data[24:28] = (2**31 - 1).to_bytes(4, "little")
    (tmp_path / "fast" / "a.wav").write_bytes(data)
    assert "2147483647 samples a second, which no sound has" in refused(tmp_path / "fast")


LONG = """
import resource, sys
from suffuse.codecs.audio import SoundCodec
from suffuse.data.loader import Batches
from suffuse.data.sources import open_source
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
source = open_source(sys.argv[1])
before = peak()
report = source.scan()
windows = source.cut(8000)
keep = windows.scan().keep
batches = Batches(windows, SoundCodec(8000, 1, 8000), keep=keep)
for start in range(0, len(keep), 16):
    batches.batch(list(range(start, min(start + 16, len(keep)))))
print(report.silence, len(keep), peak() - before)
"""


def test_ten_hours_are_streamed(tmp_path: Path):
    """576 MB of file, of which two minutes sound, in less than 120 MB of memory."""
    path, rate = tmp_path / "long.wav", 8000
    soundfile.write(path, np.zeros(1), rate, "PCM_16")
    head = bytearray(path.read_bytes()[:44])
    size = 10 * 3600 * rate * 2
    head[4:8], head[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    burst = (tone(300, 60).samples[0] * 32767).astype("<i2").tobytes()
    with path.open("wb") as file:
        file.write(head)
        for hour in (2, 7):
            file.seek(44 + hour * 3600 * rate * 2)
            file.write(burst)
        file.truncate(44 + size)
    done = subprocess.run([sys.executable, "-c", LONG, str(path)], capture_output=True, text=True, check=True)
    silent, windows, grown = done.stdout.split()
    assert float(silent) == pytest.approx(5 * 3600 - 60, abs=1)
    assert 100 < int(windows) < 200
    assert int(grown) < 120


# --- codec, network and pattern


def test_training_sees_windows_at_all_places():
    """Of a ramp of 200 samples, windows of 100 begin at 0 to 100, evenly (Kolmogorov-Smirnov)."""
    codec = SoundCodec(8000, 1, 100)
    ramp = Sound(np.arange(200, dtype=np.float32)[None] / 200, 8000)
    count = 400
    packed = codec.pack([ramp] * count)
    starts = codec.unpack(packed, Streams.of(0, range(count)))[:, 0, 0].numpy() * 200
    assert (starts.min(), starts.max()) == (pytest.approx(0, abs=2), pytest.approx(100, abs=2))
    assert stats.kstest(starts / 101, "uniform").pvalue > 0.01


@pytest.mark.parametrize("hop", [None, 16])
def test_holes_hide_what_they_touch_and_what_is_known_comes_back_to_the_letter(hop: int | None):
    codec = SoundCodec(8000, 1, 500, hop)
    sound = tone(300, 500 / 8000)
    hollow = codec.hollowed(sound, 0.02, 0.03)
    state, known = codec.partial([hollow])
    truth = codec.encode([sound])
    assert torch.equal(state[known], truth[known])
    hidden = ~known[0, 0] if hop is None else ~known[0, 0, 0]
    expected = range(160, 240) if hop is None else range(10, 16)
    assert hidden.nonzero().flatten().tolist() == list(expected)
    (filled,) = codec.fill([hollow], torch.where(known, state, 7.0))
    kept = np.r_[0:160, 240:500]
    assert np.array_equal(filled.samples[:, kept], sound.samples[:, kept])
    assert np.abs(filled.samples[:, 165:235]).max() > 0.6


def test_holes_of_long_sounds_are_filled_window_by_window_and_beyond_the_end():
    codec = SoundCodec(8000, 1, 400)
    item, windows = codec.hollowed(tone(300, 0.1), 0.05, 0.2), 0
    assert item.length == 1600
    while codec.unfinished(item):
        part = codec.part(item)
        assert part.length == 400
        assert 0 < (~part.known).sum() < 400
        item = codec.rejoin(item, replace(part, samples=np.full_like(part.samples, 0.25), known=None))
        windows += 1
    assert windows > 3
    assert np.all(item.samples[:, 400:] == 0.25)


@pytest.mark.parametrize(("start", "stop"), [(2.0, 3.0), (0.1, 0.10001)])
def test_holes_that_are_none_are_refused(start: float, stop: float):
    with pytest.raises(UserError, match="is not in the sound"):
        SoundCodec(8000, 1, 400).hollowed(tone(300, 0.2), start, stop)


def test_a_window_of_a_gap_at_the_beginning_begins_there():
    assert window_of_gap(np.array([False] * 3 + [True] * 9), 6) == slice(0, 6)


def test_the_network_of_samples_hears_what_is_known_and_no_longer_ones_otherwise():
    torch.manual_seed(0)
    network = Spectral(UNet(40, dimensions=1, width=8, multipliers=(1,), attention=(), out_channels=24), 8).eval()
    for part in network.modules():  # what begins as zero would hide it
        if isinstance(part, nn.Conv1d | nn.Linear):
            nn.init.normal_(part.weight, std=0.1)
    x = torch.randn(2, 1, 203)
    level = torch.full_like(x, -1.0)
    plain = network(x, torch.tensor([-1.0, -1.0]))
    assert torch.allclose(network(x, level), plain, atol=1e-5)
    level[..., 50:60] = 20.0
    assert not torch.allclose(network(x, level), plain, atol=1e-3)
    tail = x.clone()
    tail[..., 150:] = 0
    assert torch.allclose(network(tail, torch.tensor([-1.0, -1.0]))[..., :60], plain[..., :60], atol=1e-4)


def test_gaps_are_of_the_share_and_of_all_lengths():
    """n = 2000: the share within 5 standard errors, and the logarithms of lengths even (Kolmogorov-Smirnov)."""
    count, length = 2000, 6400
    known = Gaps(0.4).draw(torch.zeros(count, 1, 1, length), Streams.of(1, range(count)))[:, 0, 0]
    some = known.any(1) | (~known).all(1)
    lengths = (~known).sum(1)
    chosen = lengths < length
    assert some.all()
    assert abs(float(chosen.float().mean()) - 0.4) < 5 * (0.24 / count) ** 0.5
    place = np.log2(lengths[chosen].numpy() / length) / -6
    assert stats.kstest(place, "uniform").pvalue > 0.01
    edges = (~known[chosen][:, -1]).float().mean(), (~known[chosen][:, 0]).float().mean()
    assert all(0.2 < float(edge) < 0.4 for edge in edges)


# --- figures and baselines


def test_distances_are_what_they_say():
    rng = np.random.default_rng(0)
    truth, noise = (rng.standard_normal(8000).astype(np.float32) for _ in range(2))
    assert si_sdr(truth + noise / 10, truth) == pytest.approx(20, abs=0.2)
    assert log_spectral_distance(truth, truth, 8000) == 0
    assert log_spectral_distance(truth * 2, truth, 8000) == pytest.approx(6.02, abs=0.01)


def test_baselines_do_what_they_are_there_for():
    """Noise is less, a sum of tones goes on through a gap, and a slow wave is the same at twice the rate."""
    chord = sum(tone(f, 0.5, level=0.2).samples[0] for f in (300, 520, 1130))
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(chord))
    assert si_sdr(by_wiener(chord + noise, 0.05, 256, 0.94, 0.0), chord) > si_sdr(chord + noise, chord) + 5
    filled = interpolated(np.where((np.arange(4000) >= 2000) & (np.arange(4000) < 2400), 0, chord), 2000, 2400, 32)
    assert decibels(chord[2000:2400], filled[2000:2400] - chord[2000:2400]) > 20
    slow = tone(100, 0.5).samples[0]
    assert decibels(slow[100:-100], (cubic(slow[::2], 2, len(slow)) - slow)[100:-100]) > 40


# --- the verbs


@pytest.fixture(scope="module")
def hums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones of two classes, of other lengths and a little noise."""
    folder, rng = tmp_path_factory.mktemp("hums"), np.random.default_rng(0)
    for number in range(12):
        high = number % 2
        sound = tone(250 + 1000 * high + 5 * number, 0.3 + 0.02 * number)
        noise = 0.01 * rng.standard_normal(sound.samples.shape)
        write(replace(sound, samples=(sound.samples + noise).astype(np.float32)), folder / "lh"[high] / f"{number}.wav")
    return folder


def small(**data: object) -> Recipe:
    return Recipe(
        data=DataSection.model_validate({"length": 1000, "condition": ("label",), **data}),
        network=NetworkSection(width=16, multipliers=(1, 1), blocks=1),
        sampling=SamplingSection(sampling_steps=6),
        training=TrainingConfig(images=96, batch=16, learning_rate=3e-3, evaluate_every=1e6, sample_every=1e6),
    )


@pytest.fixture(scope="module", params=["samples", "spectrum"])
def model(request: pytest.FixtureRequest, hums: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    return train(hums, small(state=request.param, compression=1.0), tmp_path_factory.mktemp("run") / "hums")


def test_a_model_of_sounds_generates_fills_scores_and_classifies(model: Model, hums: Path, tmp_path: Path):
    sounds = model.generate(2, condition="h", seed=3)
    assert [(each.rate, each.samples.shape) for each in sounds] == [(8000, (1, 1000))] * 2
    output = output_of("audio")
    shown = output.save(sounds, tmp_path / "new.wav")
    with Image.open(shown) as picture:
        assert picture.width > 200
    with soundfile.SoundFile(tmp_path / "new" / "0001.wav") as file:
        assert json.loads(file.comment)["seed"] == 3
    (long,) = open_source(hums / "l" / "0.wav").raw([0])
    hollow = model.codec.hollowed(long, 0.1, 0.15)
    (filled,) = model.infill([hollow], draws=2)
    kept = np.r_[0:800, 1200 : long.length]
    assert np.array_equal(filled.samples[:, kept], long.samples[:, kept])
    assert np.abs(filled.samples[:, 800:1200]).max() > 0
    (ahead,) = model.infill([model.codec.hollowed(long, 0.3, 0.4)])
    assert ahead.length == 3200
    (score,) = model.score([long], evaluations=4)
    assert np.isfinite(score.nats)
    (odds,) = model.classify(model.codec.pieces(long)[:1], evaluations=20).probabilities
    assert sum(odds) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("operator", ["denoise:-26dB", "gap:500:900", "band-limit:0.5", "clip:0.3"])
def test_restored_sounds_are_as_long_and_what_was_measured_shows(
    model: Model, hums: Path, operator: str, tmp_path: Path
):
    (sound,) = open_source(hums / "l" / "4.wav").raw([0])
    restored = model.restore(sound, operator, draws=2, steps=3)
    assert {draw.length for draw in restored.draws} == {sound.length}
    if operator.startswith("gap"):
        kept = np.r_[0:500, 900 : sound.length]
        assert decibels(sound.samples[:, kept], (restored.draws[0].samples - sound.samples)[:, kept]) > 30
    shown = output_of("audio").save_restored(restored, operator, tmp_path)
    assert shown.name == "side-by-side.png"
    assert {path.name for path in tmp_path.glob("*.wav")} == {"measured.wav", "mean.wav", "draw-1.wav", "draw-2.wav"}


def test_states_that_are_not_linear_in_samples_are_restored_too(hums: Path, tmp_path: Path):
    model = train(hums, small(state="spectrum", compression=0.5), tmp_path / "run")
    (sound,) = open_source(hums / "h" / "1.wav").raw([0])
    restored = model.restore(sound, Mask(torch.arange(sound.length) % 400 > 100), draws=1, steps=3)
    assert np.isfinite(restored.draws[0].samples).all()
    clipped = replace(sound, samples=sound.samples.clip(-0.2, 0.2))
    assert np.isfinite(model.restore(clipped, Clip(0.2), draws=1, steps=2).draws[0].samples).all()


def test_the_command_line_trains_fills_and_restores(hums: Path, tmp_path: Path):
    def run(*arguments: object) -> str:
        command = [sys.executable, "-m", "suffuse", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    sizes = ("--width", 16, "--multipliers", 1, "--blocks", 1, "--images", 32, "--batch", 8, "--sampling-steps", 2)
    sizes += ("--evaluate-every", 1000, "--sample-every", 1000)
    run("train", hums, "--out", tmp_path / "run", "--length", 1000, *sizes)
    wave = hums / "l" / "0.wav"
    filled = run("infill", tmp_path / "run", wave, "--holes", "0.1:0.15", "0.2:0.22").strip().splitlines()[-1]
    assert soundfile.info(filled).frames == soundfile.info(str(wave)).frames
    restored = run("restore", tmp_path / "run", wave, "--operator", "denoise:0.05", "--draws", 1, "--steps", 2)
    assert Path(restored.strip().splitlines()[-1]).name == "side-by-side.png"


def test_batches_of_a_folder_have_one_shape(hums: Path):
    source = opened(hums).cut(1000)
    batches = Batches(source, SoundCodec(8000, 1, 1000), keep=range(len(source)))
    state, _ = batches.batch(list(range(len(source))), Streams.of(0, range(len(source))))
    assert isinstance(state, torch.Tensor)
    assert state.shape == (len(source), 1, 1000)
