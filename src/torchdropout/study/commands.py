"""The commands of `torchdropout`: each parses, calls one public function and prints."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from torchdropout import catalog
from torchdropout._version import __version__
from torchdropout.study.config import CompareConfig
from torchdropout.study.data import NAMES, VARIABLE
from torchdropout.study.errors import StudyError

_DEFAULT = CompareConfig()

app = typer.Typer(
    help="Every dropout method for PyTorch, compared on data.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"torchdropout {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # noqa: ARG001, RUF100 - its callback acts
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def compare(
    data: Annotated[str, typer.Argument(help=f"The data set: {', '.join(NAMES)}.")] = _DEFAULT.data,
    *,
    model: Annotated[str, typer.Option(help="The network: mlp or cnn.")] = _DEFAULT.model,
    methods: Annotated[
        str, typer.Option(help="Names of `torchdropout methods`, and none, separated by commas.")
    ] = ",".join(_DEFAULT.methods),
    p: Annotated[
        str, typer.Option(help="Drop probabilities to try, separated by commas.", show_default="each method's own")
    ] = "",
    folds: Annotated[int, typer.Option(help="Stratified folds.")] = _DEFAULT.folds,
    seeds: Annotated[int, typer.Option(help="Trainings per method and fold.")] = _DEFAULT.seeds,
    epochs: Annotated[int, typer.Option(help="Epochs of each training.")] = _DEFAULT.epochs,
    batch_size: Annotated[int, typer.Option(help="Examples per step.")] = _DEFAULT.batch_size,
    lr: Annotated[float, typer.Option(help="Adam's learning rate.")] = _DEFAULT.lr,
    jobs: Annotated[
        int | None, typer.Option(help="Processes that train.", show_default="one per core")
    ] = _DEFAULT.jobs,
    data_dir: Annotated[
        Path | None, typer.Option(help="The folder of idx files, or its parent.", show_default=f"${VARIABLE}")
    ] = _DEFAULT.data_dir,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write.", show_default="runs/DATA-TIME")
    ] = _DEFAULT.out,
) -> None:
    """Train methods on the same folds and seeds of DATA; write results.parquet and report.html.

    The exit code is 1 if a run failed or diverged, 2 if the input cannot be used.
    """
    from torchdropout import study  # noqa: PLC0415 - seconds of imports that `methods` and `--help` need not wait for
    from torchdropout.study import display  # noqa: PLC0415

    config = CompareConfig(
        data=data,
        model=model,
        methods=_words(methods),
        p=_probabilities(p),
        folds=folds,
        seeds=seeds,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        jobs=jobs,
        data_dir=data_dir,
        out=out,
    )
    with display.RunsDisplay() as runs:
        stored = study.compare(config, on_start=runs.start, on_outcome=runs.advance)
    console, rows = Console(), study.summarise(stored.results)
    console.print(display.result_table(rows, f"{config.data}, {config.model}"))
    console.print(display.CAPTION)
    typer.echo(f"report: {stored.folder / 'report.html'}")
    if (stored.results["status"] != "ok").any():
        raise typer.Exit(1)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A folder that `compare` wrote.")]) -> None:
    """Write report.html again from what is stored in FOLDER."""
    from torchdropout import study  # noqa: PLC0415

    typer.echo(f"report: {study.write_report(folder)}")


@app.command()
def methods(name: Annotated[str | None, typer.Argument(help="One method, shown in full.")] = None) -> None:
    """Print the catalogue of methods, or one of its rows in full."""
    Console().print(_catalogue() if name is None else _in_full(name))


def _catalogue() -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for heading in ("noise", "shared over", "on"):
        table.add_column(heading, min_width=11)
    for heading in ("default", "compare in"):
        table.add_column(heading, no_wrap=True)
    for row in catalog.METHODS:
        default = f"{row.argument}={row.default:g}"
        table.add_row(row.name, row.noise, row.shared, row.target, default, ", ".join(row.models) or "–")
    return table


def _in_full(name: str) -> Table:
    try:
        row = catalog.get(name)
    except ValueError as error:
        raise StudyError(f"methods: {error}") from error
    table = Table.grid(padding=(0, 2))
    for field in fields(row):
        value = getattr(row, field.name)
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        table.add_row(field.name.replace("_", " "), shown or "–")
    return table


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _probabilities(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in _words(text))
    except ValueError:
        raise StudyError(f"compare: `p` must be numbers separated by commas, got {text!r}.") from None
