"""The report in a real browser: opened as a file, offline, quiet, its charts drawn."""

import shutil
from pathlib import Path

import pytest

from torchdropout.study import compare

pytestmark = pytest.mark.browser

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DRAWN = """() => [...document.querySelectorAll('.chart')].map((chart) => {
  const paths = [...chart.querySelectorAll('.scatterlayer path')];
  return paths.filter((path) => {
    const box = path.getBBox();
    return path.getAttribute('d') && (box.width > 0 || box.height > 0);
  }).length;
})"""
COLOURS = """() => {
  const probe = document.querySelector('.chart .xtick text');
  return [getComputedStyle(document.body).backgroundColor, getComputedStyle(probe).fill];
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "out"
    compare(methods=["none", "dropout", "gaussian"], folds=2, seeds=1, epochs=3, jobs=1, out=folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where a browser is asked for

    path = shutil.which("chromium")
    if path is None:
        pytest.fail("the browser tests need chromium: sudo apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, report):
    """Opens the report and gives the page with what it complained of and what it asked for."""
    contexts = []

    def at(width=1200, scheme="light"):
        context = chromium.new_context(offline=True, viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page, complaints, requests = context.new_page(), [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report.as_uri())
        page.wait_for_function("document.querySelectorAll('.chart .main-svg').length >= 8")
        page.wait_for_timeout(500)
        return page, complaints, [url for url in requests if not url.startswith("data:")]

    yield at
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
def test_it_is_quiet_and_asks_for_nothing_but_itself(opened, report, width, scheme):
    _, complaints, requests = opened(width, scheme)
    assert complaints == []
    assert requests == [report.as_uri()]


def test_every_chart_is_drawn(opened):
    page, _, _ = opened()
    drawn = page.evaluate(DRAWN)
    assert len(drawn) == 2 + 3 + 3
    marks = 2 * 3 + 3  # a ring per fold and condition, a diamond per condition
    assert drawn[:2] == [marks, marks]
    assert all(count >= 4 for count in drawn[2:])  # two lines and two bands


@pytest.mark.parametrize("width", [1200, 400])
def test_nothing_is_wider_than_the_window(opened, width):
    page, _, _ = opened(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    edges = page.evaluate(
        "() => [...document.querySelectorAll('.chart svg')].map((s) => s.getBoundingClientRect().right)"
    )
    assert max(edges) <= width


def test_the_table_is_all_visible_on_a_wide_window(opened):
    page, _, _ = opened(1200)
    widths = page.evaluate(
        "() => { const s = document.querySelector('.scroll'); return [s.scrollWidth, s.clientWidth]; }"
    )
    assert widths[0] <= widths[1]


def test_charts_follow_the_theme(opened):
    page, complaints, _ = opened(1200, "dark")
    dark = page.evaluate(COLOURS)
    page.emulate_media(color_scheme="light")
    page.wait_for_timeout(500)
    light = page.evaluate(COLOURS)
    assert dark[0] != light[0]
    assert dark[1] != light[1]
    assert (dark[1], light[1]) == ("rgb(228, 232, 238)", "rgb(28, 36, 48)")
    assert complaints == []
