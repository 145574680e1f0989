"""Videos: files of real codecs, every mistake in them that we know of, networks of frames, and the verbs."""

import json
import struct
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from suffuse import Denoiser, Gaussian, schedules
from suffuse.clips import Clip, strips, write_gif, write_mp4
from suffuse.codecs.video import VideoCodec
from suffuse.data.clips import ClipFilm, FileFilm, VideoSource, VideosReport
from suffuse.data.sources import open_source
from suffuse.errors import UserError
from suffuse.evaluation import evaluate_source
from suffuse.learn import train
from suffuse.model import Model
from suffuse.networks import Transformer, UNet
from suffuse.networks.frames import Framed
from suffuse.outputs import output_of
from suffuse.parameterizations import EDM
from suffuse.patterns import Frames
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe, SamplingSection
from suffuse.rng import Streams
from suffuse.training.config import TrainingConfig
from suffuse.training.memory import needed

RATES = (Fraction(25), Fraction(30000, 1001), Fraction(10), Fraction(60))


def numbered(count: int, height: int = 24, width: int = 32, channels: int = 3, rate: Fraction = Fraction(25)) -> Clip:
    """Frames that say by their levels which they are: 8 n + 4 in the first channel, and other colours in the others."""
    frames = np.empty((count, height, width, channels), np.uint8)
    levels = [8 * (np.arange(count) % 31) + 4, 200 - 5 * (np.arange(count) % 31), np.full(count, 90)]
    for channel in range(channels):
        frames[..., channel] = levels[channel][:, None, None]
    return Clip(frames, rate)


def numbers(frames: np.ndarray) -> list[int]:
    """Which frames these are."""
    return np.rint((frames[..., 0].mean((1, 2)) - 4) / 8).astype(int).tolist()


def opened(path: Path, **options: str) -> VideoSource:
    source = open_source(path, **options)
    assert isinstance(source, VideoSource)
    return source


def report(source: VideoSource) -> VideosReport:
    found = source.scan()
    assert isinstance(found, VideosReport)
    return found


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error:
        opened(path, kind="video").scan()
    assert "\n" not in str(error.value)
    return str(error.value)


# Files


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 20), st.integers(2, 37), st.integers(2, 37), st.sampled_from((1, 3)), st.sampled_from(RATES))
def test_frames_colours_and_times_come_back_from_an_mp4_file(count: int, height: int, width: int, channels: int,
                                                             rate: Fraction):  # fmt: skip
    clip = numbered(count, height, width, channels, rate)
    with TemporaryDirectory() as folder:
        write_mp4(clip, Path(folder) / "a.mp4")
        back = opened(Path(folder) / "a.mp4").raw([0])[0]
    assert back.size == (count, height + height % 2, width + width % 2)
    assert back.rate == rate
    assert numbers(back.frames) == numbers(clip.frames)
    assert np.abs(back.frames[:, :height, :width].astype(int) - clip.frames.astype(int)).max() <= 6


def test_colours_are_read_by_the_matrix_that_the_file_names(tmp_path: Path):
    frames = np.full((3, 32, 32, 3), (200, 30, 60), np.uint8)
    for name, code in (("ITU709", 1), ("ITU601", 6)):
        with av.open(str(tmp_path / f"{name}.mp4"), "w") as file:
            stream = file.add_stream("libx264", rate=25, options={"crf": "10"})
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
            stream.codec_context.colorspace = code
            for frame in frames:
                shown = av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p", dst_colorspace=name)
                file.mux(stream.encode(shown))
            file.mux(stream.encode())
        back = opened(tmp_path / f"{name}.mp4").raw([0])[0].frames
        assert np.abs(back.astype(int) - frames.astype(int)).max() <= 6, name


def uneven(path: Path, ticks: list[int]) -> Path:
    """A file whose frame n is shown from ticks[n] milliseconds on."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=1000, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for tick, frame in zip(ticks, numbered(len(ticks)).frames, strict=True):
            shown = av.VideoFrame.from_ndarray(frame, "rgb24")
            shown.pts, shown.time_base = tick, Fraction(1, 1000)
            file.mux(stream.encode(shown))
        file.mux(stream.encode())
    return path


def test_a_variable_rate_becomes_an_even_one_right_to_one_frame(tmp_path: Path):
    ticks = [0, 40, 80, 240, 280, 320, 360, 600, 640, 680]
    source = opened(uneven(tmp_path / "a.mp4", ticks))
    found = report(source)
    assert (found.variable, found.rates) == (1, {"25": 1})
    assert "uneven times" in found.summary()
    assert numbers(source.raw([0])[0].frames) == [0, 1, 2, 2, 2, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6, 7, 8, 9]
    for window, name in zip(source.cut(4).raw(range(15)), source.cut(4).names(range(15)), strict=True):
        first = round(window.start * 25)
        assert name.endswith(f"from frame {first}")
        assert numbers(window.frames) == numbers(source.raw([0])[0].frames[first : first + 4])


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".webm", ".mov"])
def test_windows_of_other_formats_are_found_without_what_is_before_them(tmp_path: Path, suffix: str):
    codec = "libvpx-vp9" if suffix == ".webm" else "mpeg4" if suffix == ".avi" else "libx264"
    with av.open(str(tmp_path / f"a{suffix}"), "w") as file:
        stream = file.add_stream(codec, rate=25, options={"crf": "10", "g": "6"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 32, 24, "yuv420p", 2_000_000
        for frame in numbered(20).frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        file.mux(stream.encode())
    source = opened(tmp_path / f"a{suffix}")
    assert report(source).longest == 20
    assert report(source).rates == {"25": 1}
    assert [numbers(window.frames)[0] for window in source.cut(3).raw(range(18))] == list(range(18))


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30), Fraction(60)])
def test_a_gif_takes_as_long_as_the_clip_and_keeps_greys_to_the_letter(tmp_path: Path, rate: Fraction):
    write_gif(numbered(24, channels=1, rate=rate), tmp_path / "a.gif")
    film = FileFilm(tmp_path / "a.gif")
    assert film.times.duration == pytest.approx(24 / rate, abs=0.011)
    back = opened(tmp_path / "a.gif", kind="video").raw([0])[0].frames
    kept = numbered(24).frames[:: 1 if rate <= 50 else 2, ..., :1]
    assert len(back) == len(kept)
    assert (back[..., :1] == kept).all()


def test_a_film_that_was_taken_sideways_stands_upright(tmp_path: Path):
    frames = np.zeros((3, 16, 32, 3), np.uint8)
    frames[:, :, :16] = 255
    write_mp4(Clip(frames, Fraction(25)), tmp_path / "a.mp4")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # its matrix: version 0 of the box
    assert struct.unpack(">9i", data[at : at + 36])[0] == 65536
    data[at : at + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)  # a quarter clockwise
    (tmp_path / "b.mp4").write_bytes(data)
    upright = opened(tmp_path / "b.mp4").raw([0])[0].frames[0, ..., 0]
    assert upright.shape == (32, 16)
    assert (upright[:14] > 240).all()
    assert (upright[-14:] < 15).all()


def sounding(path: Path, codec: str = "aac", count: int = 50) -> Path:
    """Frames at 25 a second, with a tone."""
    clip = numbered(count)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        tone = file.add_stream(codec, rate=16000, layout="mono")
        for frame in clip.frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        file.mux(stream.encode())
        wave = np.sin(np.arange(16000 * count // 25) * 0.3).astype("f4")
        form = "fltp" if codec in ("aac", "mp3") else "s16"
        wave = wave if form == "fltp" else (wave * 20000).astype("i2")
        for start in range(0, len(wave) - 1023, 1024):
            sound = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format=form, layout="mono")
            sound.sample_rate, sound.pts = 16000, start
            file.mux(tone.encode(sound))
        file.mux(tone.encode())
    return path


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(file.streams.audio[0]) if packet.size]


def test_sound_is_kept_aside_and_put_back_as_it_was(tmp_path: Path):
    clip = opened(sounding(tmp_path / "a.mp4")).raw([0])[0]
    assert clip.sound == tmp_path / "a.mp4"
    write_mp4(clip, tmp_path / "b.mp4")
    assert packets(tmp_path / "b.mp4") == packets(tmp_path / "a.mp4")[-len(packets(tmp_path / "b.mp4")) :]
    assert len(packets(tmp_path / "b.mp4")) >= 30
    window = opened(tmp_path / "a.mp4").cut(25, 25).raw([1])[0]
    assert window.start == 1.0
    write_mp4(window, tmp_path / "c.mp4")
    with av.open(str(tmp_path / "c.mp4")) as file:
        audio = file.streams.audio[0]
        assert float(audio.duration * audio.time_base) == pytest.approx(1.0, abs=0.13)


def test_mp3_in_a_film_stays_as_it_is_and_what_is_damaged_of_sound_ends_it(tmp_path: Path):
    clip = opened(sounding(tmp_path / "a.mkv", "mp3")).raw([0])[0]
    write_mp4(clip, tmp_path / "b.mp4")
    assert {*packets(tmp_path / "b.mp4")} <= {*packets(tmp_path / "a.mkv")}
    assert len(packets(tmp_path / "b.mp4")) >= len(packets(tmp_path / "a.mkv")) - 2
    raw = opened(sounding(tmp_path / "c.mkv", "flac")).raw([0])[0]
    hurt = bytearray((tmp_path / "c.mkv").read_bytes())
    hurt[len(hurt) // 2 :] = bytes(len(hurt) - len(hurt) // 2)
    write_mp4(replace(raw, sound=bytes(hurt)), tmp_path / "d.mp4")
    assert 0 < len(packets(tmp_path / "d.mp4")) < len(packets(tmp_path / "c.mkv"))


def test_sound_that_mp4_does_not_take_becomes_aac(tmp_path: Path):
    clip = opened(sounding(tmp_path / "a.mkv", "pcm_s16le")).raw([0])[0]
    write_mp4(clip, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as file:
        audio = file.streams.audio[0]
        assert audio.codec_context.name == "aac"
        assert float(audio.duration * audio.time_base) == pytest.approx(2.0, abs=0.2)


def test_folders_of_clips_are_videos_whose_folders_are_classes(tmp_path: Path):
    for label in ("up", "down"):
        (tmp_path / label).mkdir()
        for number, count in enumerate((6, 9)):
            write_mp4(numbered(count), tmp_path / label / f"{number}.mp4")
    (tmp_path / "up" / "note.txt").write_text("a note")
    source = opened(tmp_path)
    assert source.column("label") == ["down", "down", "up", "up"]
    assert (report(source).kept, report(source).longest, len(report(source).left_out)) == (4, 9, 1)
    assert source.cut(8).column("label") == ["down", "down", "up", "up"]
    assert not report(source).grey
    moving = tmp_path / "gifs"
    moving.mkdir()
    write_gif(numbered(4, channels=1), moving / "a.gif")
    assert opened(moving).kind == "video"
    Image.new("L", (4, 4)).save(moving / "b.png")
    assert open_source(moving).kind == "image"


# Mistakes


def test_bad_files(tmp_path: Path):
    clip = numbered(40, 64, 64)
    write_mp4(clip, tmp_path / "whole.mp4")
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(4000))
    assert "damaged from its beginning" in refused(tmp_path / "noise.mp4")
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert "not a video" in refused(tmp_path / "empty.mp4")
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 8])
    assert "1 videos" in refused(tmp_path / "half.mp4") or "can be read" in refused(tmp_path / "half.mp4")
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as file:
        tone = file.add_stream("aac", rate=16000, layout="mono")
        for _ in range(4):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "f4"), format="fltp", layout="mono")
            sound.sample_rate = 16000
            file.mux(tone.encode(sound))
        file.mux(tone.encode())
    assert "holds no frames, but sound alone" in refused(tmp_path / "sound.m4a")
    (tmp_path / "none").mkdir()
    assert "there is no video in" in refused(tmp_path / "none")
    with pytest.raises(UserError, match="there is no"):
        open_source(tmp_path / "nothing.mp4", kind="video")
    found = report(opened(tmp_path))
    assert found.kept == 1
    assert {name for name, _ in found.left_out} >= {"noise.mp4", "empty.mp4"}


def test_names_in_other_encodings_and_frames_too_large(tmp_path: Path):
    with av.open(str(tmp_path / "a.mkv"), "w") as file:
        file.metadata["artist"] = "XXXX"
        stream = file.add_stream("mpeg4", rate=10, width=16, height=16, pix_fmt="yuv420p")
        file.mux([*stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))), *stream.encode()])
    data = (tmp_path / "a.mkv").read_bytes()
    assert b"XXXX" in data
    (tmp_path / "b.mkv").write_bytes(data.replace(b"XXXX", b"B\xf6ll"))  # Latin-1, as of old programs
    assert opened(tmp_path / "b.mkv").raw([0])[0].frames.shape == (1, 16, 16, 3)
    with pytest.raises(UserError, match="frames of 20000x2 are too large"):
        write_mp4(Clip(np.zeros((1, 2, 20_000, 3), np.uint8), Fraction(10)), tmp_path / "c.mp4")


def test_a_file_that_is_damaged_inside_is_read_around_it(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3)).astype(np.uint8)
    write_mp4(Clip(noise, Fraction(25)), tmp_path / "a.mp4")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    (tmp_path / "b.mp4").write_bytes(data)
    source = opened(tmp_path / "b.mp4")
    assert source.scan().kept == 1
    assert source.raw([0])[0].size == (30, 48, 64)


def test_clips_that_are_shorter_than_a_window(tmp_path: Path):
    write_mp4(numbered(5), tmp_path / "short.mp4")
    write_mp4(numbered(12), tmp_path / "long.mp4")
    source = opened(tmp_path)
    assert {name.split()[0] for name in source.cut(8).names(range(5))} == {"long.mp4"}
    with pytest.raises(UserError, match=r"the longest video .* has 12 frames, and a window has 16"):
        source.cut(16)
    codec = VideoCodec(8, 16, 3, Fraction(25))
    for action in (lambda clip: codec.encode([clip]), codec.part, codec.pieces):
        with pytest.raises(UserError, match="5 frames"):
            action(numbered(5))


def test_one_frame_is_a_picture(tmp_path: Path):
    write_mp4(numbered(1), tmp_path / "one.mp4")
    with pytest.raises(UserError, match="have one frame each; train on them with --kind image"):
        train(tmp_path / "one.mp4", Recipe(), tmp_path / "run")
    Image.new("RGB", (8, 6), (250, 0, 0)).save(tmp_path / "still.png")
    still = opened(tmp_path / "still.png", kind="video").raw([0])[0]
    assert still.size == (1, 6, 8)
    codec = VideoCodec(4, 8, 3, Fraction(12))
    animated = codec.hollowed(still, 1, 9)
    assert (animated.size, animated.rate, animated.known.tolist()) == ((9, 8, 8), 12, [True] + [False] * 8)


def test_what_is_too_large_for_memory_is_refused_whole_and_read_in_windows(tmp_path: Path):
    large = Clip(np.broadcast_to(np.zeros((1, 1080, 1920, 3), np.uint8), (2000, 1080, 1920, 3)), Fraction(25))
    source = VideoSource("large", [ClipFilm(large, "large.mp4")])
    with pytest.raises(UserError, match=r"its 2000 frames of 1920x1080 are too many .* parts of up to 172"):
        source.raw([0])
    assert source.cut(2).raw([1500])[0].size == (2, 1080, 1920)
    write_mp4(numbered(900, 240, 320), tmp_path / "long.mp4")
    windows = opened(tmp_path / "long.mp4").cut(8, 8)
    windows.raw([0])
    tracemalloc.start()
    assert numbers(windows.raw([110])[0].frames) == numbers(numbered(900, 2, 2).frames[880:888])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 8 * 240 * 320 * 3  # a hundredth of the film


# Codec


def test_holes_are_filled_window_by_window_and_the_rest_stays():
    codec = VideoCodec(6, (24, 32), 1, Fraction(25))
    clip = numbered(9, channels=1)
    raw = codec.hollowed(codec.hollowed(clip, 3, 5), 8, 20)
    assert raw.size == (20, 24, 32)
    assert np.flatnonzero(~raw.known).tolist() == [3, 4, *range(8, 20)]
    rounds = 0
    while codec.unfinished(raw):
        part = codec.part(raw)
        state, known = codec.partial([part])
        assert known.any()
        assert not known.all()
        filled = codec.fill([part], torch.where(known, state, torch.ones_like(state)))[0]
        raw, rounds = codec.rejoin(raw, filled), rounds + 1
    assert rounds < 6
    assert (raw.frames[[0, 1, 2, 5, 6, 7]] == clip.frames[[0, 1, 2, 5, 6, 7]]).all()
    assert (raw.frames[[3, 4, *range(8, 20)]] == 255).all()
    with pytest.raises(UserError, match="between whole frames, of which there are 9"):
        codec.hollowed(clip, 1.5, 3)
    with pytest.raises(UserError, match="of which there are 9"):
        codec.hollowed(clip, 12, 14)


def test_a_gap_is_told_what_is_on_both_sides_of_it():
    codec = VideoCodec(8, (24, 32), 1, Fraction(25))
    assert numbers(codec.part(codec.hollowed(numbered(20, channels=1), 9, 11)).frames)[:3] == [6, 7, 8]
    assert (
        codec.part(codec.hollowed(numbered(20, channels=1), 9, 11)).known.tolist()
        == [True] * 3 + [False] * 2 + [True] * 3
    )


def test_what_was_restored_keeps_the_time_it_takes():
    codec = VideoCodec(4, 8, 1, Fraction(10))
    raw, twice = numbered(4, rate=Fraction(25)), numbered(8, rate=Fraction(10))
    assert codec.in_place_of(raw, twice).seconds == raw.seconds
    assert codec.together([numbered(2), numbered(2)]).size == (2, 24, 32)
    assert strips([raw]).height > 50


# Networks


def build(kind: str) -> nn.Module:
    """A small network of frames, none of whose branches is silent."""
    torch.manual_seed(0)
    options = {"dimensions": 3, "frames": True, "out_channels": 2}
    if kind == "unet":
        network: nn.Module = UNet(10, width=8, multipliers=(1, 2), attention=(0, 1), blocks=1, **options)
    else:
        network = Transformer(10, width=24, depth=2, heads=2, patch=2, **options)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    return Framed(network)


@pytest.mark.parametrize("kind", ["unet", "transformer"])
def test_networks_of_frames(kind: str):
    network = build(kind)
    x, level = torch.randn(3, 2, 5, 7, 6), torch.full((3, 2, 5, 1, 1), -1.0).expand(3, 2, 5, 7, 6).clone()
    level[0, :, 0] = level[0, :, 4] = 20.0
    out = network(x, level)
    assert out.shape == x.shape
    for row in range(3):
        torch.testing.assert_close(network(x[row : row + 1], level[row : row + 1]), out[row : row + 1], atol=1e-5,
                                   rtol=1e-5)  # fmt: skip
    later = x.clone()
    later[1, :, 4] += 1  # noise of the last frame is felt in the first
    assert (network(later, level) - out)[1, :, 0].abs().max() > 1e-4
    assert network(x[:, :, :1], level[:, :, :1]).shape == (3, 2, 1, 7, 6)
    out.square().mean().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("kind", ["unet", "transformer"])
def test_work_grows_linearly_with_the_length_of_a_clip(kind: str):
    network = build(kind)

    def flops(length: int) -> int:
        with (
            FlopCounterMode(display=False) as counter,
            torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        ):
            network(torch.zeros(1, 2, length, 16, 16), torch.tensor(0.0))
        return counter.get_total_flops()

    assert flops(16) < 2.2 * flops(8)
    assert flops(32) < 2.2 * flops(16)


@pytest.mark.parametrize("kind", ["unet", "transformer"])
def test_memory_grows_linearly_with_the_length_of_a_clip(kind: str):
    denoiser = Denoiser(build(kind), Gaussian(schedules.EDM()), EDM(0.5))
    sizes = [needed(denoiser, torch.zeros(1, 2, n, 16, 16), None, TrainingConfig())[1] for n in (8, 16, 32, 64)]
    for short, long in pairwise(sizes):
        assert 1.9 < long / short < 2.1


def test_the_network_is_shown_the_nearest_frames_that_are_known():
    seen: list[torch.Tensor] = []

    class Probe(nn.Module):
        def forward(self, x: torch.Tensor, level: torch.Tensor, condition: object) -> torch.Tensor:
            seen.append(x)
            return x[:, :1]

    x = torch.arange(6.0).view(1, 1, 6, 1, 1)
    level = torch.tensor([20.0, -1, -1, 20, -1, -1]).view(1, 1, 6, 1, 1)
    Framed(Probe())(x, level)
    rows = seen[0][0, :, :, 0, 0].tolist()
    assert rows[1] == [1, 0, 0, 1, 0, 0]
    assert rows[2] == [0, 0, 0, 3, 3, 3]
    assert rows[3] == [0, 3, 3, 3, 0, 0]
    assert rows[4] == pytest.approx([1, 1 / 2, 1 / 3, 1, 1 / 2, 1 / 3])
    assert rows[5] == pytest.approx([1, 1 / 3, 1 / 2, 1, 0, 0])


@pytest.mark.parametrize("length", [2, 8])
def test_frames_are_known_as_a_whole_or_around_a_box(length: int):
    x0 = torch.zeros(600, 2, length, 6, 5)
    clean = Frames(0.8).draw(x0, Streams.of(0, range(600)))
    assert torch.equal(Frames(0.8).draw(x0[5:7], Streams.of(0, range(5, 7))), clean[5:7])
    shown = clean.flatten(1).any(1)
    assert 0.74 < shown.float().mean() < 0.84
    assert (clean[:, 0] == clean[:, 1]).all()
    whole = (clean.flatten(3) == clean[..., :1, :1].flatten(3)).all(3).flatten(1).all(1) & shown
    assert 0.82 < whole.sum() / shown.sum() < 0.97  # the rest are boxes, which all frames have
    boxes = clean[shown & ~whole]
    assert (boxes == boxes[:, :, :1]).all()
    frames = clean[whole][:, 0, :, 0, 0]
    ends = (frames[:, 0] & ~frames[:, -1]).float().mean()
    assert 0.35 < ends < (1.0 if length == 2 else 0.75)


# Verbs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    """A model of few steps, beside its clips."""
    folder = tmp_path_factory.mktemp("video")
    (folder / "clips").mkdir()
    rng = np.random.default_rng(0)
    for name in range(3):
        frames = np.zeros((14, 16, 16, 1), np.uint8)
        for number in range(14):
            frames[number, 4:10, (name + number) % 11 : (name + number) % 11 + 5] = rng.integers(200, 255)
        write_mp4(Clip(frames, Fraction(12)), folder / "clips" / f"{name}.mp4")
    recipe = Recipe(
        data=DataSection(length=4),
        network=NetworkSection(width=8, multipliers=(1, 2), blocks=1, patch=2),
        sampling=SamplingSection(sampling_steps=3),
        training=TrainingConfig(steps=4, batch=4, held_out=0.1, evaluate_every=4, sample_every=4),
    )
    return folder, train(folder / "clips", recipe, folder / "run")


def test_a_trained_model_draws_goes_on_and_scores(trained: tuple[Path, Model]):
    folder, model = trained
    assert isinstance(model.codec, VideoCodec)
    assert (model.codec.shape, model.codec.rate) == ((1, 4, 16, 16), 12)
    output = output_of("video")
    path = output.save(model.generate(2), folder / "new.gif")
    assert path == folder / "new" / "strips.png"
    assert FileFilm(folder / "new" / "0001.gif").times.duration == pytest.approx(4 / 12, abs=0.02)
    assert output.save(model.generate(1), folder / "one.mp4") == folder / "one.mp4"
    with av.open(str(folder / "one.mp4")) as file:
        assert '"model": "run"' in file.metadata["comment"]
        assert (file.streams.video[0].codec_context.name, file.streams.video[0].average_rate) == ("h264", 12)
    with pytest.raises(UserError, match=r"must end in one of \.mp4, \.gif"):
        output.save(model.generate(1), folder / "one.xyz")
    clip = opened(folder / "clips" / "0.mp4").raw([0])[0]
    scores = model.score([clip], evaluations=4)
    assert len(scores) == 1
    assert np.isfinite(scores[0].nats)
    assert model.generate(1, size=(6, 16, 20))[0].size == (6, 16, 20)


def test_what_is_drawn_and_filled_is_measured(trained: tuple[Path, Model]):
    folder, model = trained
    found = {
        figure.name: figure
        for figure in evaluate_source(model, folder / "clips", folder / "report", folder / "clips", evaluations=4)
    }
    whole = [clip.frames.astype(float) for clip in opened(folder / "clips").raw(range(3))]
    frames = [clip[first : first + 4] for clip in whole for first in (0, 4, 8)]
    guesses = [(each[1], (each[0] + each[2]) / 2) for each in frames], [(each[3], each[2]) for each in frames]
    by_hand = [
        np.mean([10 * np.log10(255**2 / np.square(truth - guess).mean()) for truth, guess in pairs])
        for pairs in guesses
    ]
    names = ["nats", "bits per dimension", "Frechet distance", "spectrum error", "nearer to training"]
    assert list(found) == [*names, "PSNR in between", "PSNR next"]
    blend = found["PSNR in between"]
    assert blend.reference is not None
    assert blend.reference.value == pytest.approx(by_hand[0], abs=1e-3)
    last = found["PSNR next"].reference
    assert last is not None
    assert last.value == pytest.approx(by_hand[1], abs=1e-3)
    assert blend.found.value > blend.reference.value  # four steps are none, but the spectrum is of these clips
    near = found["Frechet distance"]
    assert near.reference is not None
    assert near.found.value > 10 * near.reference.value
    about = json.loads((folder / "report" / "report.json").read_text())
    assert about["real"] == 9  # windows of four frames, of three clips of fourteen
    assert (folder / "report" / "samples.png").is_file()


def test_still_pictures_are_animated_and_small_clips_made_large_on_the_command_line(trained: tuple[Path, Model]):
    folder, _ = trained
    Image.new("L", (20, 20), 90).save(folder / "still.png")
    sounding(folder / "sounding.mp4", count=4)

    def suffuse(*arguments: object) -> str:
        command = [sys.executable, "-m", "suffuse", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    path = suffuse("infill", folder / "run", folder / "still.png", "--holes", "1:9", "--steps", 2)
    assert path == str(folder / "run" / "filled.mp4")
    assert opened(Path(path)).raw([0])[0].size == (9, 16, 16)
    shown = suffuse("restore", folder / "run", folder / "sounding.mp4", "--operator", "super-resolve:1,2,2", "--draws",
                    2, "--steps", 2)  # fmt: skip
    assert shown.endswith("side-by-side.png")
    restored = opened(folder / "run" / "restored" / "mean.mp4").raw([0])[0]
    assert (restored.size, restored.rate) == ((4, 48, 64), 25)
    assert restored.sound is not None


def test_a_part_of_every_frame_is_drawn_anew(trained: tuple[Path, Model]):
    folder, model = trained
    clip = opened(folder / "clips" / "1.mp4").cut(4).raw([0])[0]
    mask = Image.new("L", (16, 16))
    mask.paste(255, (0, 0, 8, 16))
    edited = model.edit([clip], 1.0, mask)[0]
    grey = model.codec.decode(model.codec.encode([clip]))[0]
    assert (edited.frames[:, :, 8:] == grey.frames[:, :, 8:]).all()
    assert (edited.frames[:, :, :8] != grey.frames[:, :, :8]).any()
