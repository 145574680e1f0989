"""The page as people use it, in a real browser: every tab, both languages, and the width of a telephone."""

import io
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from suffuse.studio.words import WORDS
from tests.serving.servers import command

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")
_PATIENCE = 60_000


@pytest.fixture(scope="module")
def address(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    jobs = tmp_path_factory.mktemp("jobs") / "jobs.sqlite"
    process = subprocess.Popen(
        command("studio", run_folder, "--port", port, "--jobs", jobs), env=os.environ | {"OMP_NUM_THREADS": "1"}
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
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(_PATIENCE)
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("response", lambda answer: wrong.append(answer.url) if answer.status >= 400 else None)
    page.on("request", lambda asked: wrong.append(asked.url) if _outside(asked.url, address) else None)
    page.goto(address)
    page.locator("#draw:visible").wait_for()
    yield page
    page.close()
    assert [each for each in wrong if "favicon" not in each and "404" not in each] == []


def _outside(url: str, address: str) -> bool:
    return not url.startswith((address.removesuffix("/studio/"), "data:", "blob:"))


def _drawn(page: "sync_api.Page", count: int) -> None:
    """So many pictures are to be seen, and all are loaded."""
    seen = page.locator(".grid-wrap:visible img")
    sync_api.expect(seen).to_have_count(count, timeout=_PATIENCE)
    for place in range(count):
        seen.nth(place).scroll_into_view_if_needed()
        page.wait_for_function(
            "image => image.complete && image.naturalWidth > 0", arg=seen.nth(place).element_handle()
        )


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
    page.get_by_label("label:").click()
    page.get_by_role("option", name="cat").click()
    page.click("#draw")
    _drawn(page, 4)
    page.get_by_role("button", name=WORDS["en"]["send_restore"]).click()
    page.locator("#restore-it:visible").wait_for()
    _paint(page, _shown(page))
    page.click("#restore-it:visible")
    _drawn(page, 6)  # four draws, their mean, and how they differ
    page.get_by_role("tab", name=WORDS["en"]["change"]).click()
    page.locator("#change-it:visible").wait_for()
    _shown(page)
    page.click("#change-it:visible")
    _drawn(page, 1)


def test_an_upload_is_scored_and_classified(page: "sync_api.Page", tmp_path: Path):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(stream, "PNG")
    page.get_by_role("tab", name=WORDS["en"]["score"]).click()
    page.locator("#score-it:visible").wait_for()
    upload = {"name": "a.png", "mimeType": "image/png", "buffer": stream.getvalue()}
    page.locator("#item input[type=file]").last.set_input_files(upload)
    page.locator("#item:visible img").wait_for()
    page.click("#score-it")
    page.get_by_text("nats", exact=True).first.wait_for()
    page.click("#classify-it")
    page.get_by_text("dog", exact=True).first.wait_for()


def test_a_mistake_is_told_in_a_sentence(page: "sync_api.Page"):
    page.get_by_role("tab", name=WORDS["en"]["score"]).click()
    page.click("#score-it:visible")
    page.get_by_text("give an item first").first.wait_for()


def test_the_card_of_a_model(page: "sync_api.Page"):
    page.get_by_role("tab", name=WORDS["en"]["models"]).click()
    page.locator("#card:visible h1").first.wait_for()


def test_chinese_on_a_telephone_and_by_keyboard(browser: "sync_api.Browser", address: str):
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="zh-CN")
    page = context.new_page()
    page.set_default_timeout(_PATIENCE)
    page.goto(address)
    draw = page.locator("#draw:visible")
    draw.wait_for()
    assert draw.inner_text() == WORDS["zh-CN"]["draw"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    draw.focus()
    page.keyboard.press("Enter")
    _drawn(page, 4)
    context.close()


def test_every_language_has_every_word():
    assert len({frozenset(words) for words in WORDS.values()}) == 1
