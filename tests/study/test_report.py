import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from plotly.offline import get_plotlyjs

from torchdropout.study import StudyError, charts, comparison, store, write_report
from torchdropout.study.conditions import Condition
from torchdropout.study.config import CompareConfig
from torchdropout.study.execution import DIVERGED, FAILED, OK, Material, Outcome
from torchdropout.study.protocol import plan
from torchdropout.study.training import Epoch

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&"


def outcome(run, status=OK, reason="", trace=""):
    offset = 0.01 * run.fold + 0.1 * (run.condition.method == "none")
    curve = tuple(Epoch(n, 1 / n - offset / 9, 1 - 0.1 / n, 1 / n + offset, 0.9 - offset, 0.5) for n in range(1, 5))
    return Outcome(run, status, reason, curve if status == OK else (), trace)


@pytest.fixture
def write(tmp_path, few, monkeypatch):
    """Stores a comparison whose runs became what `fate` says, and gives the page."""

    def of(fate=outcome, methods=("none", "dropout")):
        config = CompareConfig(methods=methods, folds=2, seeds=2, epochs=4, out=tmp_path / "study")
        compared = tuple(Condition(name, None if name == "none" else 0.5) for name in methods)
        material = Material(config, few, [])
        runs = plan(config, compared)
        prepared = comparison._Prepared(material, runs, store.create(config))
        started = comparison.datetime(2026, 1, 2, 3, 4, tzinfo=comparison.UTC)
        store.write(prepared.folder, comparison._description(prepared, started, 6.5), [fate(run) for run in runs])
        return write_report(prepared.folder).read_text(encoding="utf-8")

    return of


class Page(HTMLParser):
    """Tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.scripts, self._inside = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        {"script": self.scripts, "style": self.scripts}.get(self._inside, self.words).append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_nothing_is_loaded_from_elsewhere(write):
    text = write()
    page = Page(text)
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "poster", "data", "action"):
            value = attributes.get(name, "")
            assert value == "" or value.startswith(("#", "data:")), f"<{tag} {name}={value}>"
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    assert "@import" not in style[1]
    assert "url(" not in style[1]


def test_plotly_is_inside_once(write):
    text = write()
    assert text.count(get_plotlyjs()[:200]) == 1
    assert len([tag for tag, _ in Page(text).tags if tag == "script"]) == 3


def test_a_chart_per_figure(write):
    page = Page(write())
    figures = json.loads(next(script for script in page.scripts if script.startswith("[{")))
    numbers = [int(attributes["data-figure"]) for _, attributes in page.tags if "data-figure" in attributes]
    assert numbers == list(range(len(figures))) == list(range(2 + 2 + 2))
    assert all(any(trace["x"] for trace in figure["data"]) for figure in figures)


def test_charts_show_the_stored_numbers(write):
    figures = json.loads(next(script for script in Page(write()).scripts if script.startswith("[{")))
    rings, means = figures[0]["data"]
    points = sorted(zip(rings["y"], (round(x, 6) for x in rings["x"]), strict=True))
    assert points == [("dropout p=0.5", 89.0), ("dropout p=0.5", 90.0), ("none", 79.0), ("none", 80.0)]
    assert dict(zip(means["y"], means["x"], strict=True)) == pytest.approx({"none": 79.5, "dropout p=0.5": 89.5})
    curve = {trace["name"]: trace["y"] for trace in figures[2]["data"] if trace.get("name")}
    assert curve["validation"] == pytest.approx([1 / n + 0.105 for n in range(1, 5)])
    assert curve["training"] == pytest.approx([1 / n - 0.105 / 9 for n in range(1, 5)])


def test_wording_claims_nothing(write):
    text = Page(write()).text
    assert "Difference not tested." in text
    assert "Differences between methods were not tested." in text
    assert not re.search(r"signific|better|worse|outperform|winner|best|p-value", text, re.IGNORECASE)


def test_table_has_mean_and_spread(write):
    text = Page(write()).text
    assert "none 97.50 ± 0.00 79.50 ± 0.71 18.00 ± 0.71" in text
    assert "4 of 4" in text


def test_failures_are_shown_with_their_reason(write):
    def fate(run):
        if run.condition.method == "none":
            return outcome(run)
        return outcome(run, DIVERGED if run.seed else FAILED, "the reason", "the traceback")

    page = Page(write(fate))
    assert page.text.count("the reason") == 4
    assert "0 of 4" in page.text
    assert "dropout p=0.5 0 1 diverged the reason" in page.text
    assert len([1 for _, attributes in page.tags if "data-figure" in attributes]) == 2 + 1 + 1


def test_a_page_without_any_result(write):
    text = write(lambda run: outcome(run, FAILED, "no"))
    assert "No run came to its end" in Page(text).text
    assert "<script" not in text


def test_text_from_runs_is_escaped(write):
    text = write(lambda run: outcome(run, FAILED, HOSTILE, HOSTILE) if run.fold else outcome(run))
    assert HOSTILE not in text
    assert not [attributes for tag, attributes in Page(text).tags if tag == "img"]
    assert "alert(1)" in Page(text).text


def test_names_in_charts_are_escaped(write, monkeypatch, tmp_path):
    write()
    read = store.read(tmp_path / "study")
    for table in (read.results, read.curves):
        table["condition"] = table["condition"].str.replace("none", HOSTILE)
    text = comparison.report.render(read)
    assert HOSTILE not in text
    figures = json.loads(next(script for script in Page(text).scripts if script.startswith("[{")))
    assert HOSTILE in figures[0]["data"][0]["y"]


def test_it_is_made_of_what_is_stored_alone(write, tmp_path):
    text = write()
    (tmp_path / "study" / "report.html").unlink()
    shutil.move(tmp_path / "study", tmp_path / "moved")
    assert write_report(tmp_path / "moved").read_text(encoding="utf-8") == text


def test_no_comparison(tmp_path):
    with pytest.raises(StudyError, match=r"must hold config\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0005, 1.2, [0.001, 0.01, 0.1, 1.0]),
        (0.05, 1.5, [0.05, 0.1, 0.2, 0.5, 1.0]),
        (0.24, 0.66, [0.3, 0.4, 0.5, 0.6]),
        (0.91, 0.99, [0.91, 0.99]),
    ],
)
def test_a_logarithmic_axis_always_has_labels(low, high, expected):
    assert charts.log_ticks(low, high) == expected
