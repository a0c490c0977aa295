"""The page of an assessment in a real browser: offline, quiet, drawn, within the window, reached by keyboard."""

import shutil

import numpy as np
import pandas as pd
import pytest

from torchdropout.study import assess, compare, datasets
from torchdropout.study.uncertainty import write

pytestmark = pytest.mark.browser

SMALL = {"folds": 2, "seeds": 1, "epochs": 8, "jobs": 1, "widths": [32], "methods": ["dropout"]}
CHARTS = {"images": 6, "rows": 3, "texts": 6}
PICTURES = {"images": 36, "rows": 0, "texts": 0}
DRAWN = """() => [...document.querySelectorAll('.chart')].map((chart) =>
  [...chart.querySelectorAll('.scatterlayer path')].filter((path) => path.getAttribute('d')).length)"""
COLOURS = """() => [getComputedStyle(document.body).backgroundColor,
  getComputedStyle(document.querySelector('.chart .xtick text')).fill,
  getComputedStyle(document.querySelector('.wall li')).backgroundColor]"""
OUTSIDE = """(width) => [...document.querySelectorAll('.wall li, .wall img, .chart svg, #measures :is(td, tbody th)')]
  .map((each) => each.getBoundingClientRect()).filter((box) => box.left < 0 || box.right > width + 0.5).length"""


def images(folder):
    data = datasets.load("digits")
    np.savez(folder / "old.npz", inputs=data.inputs[:300], targets=data.targets[:300])
    np.savez(folder / "new.npz", inputs=data.inputs[300:500], targets=data.targets[300:500])
    np.savez(folder / "far.npz", inputs=np.random.default_rng(0).integers(0, 17, size=(60, 1, 8, 8)))
    return {"data": str(folder / "old.npz")}, "new.npz", "far.npz"


def rows(folder):
    rng = np.random.default_rng(1)
    for name, scale in (("old", 1.0), ("new", 1.0), ("far", 5.0)):
        x = scale * rng.normal(size=(120, 12))
        names = [f"a rather long name of column {n}" for n in range(12)]
        frame = pd.DataFrame(x, columns=names).assign(price=1e4 * x.sum(1) + 1e5)
        frame.to_csv(folder / f"{name}.csv", index=False)
    return {"data": str(folder / "old.csv"), "target": "price"}, "new.csv", "far.csv"


def texts(folder):
    rng = np.random.default_rng(2)
    words = {"fruit_of_a_tree_or_bush": ["apple", "pear", "plum"], "metal": ["iron", "zinc", "gold"]}
    found = [(" ".join(rng.choice(words[name], 40)), name) for name in words for _ in range(30)]
    for name in ("old", "new"):
        pd.DataFrame(found, columns=["said", "topic"]).iloc[:: 1 if name == "old" else 2].to_csv(
            folder / f"{name}.csv", index=False
        )
    (folder / "far.txt").write_text("\n".join(["w" * 300 + " <script>alert(1)</script>"] * 12))
    return {"data": str(folder / "old.csv"), "target": "topic", "text": "said", "model": "lstm"}, "new.csv", "far.txt"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    made = {}
    for make in (images, rows, texts):
        folder = tmp_path_factory.mktemp(make.__name__)
        settings, new, far = make(folder)
        compare(out=folder / "run", **SMALL | settings)
        made[make.__name__] = write(assess(folder / "run", str(folder / new), ood=str(folder / far), samples=5))
    return made


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where a browser is asked for

    path = shutil.which("chromium")
    if path is None:
        pytest.fail("the browser tests need chromium: sudo apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, pages):
    """Opens a page and gives it with what it complained of and what it asked for."""
    contexts = []

    def at(name, width=1200, scheme="light"):
        context = chromium.new_context(offline=True, viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page, complaints, requests = context.new_page(), [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(pages[name].as_uri())
        page.wait_for_function(
            "[...document.querySelectorAll('.chart')].every((chart) => chart.querySelector('.main-svg'))"
        )
        page.wait_for_timeout(500)
        return page, complaints, [url for url in requests if not url.startswith("data:")]

    yield at
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", CHARTS)
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (400, "dark")])
def test_it_is_quiet_drawn_and_within_the_window(opened, pages, name, width, scheme):
    page, complaints, requests = opened(name, width, scheme)
    assert complaints == []
    assert requests == [pages[name].as_uri()]
    drawn = page.evaluate(DRAWN)
    assert len(drawn) == CHARTS[name]
    assert all(drawn)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE, width) == 0


@pytest.mark.parametrize("name", CHARTS)
def test_the_pictures_of_the_wall_are_there(opened, name):
    page, _, _ = opened(name)
    sizes = page.evaluate("[...document.querySelectorAll('.wall img')].map((i) => [i.naturalWidth, i.naturalHeight])")
    assert sizes == [[8, 8]] * PICTURES[name]
    assert page.evaluate("[...document.querySelectorAll('.wall img')].every((image) => image.alt)")
    assert page.evaluate("document.querySelectorAll('.wall li').length") >= 24


def test_colours_follow_the_theme(opened):
    page, complaints, _ = opened("images", scheme="dark")
    dark = page.evaluate(COLOURS)
    page.emulate_media(color_scheme="light")
    page.wait_for_timeout(500)
    light = page.evaluate(COLOURS)
    assert all(a != b for a, b in zip(dark, light, strict=True))
    assert complaints == []


def test_charts_are_reached_by_keyboard(opened):
    page, _, _ = opened("images")
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        at = page.evaluate("[document.activeElement.tagName, document.activeElement.dataset.figure ?? '']")
        if at[0] == "BODY":
            break
        reached.append(at)
    assert [number for tag, number in reached if tag == "DIV"] == [str(number) for number in range(6)]
    assert ["A", ""] in reached
