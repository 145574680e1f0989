"""The page as people use it, in a real browser: every tab, every kind of data, both languages, a telephone's width.

What it looks like is kept in the folder of ``SUFFUSE_SCREENSHOTS``, where that is set: docs/images has them from there.
"""

import io
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from suffuse.data.sources import ArraySource
from suffuse.learn import train
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe, SamplingSection
from suffuse.studio.words import WORDS
from suffuse.training.config import TrainingConfig
from tests.serving.servers import command

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")
_PATIENCE = 60_000
sync_api.expect.set_options(timeout=_PATIENCE)
_SAY = WORDS["en"]
_KEPT = os.environ.get("SUFFUSE_SCREENSHOTS")
"""Folder for what the page looks like: then models are trained until they are something to look at."""


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of several kinds, in a folder that may be trained on."""
    folder, rng = tmp_path_factory.mktemp("below") / "data", np.random.default_rng(0)
    shutil.copytree(data, folder)
    angle, radius = rng.uniform(0, 2 * np.pi, 2000), rng.choice([1.0, 2.0], 2000)
    rings = np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None] + rng.normal(0, 0.1, (2000, 2))
    pd.DataFrame(rings.round(4), columns=["x", "y"]).to_csv(folder / "rings.csv", index=False)
    turn = np.arange(2000) / 10
    spiral = {"t": turn, "x": np.cos(turn), "y": np.sin(turn), "z": np.sin(turn / 7)}
    pd.DataFrame(spiral).to_csv(folder / "spiral.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path, kinds: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A model of each kind, hardly trained but for digits."""
    from sklearn.datasets import load_digits

    into = tmp_path_factory.mktemp("trained")
    digits = load_digits()
    recipe = Recipe(
        data=DataSection(kind="image", size=8, channels=1, condition=("label",)),
        network=NetworkSection(width=24, multipliers=(1, 2), blocks=1),
        sampling=SamplingSection(sampling_steps=12),
        training=TrainingConfig(steps=1500 if _KEPT else 60, batch=32, held_out=0.0, sample_every=2000.0),
    )
    pictures = (digits.images * 255 / 16).astype(np.uint8)
    train(ArraySource(pictures, [str(each) for each in digits.target], "digits"), recipe, into / "digits")
    walked = Recipe(
        data=DataSection(kind="series", length=64), training=TrainingConfig(steps=1000 if _KEPT else 2, held_out=0.0)
    )
    train(folder / "spiral.csv", walked, into / "spiral")
    found = {name: into / name for name in ("digits", "spiral")}
    found |= {name: kinds[name] for name in ("words", "rows", "walks", "clips", "tones", "fields")}
    if _KEPT:
        recipe = Recipe(data=DataSection(kind="text", length=16), training=TrainingConfig(steps=400, held_out=0.0))
        train(folder / "words.txt", recipe, into / "words")
    return found | ({"words": into / "words"} if _KEPT else {})


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def address(runs: Mapping[str, Path], folder: Path, out: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = ("--data", folder, "--out", out, "--jobs", out / "jobs.sqlite")
    process = subprocess.Popen(
        command("studio", *runs.values(), *places, "--port", port), env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    end = time.monotonic() + 120
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health").is_success:
                break
        except httpx.TransportError:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
    yield f"http://127.0.0.1:{port}/studio/"
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: "sync_api.Browser", address: str) -> Iterator["sync_api.Page"]:
    yield from _opened(browser, address, 1100, 800)


def _opened(
    browser: "sync_api.Browser", address: str, width: int, height: int, locale: str = "en-GB"
) -> Iterator["sync_api.Page"]:
    """The page; in the end nothing was wrong with it, and it asked no other server for anything."""
    context = browser.new_context(viewport={"width": width, "height": height}, locale=locale)
    page = context.new_page()
    page.set_default_timeout(_PATIENCE)
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda answer: wrong.append(answer.url) if answer.status >= 400 else None)
    page.on("request", lambda asked: wrong.append(asked.url) if _outside(asked.url, address) else None)
    page.goto(address)
    page.locator("#draw:visible").wait_for()
    yield page
    context.close()
    assert wrong == [], wrong


def _outside(url: str, address: str) -> bool:
    return not url.startswith((address.removesuffix("/studio/"), "data:", "blob:"))


def _keep(page: "sync_api.Page", name: str) -> None:
    """What the page looks like, where somebody wants to see it."""
    if _KEPT:
        Path(_KEPT).mkdir(parents=True, exist_ok=True)
        seen = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        seen.convert("RGB").quantize(128).save(Path(_KEPT) / f"studio-{name}.png", optimize=True)


def _tab(page: "sync_api.Page", name: str) -> None:
    page.get_by_role("tab", name=_SAY[name], exact=True).click()


def _choose(page: "sync_api.Page", name: str) -> None:
    """Another model, whose controls are there once the page says what it is."""
    page.locator("#model input").click()
    page.get_by_role("option", name=name, exact=True).click()
    page.get_by_text(f"{name} · ").locator("visible=true").wait_for()
    page.locator("#draw:visible").wait_for()


def _drawn(page: "sync_api.Page", count: int) -> None:
    """So many pictures are to be seen, and all are loaded."""
    seen = page.locator(".grid-wrap:visible img")
    sync_api.expect(seen).to_have_count(count, timeout=_PATIENCE)
    for place in range(count):
        _loaded(page, seen.nth(place))


def _loaded(page: "sync_api.Page", image: "sync_api.Locator") -> None:
    image.wait_for()
    image.scroll_into_view_if_needed()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=image.element_handle())


def _shown(page: "sync_api.Page") -> "sync_api.Locator":
    """The painter, once it shows its picture and is at rest: a picture that arrives wipes what was painted before."""
    canvas, before = page.locator("canvas:visible").first, b""
    canvas.wait_for()
    end = time.monotonic() + _PATIENCE / 1000
    while True:
        now = canvas.screenshot()
        colours = Image.open(io.BytesIO(now)).convert("RGB").quantize(16).getcolors() or []
        if now == before and len(colours) > 4:
            return canvas
        assert time.monotonic() < end, "the painter shows no picture"
        before = now
        page.wait_for_timeout(500)


def _paint(page: "sync_api.Page", canvas: "sync_api.Locator") -> None:
    """A stroke, as slow as a hand's: the painter looks at where the mouse is from time to time. It is seen."""
    before, box = canvas.screenshot(), canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 10, y - 10)
    page.wait_for_timeout(200)
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(20):
        page.mouse.move(x + 2 * step, y + step)
        page.wait_for_timeout(40)
    page.mouse.up()
    page.mouse.move(x - 150, y)
    _shown(page)
    assert canvas.screenshot() != before


def test_a_picture_is_drawn_painted_over_restored_and_edited(page: "sync_api.Page"):
    page.locator("#create-condition-label input").click()
    page.get_by_role("option", name="3", exact=True).click()
    page.click("#draw")
    _drawn(page, 4)
    _keep(page, "create")
    page.get_by_role("button", name=_SAY["send_restore"]).click()
    page.locator("#restore-it:visible").wait_for()
    _paint(page, _shown(page))
    page.click("#restore-it:visible")
    _drawn(page, 6)  # four draws, their mean, and how they differ
    _keep(page, "restore")
    _tab(page, "change")
    page.locator("#change-it:visible").wait_for()
    _shown(page)
    page.click("#change-it:visible")
    _drawn(page, 1)


_SEEN: Mapping[str, Callable[["sync_api.Page"], "sync_api.Locator"]] = {
    "words": lambda page: page.locator("textarea:visible"),
    "rows": lambda page: page.get_by_role("gridcell", name="red").or_(page.get_by_role("gridcell", name="blue")),
    "clips": lambda page: page.locator("video:visible"),
    "tones": lambda page: page.get_by_role("button", name="Play").locator("visible=true"),
    "fields": lambda page: page.locator("#preview:visible img"),
    "walks": lambda page: page.locator("#plot:visible .xy .scatterlayer path.js-line"),
    "spiral": lambda page: page.locator("#plot:visible .gl-container canvas"),
}


def test_every_kind_has_a_component_of_its_own(page: "sync_api.Page"):
    for name, seen in _SEEN.items():
        _choose(page, name)
        page.click("#draw")
        page.locator(".file-preview:visible").first.wait_for()
        seen(page).first.wait_for()
        _keep(page, "trace" if name == "spiral" else name)


def test_rows_are_ranked_by_how_likely_they_are(page: "sync_api.Page", folder: Path):
    _choose(page, "rows")
    _tab(page, "score")
    page.get_by_text("rows · ").locator("visible=true").wait_for()
    page.locator("#score-it:visible").wait_for()
    page.locator("#score-item input[type=file]").set_input_files(folder / "rows.csv")
    page.locator("#score-item").get_by_text("rows.csv").or_(page.locator("#score-item .file-preview")).first.wait_for()
    page.click("#score-it")
    _loaded(page, page.locator("#spread:visible img"))
    _keep(page, "score")


def test_an_upload_is_classified(page: "sync_api.Page"):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)).save(stream, "PNG")
    _tab(page, "score")
    page.locator("#classify-it:visible").wait_for()
    upload = {"name": "a.png", "mimeType": "image/png", "buffer": stream.getvalue()}
    page.locator("#score-item input[type=file]").set_input_files(upload)
    page.locator("#score-item:visible img").wait_for()
    page.click("#classify-it")
    page.locator("#found").get_by_text("class", exact=True).locator("visible=true").first.wait_for()


def test_a_model_is_trained_stopped_gone_on_with_opened_and_explained(page: "sync_api.Page", out: Path):
    _tab(page, "train")
    page.locator("#data-folder input").click()
    page.get_by_role("option", name="rings.csv").click()
    page.click("#look")
    sync_api.expect(page.locator("#report textarea")).to_have_value(_containing("2000 of 2000 used"))
    page.locator("#run-name input, #run-name textarea").fill("rings")
    page.locator("#minutes input").fill("5")
    page.click("#train-it")
    state = page.locator("#state")
    sync_api.expect(state).to_contain_text("rings")
    page.locator("#curves:visible img").wait_for()
    page.click("#stop")
    sync_api.expect(state).to_contain_text("■")
    assert (out / "rings" / "checkpoints").is_dir()
    sync_api.expect(page.locator("#log textarea")).to_have_value(_containing("stopped at"))
    seen = state.inner_text()
    page.locator("#minutes input").fill("0.15")
    page.locator("#minutes input").press("Tab")
    page.click("#go-on")
    sync_api.expect(state).to_contain_text("▶")
    sync_api.expect(state).to_contain_text("■")
    assert state.inner_text() != seen
    sync_api.expect(page.locator("#sample-words:visible textarea")).to_have_value(_containing("x"))
    _keep(page, "train")
    page.click("#use")
    page.locator("#draw:visible").wait_for()
    sync_api.expect(page.locator("#model input")).to_have_value("rings")
    _tab(page, "explain")
    page.locator("#density-it:visible").wait_for()
    page.click("#density-it")
    _loaded(page, page.locator("#density:visible img"))
    _keep(page, "density")


def _containing(text: str) -> re.Pattern[str]:
    return re.compile(f".*{re.escape(text)}.*", re.DOTALL)


def test_the_walk_is_gone_through_and_errors_and_heat_are_shown(page: "sync_api.Page"):
    _tab(page, "explain")
    page.locator("#walk-it:visible").wait_for()
    page.click("#walk-it")
    _loaded(page, page.locator("#guess:visible img"))
    last = page.locator("#noisy img").get_attribute("src")
    slider = page.locator("#moment input[type=range]")
    assert slider.get_attribute("max") == "11"
    slider.focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function("old => document.querySelector('#noisy img').src !== old", arg=last)
    stream = io.BytesIO()
    Image.fromarray(np.tile(np.linspace(0, 255, 8, dtype=np.uint8), (8, 1))).save(stream, "PNG")
    upload = {"name": "a.png", "mimeType": "image/png", "buffer": stream.getvalue()}
    page.locator("#explain-item input[type=file]").set_input_files(upload)
    page.locator("#explain-item:visible img").wait_for()
    for button in ("#errors-it", "#heat-it", "#attention-it"):
        before = page.locator("#explained img").get_attribute("src") if page.locator("#explained img").count() else ""
        page.click(button)
        page.wait_for_function(
            "old => {const now = document.querySelector('#explained img'); return now && now.src !== old}", arg=before
        )
    _keep(page, "explain")


def test_a_mistake_is_told_in_a_sentence(page: "sync_api.Page"):
    _tab(page, "score")
    page.click("#score-it:visible")
    page.get_by_text("give an item first").first.wait_for()
    _tab(page, "train")
    page.click("#train-it:visible")
    page.get_by_text("give the model a name").first.wait_for()


def test_the_card_of_a_model(page: "sync_api.Page"):
    _tab(page, "models")
    page.locator("#card:visible h1").first.wait_for()


def test_chinese_on_a_telephone_and_by_keyboard(browser: "sync_api.Browser", address: str):
    for page in _opened(browser, address, 390, 844, "zh-CN"):
        draw = page.locator("#draw:visible")
        assert draw.inner_text() == WORDS["zh-CN"]["draw"]
        draw.focus()
        page.keyboard.press("Enter")
        _drawn(page, 4)
        _keep(page, "telephone")
        for name, button in (("train", "#look"), ("explain", "#walk-it"), ("restore", "#restore-it")):
            _narrow(page)
            tab = page.get_by_role("tab", name=WORDS["zh-CN"][name], exact=True)
            if not tab.is_visible():  # those that find no room are behind a button
                page.locator(".overflow-menu button").first.click()
                tab = page.locator(".overflow-dropdown").get_by_text(WORDS["zh-CN"][name], exact=True)
            tab.click()
            page.locator(f"{button}:visible").wait_for()
        _narrow(page)


def _narrow(page: "sync_api.Page") -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_no_file_is_served_and_no_other_name_is_answered(address: str, runs: Mapping[str, Path], out: Path):
    for path in ("/etc/passwd", runs["digits"] / "config.json", out / "jobs.sqlite", Path.cwd() / "pyproject.toml"):
        for asked in (f"gradio_api/file={path}", f"gradio_api/file=/tmp/../{path}", f"file={path}"):
            assert httpx.get(address + asked).status_code in (403, 404), asked
    assert httpx.get(address, headers={"Host": "elsewhere.example"}).status_code == 400
    crossed = httpx.get(f"{address}gradio_api/info", headers={"Origin": "http://elsewhere.example"})
    assert "access-control-allow-origin" not in crossed.headers


def test_every_language_has_every_word():
    assert len({frozenset(words) for words in WORDS.values()}) == 1
