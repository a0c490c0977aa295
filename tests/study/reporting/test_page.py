"""The page as a whole: self-contained, escaped, complete, and worded so that it claims no more than was tested."""

import itertools
import re
from pathlib import Path

import pytest
import synthetic
from plotly.offline import get_plotlyjs

from torchdropout.study.errors import StudyError
from torchdropout.study.reporting import render, write
from torchdropout.study.statistics import compare_conditions

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&<a href='http://elsewhere'>b</a>"
KINDS = [
    pytest.param({"task": task, "judge": judge}, id=f"{task}, {judge}")
    for task, judge in itertools.product(("classification", "regression"), ("val", "test"))
]


def check_offline(page):
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "poster", "data", "action"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("#", "data:")), f"<{tag} {name}={value}>"
    style = re.search(r"<style>(.*?)</style>", page.source, re.DOTALL)
    assert style is not None
    assert "@import" not in style[1]
    assert "url(" not in style[1]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_loaded_from_elsewhere_and_plotly_is_inside_once(page, kind):
    made = page(**kind)
    check_offline(made)
    assert made.source.count(get_plotlyjs()[:200]) == 1
    assert len([tag for tag, _ in made.tags if tag == "script"]) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_every_chart_has_a_figure_a_name_and_is_reached_by_keyboard(page, kind):
    made = page(**kind)
    reliability = 4 if kind["task"] == "classification" else 0
    assert len(made.figures) == 1 + 4 + 4 + 1 + reliability + 2
    assert sorted(int(chart["data-figure"]) for chart in made.charts) == list(range(len(made.figures)))
    assert all(chart["tabindex"] == "0" and chart["aria-label"] for chart in made.charts)
    ids = {attributes["id"] for _, attributes in made.tags if "id" in attributes}
    assert {chart["aria-describedby"] for chart in made.charts if "aria-describedby" in chart} <= ids
    assert all(any(trace["x"] for trace in figure["data"]) for figure in made.figures)


def test_ids_are_unique_and_links_lead_somewhere(page):
    made = page(test_examples=100, candidates=[0.2, 0.5], failed={("dropout", 0, 0)})
    ids = [attributes["id"] for _, attributes in made.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in made.tags if tag == "a"]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_the_verdict_comes_first_then_the_rest_in_order(page):
    made = page(test_examples=100, candidates=[0.2, 0.5], failed={("dropout", 0, 0)})
    places = [made.source.index(f'id="{name}"') for name in (
        "verdicts", "test-figures", "curves", "gap", "calibration", "likelihood", "figures-table", "strengths",
        "failures", "protocol", "command",
    )]  # fmt: skip
    assert places == sorted(places)


def test_the_verdict_table_shows_what_the_statistics_say(page):
    stored = synthetic.stored()
    expected = compare_conditions(stored.results, metric="accuracy", judge="val")
    head, *rows = page().tables["verdicts"]
    assert head[1].startswith("validation accuracy, %")
    assert [row[0] for row in rows] == [each.condition for each in expected]
    assert rows[0][2:] == ["–", "–", "–"]
    for row, each in zip(rows[1:], expected[1:], strict=True):
        numbers = [float(n) for n in re.findall(r"[-+]?\d+\.\d+", row[1].replace("−", "-"))]
        assert numbers == pytest.approx([100 * v for v in (each.mean, each.low, each.high)], abs=0.0051)
        numbers = [float(n) for n in re.findall(r"[-+]?\d+\.\d+", row[2].replace("−", "-"))]
        known = (each.difference, each.difference_low, each.difference_high)
        assert numbers == pytest.approx([100 * v for v in known], abs=0.0051)
        assert row[4].endswith(each.verdict)
    assert [row[4] for row in rows] == ["–", "▲ helps", "○ no evidence", "▼ hurts"]


def test_the_forest_chart_shows_the_same_differences(page):
    expected = {c.condition: c for c in compare_conditions(synthetic.stored().results, metric="accuracy", judge="val")}
    found = {}
    for trace in page().figures[0]["data"]:
        for label, x, reach in zip(trace["y"], trace["x"], trace["error_x"]["array"], strict=True):
            found[label.replace("<br>", " ")] = (trace["name"], x, reach)
    assert set(found) == set(expected) - {"none"}
    for label, (verdict, x, reach) in found.items():
        each = expected[label]
        assert verdict == each.verdict
        assert x == pytest.approx(100 * each.difference)
        assert x + reach == pytest.approx(100 * each.difference_high)


def test_an_error_is_in_units_and_lower_is_better(page):
    made = page(task="regression")
    assert "validation RMSE, units of price" in made.tables["verdicts"][0][1]
    assert "RMSE: lower is better." in made.text
    assert "accuracy" not in made.text
    assert "Calibration" not in made.text
    dropout = next(row for row in made.tables["verdicts"] if row[0].startswith("dropout"))
    assert dropout[2].startswith("−")
    assert dropout[4] == "▲ helps"


def test_a_test_split_is_spoken_of_as_one(page):
    made = page(judge="test", seeds=4)
    assert made.text.count("on this test split") >= 6
    for row in made.tables["verdicts"][2:]:
        assert row[4].endswith("on this test split")
    assert not re.search(r"\bfolds?\b(?! and seed)", made.text)
    assert "validation" not in made.text.replace("Training and validation loss", "").replace("A validation loss", "")
    assert {trace.get("name") for figure in made.figures[1:9] for trace in figure["data"]} == {None, "training"}


def test_figures_of_a_test_split_beside_folds_are_description_only(page):
    assert "test-figures" not in page().tables
    made = page(test_examples=500)
    assert "For description only: nothing was tested or chosen on these 500 examples." in made.text
    stored = synthetic.stored(test_examples=500)
    means = 100 * stored.results.groupby("condition", sort=False)["test_accuracy"].mean()
    found = {row[0]: float(row[1].split(" ")[0]) for row in made.tables["test-figures"][1:]}
    assert found == pytest.approx(means.to_dict(), abs=0.0051)


def test_without_the_plain_network_nothing_is_compared(page):
    made = page(methods=("dropout", "gaussian"))
    assert "There is nothing to compare" in made.text
    assert len(made.tables["verdicts"][0]) == 2
    assert len(made.figures) == 2 + 2 + 1 + 2 + 2


def test_curves_that_had_not_flattened_are_named(page):
    text = page().text
    told = "training loss still fell in dropout p=0.5 (10 of 10 runs), gaussian std=0.5 (10 of 10 runs): these"
    assert told in text
    assert "would gain from more epochs" in text
    assert "would gain from more epochs" not in page(methods=("none", "gaussian-noise")).text
    assert "would gain from more epochs" not in page(epochs=5).text  # too few to tell


def test_a_few_curves_that_had_not_flattened_are_no_news(page):
    def mostly_flat(stored):
        stored.results["flattened"] = stored.results["fold"] > 1

    assert "would gain" not in page(mostly_flat).text


def test_a_run_that_stopped_early_does_not_ask_for_more_epochs(page):
    def stopped(stored):
        stored.results["epochs"] = 12

    assert "would gain" not in page(stopped, patience=3).text


def test_chosen_strengths_are_counted(page):
    stored = synthetic.stored(candidates=[0.2, 0.5, 0.8])
    chosen = stored.results.loc[stored.results["method"] == "dropout", "p"].tolist()
    (_, row) = page(candidates=[0.2, 0.5, 0.8]).tables["strengths"]
    assert row[1] == "p"
    assert row[2] == ", ".join(f"{value}: {chosen.count(value)} of 10" for value in (0.2, 0.5, 0.8))
    assert "strengths" not in page().tables


def test_failures_are_shown_with_their_reason_and_traceback(page):
    made = page(failed={("dropout", 1, 0), ("dropout", 1, 1), ("none", 2, 1)})
    rows = [list(row[:5]) for row in made.tables["failures"][1:]]
    assert rows == [
        ["dropout p=0.5", "0", "1", "0", "failed"],
        ["dropout p=0.5", "0", "1", "1", "diverged"],
        ["none", "0", "2", "1", "diverged"],
    ]
    assert made.text.count("the reason") == 3
    assert made.text.count("the traceback") == 1
    assert "Rests on 4 folds of 5" in made.text
    assert "8 of 10" in made.text


def test_a_page_without_any_result(page):
    every = {(name, fold, seed) for name in synthetic.EFFECTS for fold in range(5) for seed in range(2)}
    made = page(failed=every)
    assert "No run came to its end" in made.text
    assert "<script" not in made.source


def test_a_study_that_was_interrupted_says_so(page):
    def cut(stored):
        stored.study["config"]["seeds"] = 3
        del stored.study["seconds"]

    assert "20 of 60 planned runs are missing" in page(cut).text
    assert "planned runs" not in page().text


def test_to_run_it_again(page):
    text = page().text
    for known in (
        "torchdropout compare digits --methods all",
        "2.13.0",
        "A processor, 2 cores",
        "0123456789abcdef" * 4,
    ):
        assert known in text


def test_one_fold_of_one_seed_draws(page):
    made = page(folds=2, seeds=1, failed={("dropout", 0, 0)})
    assert "there was 1 fold of 2" in made.text
    assert "NaN" not in made.text
    assert "nan" not in made.text


def test_charts_of_learning_show_the_stored_numbers(page):
    stored = synthetic.stored()
    curve = {trace["name"]: trace["y"] for trace in page().figures[1]["data"] if trace.get("name")}
    means = stored.curves[stored.curves["condition"] == "none"].groupby("epoch")
    assert curve["training"] == pytest.approx(means["train_loss"].mean().tolist())
    assert curve["validation"] == pytest.approx(means["val_loss"].mean().tolist())


def test_reliability_pools_all_runs(page):
    bins = synthetic.stored().calibration.query("condition == 'none'")
    expected = bins.groupby("bin").apply(lambda b: (b["accuracy"] * b["count"]).sum() / b["count"].sum())
    figure = page().figures[1 + 4 + 4 + 1]
    assert figure["data"][1]["y"] == pytest.approx(expected.tolist())


def test_hostile_names_and_messages_are_escaped(page):
    def hostile(stored):
        label = f"dropout {HOSTILE}"
        for table in (stored.results, stored.curves, stored.calibration):
            table["condition"] = table["condition"].replace("dropout p=0.5", label)
        methods = stored.study["methods"]
        stored.study["methods"] = {label if name == "dropout p=0.5" else name: methods[name] for name in methods}
        for name in ("name", "note", "description", "fingerprint"):
            stored.study["data"][name] = HOSTILE
        stored.study["config"]["target"] = stored.study["config"]["model"] = stored.study["command"] = HOSTILE
        failed = stored.results["status"] != "ok"
        stored.results.loc[failed, ["reason", "traceback"]] = HOSTILE

    for task in ("classification", "regression"):
        made = page(hostile, task=task, failed={("gaussian", 0, 0)})
        check_offline(made)
        assert not [tag for tag, _ in made.tags if tag == "img"]
        assert len([tag for tag, _ in made.tags if tag == "script"]) == 3
        assert made.text.count("alert(1)") >= 6
        # Plotly takes tags in its texts for markup, links among them: its breaks are the only ones there may be.
        titles = [
            axis.get("title", {}).get("text", "")
            for f in made.figures
            for axis in f["layout"].values()
            if isinstance(axis, dict)
        ]
        labels = [
            label for f in made.figures for trace in f["data"] for label in trace.get("y", []) if isinstance(label, str)
        ]
        assert any("alert" in label for label in labels)
        assert not [text for text in (*titles, *labels) if re.search(r"<(?!br>)", text)]


def test_it_is_made_of_what_is_stored_alone(tmp_path):
    first = write(synthetic.stored(tmp_path, task="regression"))
    assert first == tmp_path / "report.html"
    assert first.read_text(encoding="utf-8") == render(synthetic.stored(Path("elsewhere"), task="regression"))


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(StudyError, match=r"report\.html: the report must be writable"):
        write(synthetic.stored(tmp_path / "absent"))


def test_many_conditions_keep_small_charts(page):
    more = {f"m{i}": f"method-{i} p=0.5" for i in range(12)}
    made = page(conditions=more)
    assert made.source.count('class="grid many"') == 3
    heights = {figure["layout"]["height"] for figure in made.figures[1 : 1 + 2 * 16]}
    assert max(heights) < 200


@pytest.mark.parametrize("settings", [{"patience": 3}, {"repeats": 2}, {"candidates": [0.2, 0.5]}, {"judge": "test"}])
def test_the_protocol_names_what_is_special(page, settings):
    told = {
        "patience": "had not fallen for 3 epochs",
        "repeats": "This was done 2 times",
        "candidates": "lowest loss on the inner fifth",
        "judge": "Runs differ by seed only",
    }
    (name,) = settings
    assert told[name] in page(**settings).text
    assert told[name] not in page().text


def test_numbers_are_finite_or_dashes(page):
    for judge in ("val", "test"):
        made = page(judge=judge, seeds=1)
        for table in made.tables.values():
            assert not [cell for row in table for cell in row if cell.lower() in ("nan", "inf", "none ± nan")]
