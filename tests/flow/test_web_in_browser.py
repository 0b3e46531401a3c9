"""The page of `atdsr web` in a real browser, driven by Playwright."""

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers.browser import chromium
from helpers.pictures import noise, png, smooth
from helpers.web import Running, running

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed (pip install '.[browser]')"
)

pytestmark = pytest.mark.slow

_DROP = """([files]) => {
  const transfer = new DataTransfer();
  for (const [name, type, text] of files) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const event = new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
    document.getElementById("drop").dispatchEvent(event);
  }
}"""

_PASTE = """([name, type, text]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type }));
  const event = new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
  document.body.dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def service(tiny_file: Path) -> Iterator[Running]:
    with running(tiny_file) as service:
        yield service


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = chromium()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark", "phone"])
def look(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "phone":
        phone = {"width": 390, "height": 844}
        return {"viewport": phone, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
    return {"viewport": {"width": 1280, "height": 900}, "color_scheme": request.param}


@pytest.fixture
def page(browser: Any, service: Running) -> Iterator[Any]:
    with opened(browser, service) as page:
        yield page


@contextmanager
def opened(browser: Any, service: Running, **look: Any) -> Iterator[Any]:
    """A page that must not complain, and must not ask anybody but the service."""
    with browser.new_context(**look) as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                message.type in ("error", "warning")
                and "Failed to load resource" not in message.text  # as a test may want it
                and complaints.append(message.text)
            ),
        )
        asked: set[str] = set()
        page.on("request", lambda request: asked.add(request.url))
        page.goto(f"{service.url}/")
        page.wait_for_selector("select[name=model] option >> nth=1", state="attached")
        yield page
        assert complaints == []
        assert {
            url for url in asked if not url.startswith((service.url, "blob:", "data:"))
        } == set()


def dropped(name: str, content: bytes, kind: str = "image/png") -> list[str]:
    return [name, kind, base64.b64encode(content).decode()]


def drop(page: Any, *files: list[str]) -> None:
    page.evaluate(_DROP, [files])


def card(page: Any, name: str) -> Any:
    return page.locator(".card", has=page.get_by_role("heading", name=name, exact=True))


def saved(page: Any, click: Any) -> tuple[str, bytes]:
    """Name and content of what a click downloads."""
    with page.expect_download() as download:
        click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def overflow(page: Any) -> int:
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def test_three_pictures_from_the_drop_to_the_download(
    browser: Any, service: Running, look: dict[str, Any], run, tmp_path: Path
):
    pictures = {
        "photo.png": png(smooth(3, h=90, w=120)),
        "large.png": png(smooth(3, h=240, w=320)),
        "&lt;b&gt; ünï.png": png(noise(4, h=20, w=30)),
    }
    with opened(browser, service, **look) as page:
        drop(page, *(dropped(name, content) for name, content in pictures.items()))
        page.wait_for_selector(".card progress:not([hidden])", state="attached")
        for name in pictures:
            card(page, name).locator("[data-do=compare]").wait_for()
        assert page.locator(".card[data-state=done]").count() == 3
        assert page.get_by_role("status").first.inner_text() == "3 of 3 pictures done"
        assert overflow(page) <= 0
        for name, content in pictures.items():
            folder = tmp_path / name
            folder.mkdir()
            (folder / name).write_bytes(content)
            run(str(folder / name))
            (made,) = (path for path in folder.iterdir() if path.name != name)
            link = card(page, name).locator("[data-do=download]")
            assert saved(page, link.click) == (made.name, made.read_bytes())

        # the divider, from the left edge almost to the right one
        card(page, "photo.png").locator("[data-do=compare]").click()
        page.wait_for_selector("#world:not([hidden])")
        handle, stage = page.locator("#handle i"), page.locator("#stage").bounding_box()
        clip = page.locator("#before").evaluate("image => image.style.clipPath")
        box = handle.bounding_box()
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(stage["x"] + 0.9 * stage["width"], box["y"], steps=8)
        page.mouse.up()
        moved = handle.bounding_box()
        assert moved["x"] - box["x"] == pytest.approx(0.4 * stage["width"], abs=8)
        assert page.locator("#before").evaluate("image => image.style.clipPath") != clip

        # zoom by keys, pan by dragging
        page.keyboard.press("1")
        assert page.locator("#zoom-value").text_content() == "100%"
        before = page.locator("#world").evaluate("world => world.style.transform")
        page.keyboard.press("+")
        page.mouse.move(stage["x"] + 30, stage["y"] + 80)
        page.mouse.down()
        page.mouse.move(stage["x"] + 60, stage["y"] + 90, steps=3)
        page.mouse.up()
        assert page.locator("#world").evaluate("world => world.style.transform") != before
        assert overflow(page) <= 0
        page.locator("#viewer-left").select_option("nearest")
        page.wait_for_selector("#world:not([hidden]) #before.nearest")
        page.keyboard.press("Escape")
        page.wait_for_selector("#viewer", state="hidden")


def test_they_are_still_there_after_a_reload_and_in_one_zip(page: Any):
    drop(page, dropped("a.png", png(noise(3))), dropped("b.png", png(noise(3, seed=1))))
    page.wait_for_selector(".card[data-state=done] >> nth=1")
    page.reload()
    page.wait_for_selector(".card[data-state=done] >> nth=1")
    assert page.locator(".card h3").all_text_contents() == ["b.png", "a.png"]
    name, content = saved(page, page.locator("#archive").click)
    assert name == "atdsr.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["a_x2.png", "b_x2.png"]
    page.get_by_role("button", name="Remove all").click()
    page.wait_for_selector("#pictures", state="hidden")
    page.reload()
    page.wait_for_timeout(500)
    assert page.locator(".card").count() == 0


def test_settings_are_used_and_remembered(page: Any):
    page.locator("select[name=format]").select_option("webp")
    page.locator("input[name=quality]").fill("70")
    page.get_by_label("Other").check()
    page.locator("input[name=outscale]").fill("1.5")
    page.reload()
    page.wait_for_selector("input[name=quality]")
    assert page.locator("input[name=outscale]").input_value() == "1.5"
    drop(page, dropped("a.png", png(smooth(3, h=20, w=40))))
    page.wait_for_selector(".card[data-state=done]")
    status = page.locator(".card .status").inner_text().replace("\u00a0", " ")
    assert "40 \u00d7 20 → 60 \u00d7 30 · WEBP" in status
    name, _ = saved(page, page.locator("[data-do=download]").click)
    assert name == "a_x1.5.webp"


def test_what_is_no_picture_says_so_and_stops_no_other(page: Any):
    drop(page, dropped("no.png", b"no picture"), dropped("a.png", png(noise(3))))
    page.wait_for_selector(".card[data-state=done]")
    page.wait_for_selector(".card[data-state=failed]")
    assert "not a picture" in card(page, "no.png").locator(".status").inner_text()
    assert card(page, "no.png").locator("[data-do=retry]").is_hidden()  # it would fail again
    card(page, "no.png").locator("[data-do=remove]").click()
    assert page.locator(".card").count() == 1


def test_a_picture_that_was_not_sent_is_sent_again(page: Any):
    page.route("**/v1/upscale?*", lambda route: route.abort())
    drop(page, dropped("a.png", png(noise(3))))
    page.wait_for_selector(".card[data-state=failed]")
    page.unroute("**/v1/upscale?*")
    card(page, "a.png").get_by_role("button", name="Try again: a.png").click()
    page.wait_for_selector(".card[data-state=done]")


def test_a_picture_is_cancelled(page: Any):
    large = dropped("large.png", png(smooth(3, h=900, w=1000)))
    drop(page, large)
    page.wait_for_selector(".card[data-state=running]")
    page.get_by_role("button", name="Cancel: large.png").click()
    page.wait_for_selector(".card[data-state=cancelled]")


def test_a_picture_is_pasted_and_explained(page: Any, service: Running):
    page.evaluate(_PASTE, dropped("image.png", png(smooth(3, h=60, w=80))))
    page.wait_for_selector(".card[data-state=done]")
    page.locator("[data-do=explain]").click()
    page.wait_for_selector("#explanation:not([hidden])")
    frame = page.frame_locator("#explanation")
    frame.locator("#tokens button").first.wait_for()
    assert frame.locator("h1").inner_text() == "How the network sees image.png"
    page.keyboard.press("Escape")


def test_the_keyboard_is_enough(page: Any):
    drop(page, dropped("a.png", png(noise(3))), dropped("b.png", png(noise(3))))
    page.wait_for_selector(".card[data-state=done] >> nth=1")
    page.locator("#files").focus()
    reached: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.getAttribute('aria-label') || document.activeElement.name"
                " || document.activeElement.textContent"
            )
        )
        if reached[-1] == "Compare: b.png":
            break
    assert {"scale", "format", "Download all (zip)"} <= set(reached)
    page.keyboard.press("Enter")
    page.wait_for_selector("#world:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "divider"
    page.keyboard.press("ArrowRight")
    assert int(page.locator("#divider").input_value()) > 500
    page.keyboard.press("n")
    assert page.locator("#viewer-name").inner_text() == "a.png"
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer", state="hidden")
    assert page.evaluate("document.activeElement.dataset.do") == "compare"


def test_what_a_screen_reader_is_told(page: Any):
    drop(page, dropped("a.png", png(noise(3))))
    page.wait_for_selector(".card[data-state=done]")
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, a, input, select')].filter((control) =>"
        " control.checkVisibility() && !control.closest('[aria-hidden=true]') &&"
        " !control.getAttribute('aria-label') &&"
        " !control.textContent.trim() && !control.labels?.length).map((control) => control.id)"
    )
    assert nameless == []
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    assert page.get_by_role("list").count() >= 1
    for name in ("Compare: a.png", "How it sees this picture: a.png", "Remove: a.png"):
        assert page.get_by_role("button", name=name).count() == 1


def test_two_hundred_pictures_at_once(page: Any):
    content = png(noise(3, h=8, w=8))
    drop(page, *(dropped(f"{number:03}.png", content) for number in range(200)))
    assert page.locator(".card").count() == 200
    page.wait_for_selector(".card[data-state=done] >> nth=199")
    assert page.get_by_role("status").first.inner_text() == "200 of 200 pictures done"
    content = page.evaluate(
        "fetch(document.getElementById('archive').href).then((answer) => answer.status)"
    )
    assert json.dumps(content) == "200"
