"""The report in a real browser: opened as a file, offline, quiet, its charts drawn, all of it reached by keyboard."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "study" / "reporting"))
import synthetic

from torchdropout.study.reporting import write

pytestmark = pytest.mark.browser

MORE = {f"method {number}": f"method-{number} p from 0.2, 0.5, 0.8" for number in range(10)}
STUDIES = {
    "folds": {"candidates": [0.2, 0.5], "failed": {("gaussian", 0, 0)}, "test_examples": 100},
    "regression": {"task": "regression"},
    "test split": {"judge": "test", "seeds": 4},
    "many": {"conditions": MORE},
}
HIDDEN = 4  # learning curves of accuracy, drawn when their box is opened
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
OVERLAPS = """() => [...document.querySelectorAll('.chart')].flatMap((chart) => {
  const boxes = [...chart.querySelectorAll('.xtick text')].map((text) => text.getBoundingClientRect());
  boxes.sort((a, b) => a.left - b.left);
  return boxes.slice(1).filter((box, i) => box.left < boxes[i].right - 1).map(() => chart.dataset.figure);
})"""
FOCUSED = """() => {
  const at = document.activeElement, box = at.getBoundingClientRect();
  const chart = at.dataset.figure, style = getComputedStyle(at);
  return [at.tagName, chart ?? at.getAttribute('aria-label') ?? at.textContent.trim(), style.outlineStyle, box.height];
}"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, Path]:
    made = {}
    for name, settings in STUDIES.items():
        made[name] = write(synthetic.stored(tmp_path_factory.mktemp("study"), **settings))
    return made


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
def opened(chromium, reports):
    """Opens a report and gives the page with what it complained of and what it asked for."""
    contexts = []

    def at(width=1200, scheme="light", study="folds"):
        context = chromium.new_context(offline=True, viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page, complaints, requests = context.new_page(), [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(reports[study].as_uri())
        page.wait_for_function(
            "[...document.querySelectorAll('.chart')].filter((c) => !c.closest('details'))"
            ".every((c) => c.querySelector('.main-svg'))"
        )
        page.wait_for_timeout(500)
        return page, complaints, [url for url in requests if not url.startswith("data:")]

    yield at
    for context in contexts:
        context.close()


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (400, "dark")])
def test_it_is_quiet_and_asks_for_nothing_but_itself(opened, reports, study, width, scheme):
    page, complaints, requests = opened(width, scheme, study)
    for summary in page.query_selector_all("summary"):
        summary.click()
    page.wait_for_timeout(500)
    assert complaints == []
    assert requests == [reports[study].as_uri()]


def test_every_chart_is_drawn_those_in_a_box_once_it_is_open(opened):
    page, _, _ = opened()
    before = page.evaluate(DRAWN)
    assert len(before) == 1 + 4 + 4 + 1 + 4 + 2
    assert before.count(0) == HIDDEN
    page.click("details.charts > summary")
    page.wait_for_timeout(800)
    drawn = page.evaluate(DRAWN)
    assert drawn[0] >= 3  # a mark per comparison
    assert all(count >= 4 for count in drawn[1:9])  # two lines and two bands
    marks = 2 + 5 * 4 + 4 - 1  # in the legend; a ring per fold and condition; a diamond per condition; slack of one
    assert all(drawn[index] >= marks - 3 for index in (9, 14, 15))
    assert all(count >= 10 for count in drawn[10:14])  # a mark per bin


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("width", [1200, 400])
def test_nothing_is_wider_than_the_window(opened, study, width):
    page, _, _ = opened(width, study=study)
    page.click("details.charts > summary")
    page.wait_for_timeout(800)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    edges = page.evaluate(
        "() => [...document.querySelectorAll('.chart svg')].map((s) => s.getBoundingClientRect().right)"
    )
    assert max(edges) <= width
    assert page.evaluate(OVERLAPS) == []


@pytest.mark.parametrize("width", [1200, 400])
def test_the_verdicts_are_all_visible_without_scrolling_sideways(opened, width):
    page, _, _ = opened(width, study="many")
    cells = page.evaluate(
        "() => [...document.querySelectorAll('#verdicts :is(td, tbody th)')].map((c) => {"
        " const b = c.getBoundingClientRect(); return [b.left, b.right, c.scrollWidth - c.clientWidth]; })"
    )
    assert all(left >= 0 and right <= width and hidden <= 0 for left, right, hidden in cells)


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


def test_everything_is_reached_by_keyboard_and_seen_to_be(opened):
    page, _, _ = opened()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUSED)
        if at[0] == "BODY":
            break
        reached.append(at)
    charts = [int(name) for tag, name, _, _ in reached if tag == "DIV" and name.isdigit()]
    assert charts == [number for number in range(16) if number not in range(5, 9)]  # but for those in a closed box
    assert {name for tag, name, _, _ in reached if tag == "SUMMARY"} >= {"The losses as a table", "traceback"}
    assert {"All figures", "Runs without a result"} <= {name for tag, name, _, _ in reached if tag == "DIV"}
    assert all(outline == "solid" and height > 0 for _, _, outline, height in reached)


def test_a_box_of_charts_opens_by_keyboard(opened):
    page, complaints, _ = opened()
    page.focus("details.charts > summary")
    page.keyboard.press("Enter")
    page.wait_for_timeout(800)
    assert page.evaluate("document.querySelectorAll('details.charts .main-svg').length") >= HIDDEN
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED)[1] == "5"
    assert complaints == []
