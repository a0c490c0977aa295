"""The page of a compression, in the form of a study's report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go

from torchdropout.study import sparsifying
from torchdropout.study.reporting import page
from torchdropout.study.reporting.charts import BLUE, GREY, ORANGE, Chart, lay_out, shown
from torchdropout.study.reporting.numbers import fixed
from torchdropout.study.reporting.sections import Table

FILE = "compressed.html"
_COSTS = {
    "parameters": ("parameters", 0), "nonzero": ("parameters that are not zero", 0),
    "bytes": ("bytes of weights", 0), "flops": ("operations for an example", 0),
    "latency_1": ("milliseconds for 1 example", 3), "latency_64": ("milliseconds for 64 examples", 3),
}  # fmt: skip


def render(about: dict[str, Any]) -> str:
    """The page as text, from what `report.json` holds."""
    groups = {"curves": [_curve(about)], "layer_charts": [_layers(about)], "pixels": _pixels(about)}
    size = about["bytes"]
    title = f"{about['study']['data']}, {about['study']['model']}: {size['before'] / size['after']:.1f} times smaller"
    content = {
        "about": about, "title": title, "conclusion": _conclusion(about), "said": _said(about), "costs": _costs(about),
        "points": _points(about), "layers": _by_layer(about), "protocol": _protocol(about), "why": _why(about),
        "read": _read(about),
    }  # fmt: skip
    return page.render(FILE, content | groups, [chart.figure for group in groups.values() for chart in group])


def _percent(value: float) -> str:
    return f"{fixed(100 * value, 2)} %"


def _change(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    points = [fixed(100 * value, 2, sign=True) for value in (found["difference"], low, high)]
    return f"{points[0]} points, 95 % interval {points[1]} to {points[2]}"


def _conclusion(about: dict[str, Any]) -> str:
    size = about["bytes"]
    ratio = size["before"] / size["after"]
    return f"{size['before']:,} bytes of weights became {size['after']:,}: {ratio:.1f} times less."


def _said(about: dict[str, Any]) -> list[str]:
    judged = about["judged"]
    said = [
        f"Accuracy on {judged['examples']:,} examples that neither training nor choice saw: "
        f"{_percent(judged['before'])} before and {_percent(judged['after'])} after ({_change(judged)}), of a network "
        "trained and pruned alike on a part of the data."
    ]
    if test := about.get("test"):
        said.append(
            f"The model itself on the {test['examples']:,} examples of the test split: {_percent(test['before'])} "
            f"before and {_percent(test['after'])} after ({_change(test)})."
        )
    return said


def _costs(about: dict[str, Any]) -> Table:
    rows = []
    for name, (label, digits) in _COSTS.items():
        a, b = about["before"][name], about["after"][name]
        rows.append([label, fixed(a, digits), fixed(b, digits), fixed(a / b, 1) if b else "–"])
    before = about["bytes"]["before"]
    for name, size in about["files"].items():
        rows.append([f"{name}, bytes", "–", fixed(size, 0), fixed(before / size, 1)])
    return Table(["", "before", "after", "times less"], rows)


def _curve(about: dict[str, Any]) -> Chart:
    figure, said = go.Figure(), []
    shares = sorted({each["share"] for each in about["curve"]})
    for number, share in enumerate(shares):
        points = [each for each in about["curve"] if each["share"] == share]
        figure.add_trace(_line(points, share, 0.3 + 0.7 * (number + 1) / len(shares), _is_chosen(about)))
        said.append(f"after {share:.0%} of the training {_spoken(points)}")
    before = {"color": f"rgb({GREY})", "dash": "dot", "width": 1.5}
    figure.add_hline(y=about["accuracy_on_choosing_part"], line=before)
    figure.update_xaxes(title="bytes of the compact file", type="log", exponentformat="none", dtick="D2")
    figure.update_yaxes(title="accuracy", tickformat=".0%", automargin=True)
    lay_out(figure, height=380, top=50)
    return Chart("Accuracy by size", f"Accuracy by the size of the compact file: {'; '.join(said)}", figure)


def _line(points: list[dict[str, Any]], share: float, strength: float, chosen: Callable[[Any], bool]) -> go.Scatter:
    colours = [f"rgb({ORANGE})" if chosen(each) else f"rgba({BLUE}, {strength:.2f})" for each in points]
    return go.Scatter(
        x=[each["bytes"] for each in points], y=[each["accuracy"] for each in points], mode="lines+markers",
        marker={"size": [16 if chosen(each) else 6 for each in points], "color": colours, "opacity": 1},
        line={"color": f"rgba({BLUE}, {strength:.2f})", "width": 2}, name=f"{share:.0%} of the training",
        text=[f"threshold {each['threshold']:g}" for each in points],
        hovertemplate="%{text}: %{x:,} bytes, %{y:.2%}<extra></extra>",
    )  # fmt: skip


def _is_chosen(about: dict[str, Any]) -> Callable[[Any], bool]:
    return lambda point: (point["share"], point["threshold"]) == (about["share"], about["threshold"])


def _spoken(points: list[dict[str, Any]]) -> str:
    most, least = max(points, key=lambda each: each["bytes"]), min(points, key=lambda each: each["bytes"])
    return ", ".join(f"{each['bytes']:,} bytes {_percent(each['accuracy'])}" for each in (most, least))


def _points(about: dict[str, Any]) -> Table:
    chosen = _is_chosen(about)
    rows = [
        [f"{each['share']:.0%}" + (" (chosen)" if chosen(each) else ""), f"{each['threshold']:g}",
         fixed(each["parameters"], 0), fixed(each["nonzero"], 0), fixed(each["bytes"], 0), _percent(each["accuracy"])]
        for each in about["curve"]
    ]  # fmt: skip
    return Table(["training", "threshold", "parameters", "not zero", "bytes", "accuracy"], rows)


def _layers(about: dict[str, Any]) -> Chart:
    layers = about["layers"][::-1]
    names = [shown(each["name"]) for each in layers]
    shares = {
        "weights": ([each["weights_left"] / each["weights"] for each in layers], BLUE),
        "units or channels": ([each["units_left"] / each["units"] for each in layers], ORANGE),
    }
    figure = go.Figure([
        go.Bar(y=names, x=values, name=name, orientation="h", marker={"color": f"rgb({colour})"},
               hovertemplate="%{y}: %{x:.1%}<extra></extra>")
        for name, (values, colour) in shares.items()
    ])  # fmt: skip
    figure.update_xaxes(title="what is left", tickformat=".0%", range=[0, 1.02])
    figure.update_yaxes(automargin=True)
    lay_out(figure, height=130 + 48 * len(layers), top=40)
    said = "; ".join(
        f"{each['name']} {each['weights_left']:,} of {each['weights']:,} weights" for each in about["layers"]
    )
    return Chart("What is left of each layer", f"What is left of each layer: {said}", figure)


def _by_layer(about: dict[str, Any]) -> Table:
    rows = [
        [each["name"], each["kind"], fixed(each["weights"], 0), fixed(each["weights_left"], 0),
         _percent(each["weights_left"] / each["weights"]), fixed(each["units"], 0), fixed(each["units_left"], 0)]
        for each in about["layers"]
    ]  # fmt: skip
    return Table(["layer", "kind", "weights", "left", "part", "units or channels", "left"], rows)


def _pixels(about: dict[str, Any]) -> list[Chart]:
    counts = about["pixels"]
    if counts is None:
        return []
    scale = [[0, "rgb(232, 236, 241)"], [1e-9, "rgb(173, 205, 233)"], [1, "rgb(13, 60, 105)"]]
    hover = "row %{y}, column %{x}: %{z} weights<extra></extra>"
    figure = go.Figure([go.Heatmap(z=counts, colorscale=scale, zmin=0, xgap=1, ygap=1, hovertemplate=hover)])
    figure.update_yaxes(autorange="reversed", scaleanchor="x", visible=False, constrain="domain")
    figure.update_xaxes(visible=False, constrain="domain")
    lay_out(figure, height=300, top=10)
    return [Chart("Weights that read each pixel", f"Weights that read each pixel. {_read(about)}", figure)]


def _read(about: dict[str, Any]) -> str:
    flat = [count for row in about["pixels"] or [] for count in row]
    return f"{sum(count > 0 for count in flat)} of {len(flat)} pixels are read by the first layer."


def _why(about: dict[str, Any]) -> str:
    wanted = about["wanted"]
    if wanted["size"] is not None:
        return ": the most accurate of those that are small enough"
    return ": the smallest that loses few enough points"


def _protocol(about: dict[str, Any]) -> list[str]:
    sizes, sparse = about["sizes"], about["method"] == "sparse-vd"
    noise = (
        "Sparse variational dropout (Molchanov et al. 2017) gives each weight noise of its own; a weight whose log "
        "alpha reaches the threshold is removed."
        if sparse
        else "Log-normal gates (Neklyudov et al. 2017) give each unit and channel but the outputs a random factor; one "
        "whose ratio of mean to deviation does not exceed the threshold is removed."
    )
    return [
        f"{noise} The divergence's weight grows from 0 to 1 over the first "
        f"{sparsifying.WARMUP:.0%} of {about['epochs']} epochs; training stopped after {about['share']:.0%} of them.",
        "Where to stop, and the threshold, were chosen with a twin: a network trained by the study's recipe on "
        f"{sizes['learn']:,} of the training examples, then sparsified, and measured on {sizes['choose']:,} others. "
        f"{sizes['judge']:,} more judged what was chosen. The study's model, which has learned from all training "
        "examples, was then sparsified and pruned alike. It has no held-out examples but those of a given test split.",
        "Units and channels that do nothing were taken out of all layers, and the result was compared with the pruned "
        "network.",
    ]
