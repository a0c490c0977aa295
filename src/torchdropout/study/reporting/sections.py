"""The parts of a report as rows of text: what the page puts into its tables and notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from torchdropout.study.reporting import numbers
from torchdropout.study.reporting.charts import pooled
from torchdropout.study.reporting.summary import Figure, Summary, by_unit
from torchdropout.study.reporting.words import Words
from torchdropout.study.statistics import PLAIN, Comparison
from torchdropout.study.status import OK

if TYPE_CHECKING:
    from torchdropout.study.tables import Stored

SAMPLED = "The noise off, and on: the mean over passes"
SYMBOLS = {"helps": "▲", "hurts": "▼", "no evidence": "○", "": ""}


@dataclass(frozen=True, slots=True)
class Table:
    """Heads and rows of text; the first cell of a row names it."""

    head: list[str]
    rows: list[list[str]]


def verdicts(comparisons: list[Comparison], words: Words) -> list[dict[str, str]]:
    """The judged metric, the difference from the plain network and what follows, by condition."""
    return [
        {
            "condition": c.condition,
            "mean": words.interval((c.mean, c.low, c.high)),
            "difference": words.interval((c.difference, c.difference_low, c.difference_high), sign=True),
            "p": numbers.p_value(c.p_adjusted),
            "verdict": f"{SYMBOLS[c.verdict]} {c.wording}".strip() or numbers.MISSING,
            "kind": c.verdict.replace(" ", "-"),
            "reason": c.reason,
        }
        for c in comparisons
    ]


def conclusion(comparisons: list[Comparison], words: Words) -> str:
    """The verdicts in a sentence."""
    compared = [c for c in comparisons if c.verdict]
    if not compared:
        return "There is nothing to compare: the study needs none, the plain network, and one method besides."
    where = " on this test split" if words.judge == "test" else ""
    told = []
    for verdict, said in (("helps", "Helps"), ("hurts", "Hurts"), ("no evidence", "No evidence of a difference")):
        each = [c.condition for c in compared if c.verdict == verdict]
        if each:
            many = f"{len(each)} conditions" if len(each) > 4 and verdict == "no evidence" else "; ".join(each)
            told.append(f"{said}{where}: {many}.")
    return " ".join(told)


def figures(rows: list[Summary], stored: Stored, words: Words) -> Table:
    """Everything else that was measured, by condition."""
    part, unit = words.part, words.measured_in
    head = ["condition", f"training {words.score}, {unit}", f"{part} {words.score}, {unit}"]
    head += [f"gap, {words.differs_in}", f"{part} loss", f"{part} NLL", *(["ECE, points"] if words.percent else [])]
    methods = stored.study["methods"]
    cells = [_figures(row, methods[row.condition]["parameters"], words) for row in rows]
    return Table([*head, "parameters", "s / epoch", "epochs", "runs"], cells)


def _figures(row: Summary, parameters: int, words: Words) -> list[str]:
    m = row.metrics
    cells = [_score(m[name], words) for name in ("train", "judged", "gap")]
    cells += [m["judged_loss"].plain(), m["nll"].plain(), *([m["ece"].percent()] if words.percent else [])]
    seconds, epochs = m["seconds_per_epoch"].plain(spread=False), numbers.fixed(m["epochs"].mean, 0)
    return [row.condition, *cells, f"{parameters:,}", seconds, epochs, f"{row.finished} of {row.runs}"]


def _score(figure: Figure, words: Words) -> str:
    return figure.percent() if words.percent else figure.plain(None)


def sampled(stored: Stored, words: Words, *, short: bool = False) -> Table:
    """The part that judges with the noise off, and by the mean over noisy passes; `short` for means alone."""
    results, judge, count = stored.results, words.judge, stored.study["config"]["mc"]
    names = ("accuracy", "nll", "ece") if words.percent else ("rmse", "nll")
    shown = {"accuracy": "%", "rmse": "RMSE", "nll": "NLL", "ece": "ECE"}
    columns = [f"{judge}_{kind}{name}" for name in names for kind in ("", "mc_")] + [f"{judge}_mc_seconds"]
    heads = [f"{shown[name]} {kind}" for name in names for kind in ("off", "on")]
    tables = {column: by_unit(results, column, judge).groupby("condition")[column] for column in columns}
    cells = [
        [label, *(_sampled_cell(column, tables[column].get_group(label), short) for column in columns)]
        for label in results.loc[results["status"] == OK, "condition"].unique()
    ]
    return Table(["condition", *heads, "s" if short else f"s / {count} passes"], cells)


def _sampled_cell(column: str, values: pd.Series, short: bool) -> str:
    figure = Figure(float(values.mean()), float(values.std(ddof=1)))
    if column.endswith("seconds"):
        return figure.plain(2, spread=False)
    percent = column.endswith(("accuracy", "ece"))
    return figure.percent(spread=not short) if percent else figure.plain(3, spread=not short)


def test_figures(rows: list[Summary], stored: Stored, words: Words) -> Table | None:
    """The metric on a given test split where folds judge: description only."""
    if words.judge == "test" or not stored.study["data"]["test_examples"]:
        return None
    cells = [[row.condition, _score(row.metrics["test"], words)] for row in rows]
    return Table(["condition", f"test {words.score}, {words.measured_in}"], cells)


def strengths(stored: Stored) -> Table | None:
    """How often which strength was chosen, where there was a choice."""
    results, rows = stored.results, []
    for label, method in stored.study["methods"].items():
        runs = results[(results["condition"] == label) & (results["status"] == OK)]
        for setting, column, candidates in _choices(method):
            chosen = runs[column].value_counts()
            counts = [int(chosen.get(value, 0)) for value in candidates]
            pairs = zip(candidates, counts, strict=True)
            said = ", ".join(f"{value:g}: {count} of {sum(counts)}" for value, count in pairs)
            rows.append([label, setting, said])
    return Table(["condition", "setting", "chosen in runs"], rows) if rows else None


def _choices(method: dict[str, Any]) -> list[tuple[str, str, list[float]]]:
    """What there was a choice of: the setting's name, the column of results, the values."""
    noise = (method["argument"], method["argument"], method["candidates"])
    added = [(f"{name} {each['argument']}", name, each["candidates"]) for name, each in method["added"].items()]
    return [choice for choice in (noise, *added) if len(choice[2]) > 1]


def unfinished_learning(stored: Stored) -> list[str]:
    """The conditions whose training curves mostly still fell when the epochs ran out, with the number of such runs."""
    results, last = stored.results, stored.study["config"]["epochs"]
    told = []
    for label, runs in results[results["status"] == OK].groupby("condition", sort=False):
        falling = runs[(runs["flattened"].fillna(True).astype(bool).eq(False)) & (runs["epochs"] >= last)]
        if len(falling) * 2 > len(runs):
            told.append(f"{label} ({len(falling)} of {len(runs)} runs)")
    return told


def bins(calibration: pd.DataFrame, labels: list[str]) -> Table:
    """The reliability charts as a table."""
    rows, tables = [], pooled(calibration)
    for label in (each for each in labels if each in tables):
        table = tables[label]
        total = table["count"].sum()
        for each in table.rename(columns={"count": "examples"}).itertuples():
            interval = f"{100 * each.bin / 15:.0f}–{100 * (each.bin + 1) / 15:.0f} %"
            share, confidence, right = (100 * v for v in (each.examples / total, each.confidence, each.accuracy))
            rows.append([label, interval, *(numbers.fixed(value, 1) for value in (share, confidence, right))])
    return Table(["condition", "confidence", "predictions, %", "mean confidence, %", "right, %"], rows)


def missing_runs(stored: Stored) -> int:
    """The number of planned runs that the store has not got: of a study that was interrupted."""
    config = stored.study["config"]
    planned = len(stored.study["methods"]) * config["folds"] * config["repeats"] * config["seeds"]
    return max(0, int(planned) - len(stored.results))


def has_plain(stored: Stored) -> bool:
    """Whether the plain network is among the conditions."""
    return any(method["method"] == PLAIN for method in stored.study["methods"].values())


def about(study: dict[str, Any]) -> list[tuple[str, str]]:
    """What else is needed to run the study again."""
    machine = study["machine"]
    known = ", ".join(f"{key} {value}" for key, value in machine.items()) if isinstance(machine, dict) else str(machine)
    versions = ", ".join(f"{name} {number}" for name, number in study["versions"].items())
    return [("Versions", versions), ("Machine", known), ("Data, SHA-256", study["data"]["fingerprint"])]
