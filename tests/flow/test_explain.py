"""`atdsr explain` as people call it, and the page that it makes in a real browser."""

import base64
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from atdsr import cli, imaging
from atdsr.base import memory
from atdsr.cli import explain as explain_command
from atdsr.imaging import Picture, montage
from atdsr.inference import upscaler
from atdsr.reports import explain
from atdsr.reports.explain.trace import record
from helpers import browser
from helpers.browser import Page
from helpers.upscaling import temporaries

NAMES = ["attention.png", "categories.png", "dictionary.png", "index.html", "masks.png"]


def save(name: str, height: int = 20, width: int = 37, channels: int = 3, kind: type = np.uint8):
    high = np.iinfo(kind).max
    rng = np.random.default_rng(0)
    samples = rng.integers(0, high, (height, width, channels), kind, endpoint=True)
    imaging.write(Picture(samples), name)
    return name


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(here: Path, tiny_file: Path):
    """Call `atdsr explain` with a tiny network; its lines on stdout and stderr come back."""

    def run(*args: str, code: int = 0) -> tuple[list[str], list[str]]:
        result = CliRunner().invoke(cli.app, ["explain", *args, "--model", str(tiny_file)])
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert not temporaries()
        return result.stdout.splitlines(), result.stderr.splitlines()

    return run


def page_data(path: Path) -> dict:
    found = re.search(r'id="data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.mark.slow
def test_what_it_writes_and_says(call):
    out, err = call(save("a.png"), "-o", "deep/out", "--layer", "1.1", "--at", "30,7")
    assert err == []
    assert out[0] == "layer 1.1, attention of the pixel at 30,7"
    assert sorted(line.removeprefix("deep/out/") for line in out[1:]) == NAMES
    assert sorted(path.name for path in Path("deep/out").iterdir()) == NAMES
    for name in NAMES:
        if name.endswith(".png"):
            with Image.open(Path("deep/out") / name) as image:
                assert min(image.size) > 100
    page = Path("deep/out/index.html").read_text("utf-8")
    assert "Layer 1.1." in page
    assert "here at 30, 7" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


@pytest.mark.slow
def test_the_map_in_the_page_is_the_category_of_each_pixel(call, tiny_file: Path):
    call(save("a.png"), "-o", "out", "--layer", "0.1")
    data = page_data(Path("out/index.html"))
    model = upscaler.load(tiny_file, "cpu").model
    image = imaging.to_tensor(imaging.read("a.png").samples)
    recorded = record(model, image, "0.1")
    categories = np.frombuffer(base64.b64decode(data["categories"]), "<u2").reshape(32, 48)
    np.testing.assert_array_equal(categories, recorded.categories.numpy())
    assert (data["width"], data["height"], data["gridWidth"], data["group"]) == (37, 20, 48, 256)
    assert data["counts"] == np.bincount(categories[:20, :37].ravel(), minlength=8).tolist()


@pytest.mark.slow
def test_the_same_again_gives_the_same_files(call):
    save("a.png")
    call("a.png", "-o", "first")
    call("a.png", "-o", "second")
    for name in NAMES:
        assert (Path("first") / name).read_bytes() == (Path("second") / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("height", "width", "channels", "kind"),
    [(1, 1, 1, np.uint8), (30, 3, 2, np.uint16), (16, 16, 4, np.uint8), (9, 50, 3, np.uint16)],
)
def test_any_kind_of_picture(call, height: int, width: int, channels: int, kind: type):
    out, _ = call(save("a.png", height, width, channels, kind), "-o", "out")
    x, y = (int(word) for word in out[0].split()[-1].split(","))
    assert x < width
    assert y < height


def test_a_large_picture_is_reduced_and_places_are_those_of_the_file(call):
    save("a.png", 60, 120)
    out, err = call("a.png", "-o", "out", "--max-side", "40", "--at", "119,59")
    assert err == ["a.png: reduced to 40x20 first (--max-side)"]
    assert out[0].endswith("119,59")
    data = page_data(Path("out/index.html"))
    assert (data["width"], data["height"]) == (40, 20)
    assert "120 x 60 were reduced" in Path("out/index.html").read_text("utf-8")


def test_the_size_by_default_is_the_one_of_the_library():
    parameters = inspect.signature(explain_command.explain).parameters
    assert parameters["max_side"].default == explain.MAX_SIDE


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["a.png", "--layer", "2.0"], "no layer 2.0; this network has 2 blocks .* 1.0 to 1.1"),
        (["a.png", "--layer", "first"], "there is no layer first; "),
        (["a.png", "--at", "37,0"], "37,0 is outside a.png, which is 37x20; columns are 0 to 36"),
        (["a.png", "--at", "0,20"], "0,20 is outside"),
        (["missing.png"], "missing.png does not exist"),
        (["text.png"], "text.png: .*not a picture"),
    ],
)
def test_what_cannot_be_explained(call, args: list[str], sentence: str):
    save("a.png")
    Path("text.png").write_text("hello")
    out, err = call(*args, "-o", "out", code=1)
    assert not out
    assert len(err) == 1
    assert err[0].startswith("error: ")
    assert re.search(sentence, err[0]), err
    assert not Path("out").exists()


@pytest.mark.parametrize("place", ["12", "1,2,3", "-1,2", "a,b", "1.5,2", ""])
def test_a_place_that_is_none(call, place: str):
    save("a.png")
    _, err = call("a.png", "-o", "out", f"--at={place}", code=2)
    assert "such as 120,80" in " ".join(err)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_existing_file_is_kept_and_nothing_is_touched(call, name: str):
    save("a.png")
    Path("out").mkdir()
    kept = Path("out") / name
    kept.write_text("mine")
    _, err = call("a.png", "-o", "out", code=1)
    assert err == [
        f"error: out/{name}: the file exists and is kept; allow overwriting it (--overwrite), or "
        "name another."
    ]
    assert list(Path("out").iterdir()) == [kept]
    assert kept.read_text() == "mine"
    call("a.png", "-o", "out", "--overwrite")
    assert kept.read_bytes() != b"mine"


@pytest.mark.slow
def test_all_files_or_none(call, monkeypatch: pytest.MonkeyPatch):
    written: list[bytes] = []

    def write_bytes(path: Path, content: bytes) -> None:
        written.append(content)
        if len(written) == 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    _, err = call(save("a.png"), "-o", "out", code=1)
    assert err == ["error: out: the file cannot be written: No space left on device."]
    assert list(Path("out").iterdir()) == []


def test_the_picture_itself_is_never_overwritten(call):
    save("categories.png")
    before = Path("categories.png").read_bytes()
    _, err = call("categories.png", "-o", ".", "--overwrite", code=1)
    assert err == ["error: categories.png would be overwritten; name another folder with -o."]
    assert Path("categories.png").read_bytes() == before
    assert list(Path().iterdir()) == [Path("categories.png")]


def test_a_picture_too_large_for_the_memory(call, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    _, err = call(save("a.png"), "-o", "out", code=1)
    assert len(err) == 1
    assert "give a smaller --max-side" in err[0]
    assert not Path("out").exists()


# ------------------------------------------------------------------------------------- browser

HOSTILE = "<b onmouseover=alert(1)>&amp;'\".png"
SAID = "document.getElementById('said').textContent"
# of a copy, since reading the canvas itself twice makes the browser complain
SHOWN_ALPHA = """(() => {
    const copy = new OffscreenCanvas(37, 20).getContext("2d");
    copy.drawImage(document.getElementById("overlay"), 0, 0);
    return [...copy.getImageData(0, 0, 37, 20).data].filter((_, i) => i % 4 === 3);
})()"""


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory, tiny_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    name = save(str(folder / HOSTILE))
    explain.run(upscaler.load(tiny_file, "cpu"), Path(name), folder / "out", layer="0.0")
    return folder / "out" / "index.html"


@pytest.fixture(scope="module", params=["light", "dark"])
def page(html: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    with browser.opened(html, width=900, dark=request.param == "dark") as page:
        yield page


def point_at(page: Page, x: int, y: int) -> None:
    """Move the mouse to the middle of a pixel of the picture."""
    box = page.evaluate(
        "document.querySelector('.stage').scrollIntoView(),"
        "document.getElementById('overlay').getBoundingClientRect().toJSON()"
    )
    place = {
        "x": box["left"] + (x + 0.5) * box["width"] / 37,
        "y": box["top"] + (y + 0.5) * box["height"] / 20,
    }
    page.call("Input.dispatchMouseEvent", type="mouseMoved", **place)


@pytest.mark.slow
def test_the_page_is_whole_and_quiet(page: Page, html: Path):
    sizes = page.evaluate(
        "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
    )
    assert len(sizes) == 2 + len(explain.FIGURES)
    assert min(sizes) >= 37
    assert page.evaluate("document.querySelector('h1').textContent").endswith(HOSTILE)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.requests == [html.as_uri()]
    assert page.errors == []


def test_figures_have_the_colours_of_the_screen_and_letters_of_a_legible_size(html: Path):
    corner = (
        "Promise.all([...document.querySelectorAll('figure img')].map(async i => {"
        "await i.decode(); const c = new OffscreenCanvas(1, 1).getContext('2d');"
        "c.drawImage(i, 0, 0); return c.getImageData(0, 0, 1, 1).data[0]; }))"
    )
    for is_dark, paper in ((False, montage.LIGHT.paper), (True, montage.DARK.paper)):
        with browser.opened(html, width=390, dark=is_dark) as page:
            assert page.evaluate(corner) == [paper[0]] * len(explain.FIGURES)
            widths = page.evaluate(
                "[...document.querySelectorAll('figure img')].map(i => i.clientWidth)"
            )
            assert min(widths) > 800  # scrolled sideways, the page itself is not
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.errors == []


def test_pointing_at_a_pixel_shows_its_category(page: Page, html: Path):
    data = page_data(html)
    categories = np.frombuffer(base64.b64decode(data["categories"]), "<u2").reshape(32, 48)
    for x, y in ((0, 0), (36, 19), (20, 3)):
        token = categories[y, x]
        point_at(page, x, y)
        assert page.evaluate(SAID).startswith(f"Token {token}: {data['counts'][token]} pixels")
        clear = np.array(page.evaluate(SHOWN_ALPHA)).reshape(20, 37) == 0
        np.testing.assert_array_equal(clear, categories[:20, :37] == token)
    page.evaluate("document.getElementById('run').click()")
    point_at(page, 5, 5)
    assert "are its run" in page.evaluate(SAID)
    page.evaluate("document.getElementById('run').click()")
    assert page.errors == []


def test_the_run_in_the_page_is_that_of_the_network(page: Page, tiny_file: Path, html: Path):
    image = imaging.to_tensor(imaging.read(html.parents[1] / HOSTILE).samples)
    recorded = record(upscaler.load(tiny_file, "cpu").model, image, "0.0")
    order = page.evaluate("[...order]")
    assert order == recorded.runs.flatten()[: 32 * 48].tolist()


def test_the_tokens_beside_the_picture(page: Page, html: Path):
    data = page_data(html)
    assert page.evaluate("document.querySelectorAll('#tokens button').length") == len(
        data["largest"]
    )
    page.evaluate("document.querySelector('#tokens button').click()")
    assert page.evaluate(SAID).startswith(f"Token {data['largest'][0]}: ")
    pressed = "document.querySelector('#tokens button').getAttribute('aria-pressed')"
    assert page.evaluate(pressed) == "true"
    page.evaluate("document.querySelector('#tokens button').click()")
    assert page.evaluate(pressed) == "false"
    assert page.evaluate(SAID).startswith("Move over")
    for name in ("map", "both", "photo"):
        page.evaluate(f"document.querySelector('input[value={name}]').click()")
        assert page.evaluate(f"getComputedStyle(under.{name}).visibility") == "visible"
    assert page.errors == []
