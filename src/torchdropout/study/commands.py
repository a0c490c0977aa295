"""The commands of `torchdropout`: each parses, calls one public function and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from torchdropout._version import __version__
from torchdropout.study import catalogue_table, compress_command
from torchdropout.study.config import ACTIVATIONS, AUTOCAST, MODELS, OPTIMIZERS, SCHEDULES, TASKS, CompareConfig
from torchdropout.study.datasets import NAMES, VARIABLE
from torchdropout.study.errors import StudyError

_DEFAULT = CompareConfig()
INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C ended

app = typer.Typer(
    help="Every dropout method for PyTorch, compared on data.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
)
data_app = typer.Typer(help="Data sets.", rich_markup_mode=None, no_args_is_help=True)
app.add_typer(data_app, name="data")


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
    context: typer.Context,
    data: Annotated[
        str, typer.Argument(help=f"{', '.join(NAMES)}; a file (csv, parquet, npz); or module:function.")
    ] = _DEFAULT.data,
    *,
    target: Annotated[str, typer.Option(help="The column to predict, for a table: its name, or its number.")] = "",
    text: Annotated[str, typer.Option(help="The column of text to read, for a table.", show_default="no text")] = "",
    task: Annotated[str, typer.Option(help=f"{', '.join(TASKS)}.", show_default="as the targets are")] = "",
    log_target: Annotated[bool, typer.Option("--log-target", help="Learn the logarithm of the target.")] = False,
    max_examples: Annotated[int, typer.Option(help="Training examples to keep.", show_default="all")] = 0,
    model: Annotated[str, typer.Option(help=f"{', '.join(MODELS)} or module:factory.")] = _DEFAULT.model,
    widths: Annotated[str, typer.Option(help="The hidden layers of the mlp.")] = ",".join(map(str, _DEFAULT.widths)),
    activation: Annotated[
        str, typer.Option(help=f"Of the mlp's and the cnn's hidden layers: {', '.join(ACTIVATIONS)}.")
    ] = _DEFAULT.activation,
    methods: Annotated[
        str, typer.Option(help="Names of `torchdropout methods`, and none, by commas, joined by +; or all.")
    ] = ",".join(_DEFAULT.methods),
    p: Annotated[
        str, typer.Option(help="Drop probabilities to choose from, by commas.", show_default="each method's own")
    ] = "",
    strength: Annotated[
        list[str], typer.Option(help="NAME=values to choose from, of one method or addition; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    p_by_width: Annotated[bool, typer.Option("--p-by-width", help="Lower p at narrower hidden layers.")] = False,
    folds: Annotated[int, typer.Option(help="Folds; 1 where a given test split judges.")] = _DEFAULT.folds,
    repeats: Annotated[int, typer.Option(help="Divisions into folds.")] = _DEFAULT.repeats,
    seeds: Annotated[int, typer.Option(help="Trainings per method and fold.")] = _DEFAULT.seeds,
    epochs: Annotated[int, typer.Option(help="Epochs of each training.")] = _DEFAULT.epochs,
    patience: Annotated[int, typer.Option(help="Epochs without progress to stop after.", show_default="never")] = 0,
    mc: Annotated[int, typer.Option(help="Measure the mean of so many noisy passes, too.", show_default="none")] = 0,
    batch_size: Annotated[int, typer.Option(help="Examples per step.")] = _DEFAULT.batch_size,
    lr: Annotated[float, typer.Option(help="The learning rate.")] = _DEFAULT.lr,
    optimizer: Annotated[str, typer.Option(help=f"{', '.join(OPTIMIZERS)}.")] = _DEFAULT.optimizer,
    weight_decay: Annotated[float, typer.Option(help="The optimizer's.")] = _DEFAULT.weight_decay,
    schedule: Annotated[str, typer.Option(help=f"Of the learning rate: {', '.join(SCHEDULES)}.")] = _DEFAULT.schedule,
    autocast: Annotated[str, typer.Option(help=f"Lower precision: {', '.join(AUTOCAST)}.")] = _DEFAULT.autocast,
    device: Annotated[str, typer.Option(help="Where to train.")] = _DEFAULT.device,
    jobs: Annotated[int, typer.Option(help="Processes that train.", show_default="one per core")] = 0,
    data_dir: Annotated[
        Path | None, typer.Option(help="The folder of a known set's files, or its parent.", show_default=f"${VARIABLE}")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write.", show_default="runs/DATA-TIME")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study in --out.")] = False,
) -> None:
    """Train methods on the same folds and seeds of DATA; write the results, a report and the best model.

    The exit code is 1 if a run failed or diverged, 2 if the input cannot be used, 130 after Ctrl-C.
    """
    from torchdropout import study  # noqa: PLC0415 - seconds of imports that `methods` and `--help` need not wait for
    from torchdropout.study import display  # noqa: PLC0415

    settings = _given(context)
    try:
        with display.RunsDisplay() as runs:
            stored = study.compare(resume=resume, watcher=runs.watcher, **settings)
    except KeyboardInterrupt:
        typer.echo(f"interrupted: every finished run is kept. {_how_to_go_on(runs.folder)}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    console = Console()
    console.print(display.result_table(stored))
    if stored.study["config"].get("mc"):
        console.print(display.sampled_table(stored))
    console.print(display.caption(stored))
    typer.echo(f"report: {stored.folder / 'report.html'}")
    if (stored.results["status"] != "ok").any():
        raise typer.Exit(1)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A folder that `compare` wrote.")]) -> None:
    """Write report.html and the tables again from the store in FOLDER."""
    from torchdropout import study  # noqa: PLC0415

    typer.echo(f"report: {study.write_report(folder)}")


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(help="A folder that `compare` wrote.")],
    data: Annotated[
        Path,
        typer.Argument(help="New examples: a table with the same columns, an npz with `inputs`, or a text a line."),
    ],
    out: Annotated[Path | None, typer.Option(help="The file to write.", show_default="print")] = None,
) -> None:
    """Predict DATA with the best model of a comparison; write CSV."""
    from torchdropout import study  # noqa: PLC0415

    text = study.predict(folder, data).to_csv(index=False)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(f"{out}: --out must be a file that can be written, found: {error.strerror}.") from error


@app.command()
def uncertainty(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `compare` wrote.")],
    data: Annotated[str, typer.Argument(help="Examples with targets: a set's name, a file, or module:function.")],
    *,
    ood: Annotated[
        str | None, typer.Option(help="Examples of another distribution, of the same shape.", show_default="none")
    ] = None,
    samples: Annotated[int, typer.Option(help="Noisy passes.")] = 50,
    seed: Annotated[int, typer.Option(help="Of their noise.")] = 0,
    target: Annotated[
        str | None, typer.Option(help="The targets' column, for a table.", show_default="as in training")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="The folder of a known set's files, or its parent.", show_default="the study's")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page.", show_default="RUN/uncertainty.html")] = None,
) -> None:
    """Measure how far a study's model can be believed on DATA, with its noise off and by the mean of noisy passes."""
    from torchdropout.study import display  # noqa: PLC0415
    from torchdropout.study import uncertainty as uncertain  # noqa: PLC0415

    found = uncertain.assess(folder, data, ood=ood, samples=samples, seed=seed, target=target, data_dir=data_dir)
    page = uncertain.write(found, out)
    console = Console()
    console.print(display.measures_table(found))
    if found.seen:
        typer.echo(f"The model learned from {data}: these figures are too good. Give examples that it has not seen.")
    typer.echo(f"page: {page}")


app.command()(compress_command.compress)


@app.command()
def methods(name: Annotated[str | None, typer.Argument(help="One method, shown in full.")] = None) -> None:
    """Print the catalogue of methods and what can be added to them, or one row in full."""
    console = Console()
    if name is not None:
        console.print(catalogue_table.in_full(name))
        return
    console.print(catalogue_table.everything())
    console.print("\nAlone or joined to a method, as in dropout+maxnorm:\n", highlight=False)
    console.print(catalogue_table.added())


@app.command()
def conformance(
    name: Annotated[str | None, typer.Argument(help="One method, whose checks are shown in full.")] = None,
) -> None:
    """Check every method against its paper's exact numbers, and print a table of checks by method.

    The exit code is 1 if a check failed.
    """
    from torchdropout.study import conformance as suite  # noqa: PLC0415 - torch's compiler, which others need not wait for

    found = suite.run(name)
    console = Console()
    if name is None:
        console.print(suite.by_method(found))
        typer.echo(f"{suite.legend()}\n{suite.failures(found)}".rstrip())
    else:
        console.print(suite.of_method(found[name]))
    typer.echo(suite.summary(found))
    if suite.count(found, "fail"):
        raise typer.Exit(1)


@app.command()
def example(
    name: Annotated[str | None, typer.Argument(help="Which; without a name they are listed.")] = None,
    small: Annotated[bool, typer.Option("--small", help="A reduced size, a few seconds.")] = False,
    out: Annotated[Path, typer.Option(help="The folder of the figure.")] = Path("runs/examples"),
) -> None:
    """Run a textbook experiment: what is expected, what was measured, and a figure.

    The exit code is 1 if a measurement does not meet its expectation.
    """
    from torchdropout import examples  # noqa: PLC0415

    if name is None:
        typer.echo("\n".join(examples.names()))
        return
    try:
        findings = examples.run(name, small, out)
    except examples.UnknownExample as error:
        raise StudyError(str(error)) from error
    examples.show(findings)
    if not all(finding.holds for finding in findings):
        raise typer.Exit(1)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name of `torchdropout methods`; all; or activations.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The picture: .png, .svg or .pdf.", show_default="NAME.png")
    ] = None,
    p: Annotated[float | None, typer.Option(help="The drop probability.", show_default="a telling one")] = None,
    strength: Annotated[
        float | None, typer.Option(help="Where a method has no p: std, size, ...", show_default="a telling one")
    ] = None,
) -> None:
    """Draw what a method does: its input, two draws of training, test; or all methods on one page."""
    from torchdropout.study import pictures  # noqa: PLC0415 - matplotlib, which only pictures need

    typer.echo(f"figure: {pictures.draw(name, out or Path(f'{name}.png'), p, strength)}")


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="mnist or fashion-mnist.")],
    folder: Annotated[Path, typer.Option(help="Where to put the folder of the set.")] = Path("data"),
    address: Annotated[str | None, typer.Option(help="Another server's.", show_default="the canonical one")] = None,
) -> None:
    """Download the files of a data set and verify them."""
    from torchdropout.study import datasets  # noqa: PLC0415

    typer.echo(f"{name}: {datasets.fetch(name, folder, address=address)}")


def _given(context: typer.Context) -> dict[str, Any]:
    """The options that were given, as settings of a comparison."""
    sources = {name: context.get_parameter_source(name) for name in context.params if name != "resume"}
    given = {name: context.params[name] for name, source in sources.items() if source and source.name != "DEFAULT"}
    for name, kind in (("methods", str), ("p", float), ("widths", int)):
        if name in given:
            given[name] = _several(name, given[name], kind)
    if "strength" in given:
        given["strength"] = _by_name(given["strength"])
    return given


def _by_name(words: list[str]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not (name and equals) or name in found:
            rule = "be given once for a name" if name in found else "be NAME=values"
            raise StudyError(f"compare: `strength` must {rule}, got {word!r}.")
        found[name] = _several("strength", values, float)
    return found


def _several(name: str, text: str, kind: type) -> list[Any]:
    try:
        return [kind(word.strip()) for word in text.split(",") if word.strip()]
    except ValueError:
        raise StudyError(f"compare: `{name}` must be numbers separated by commas, got {text!r}.") from None


def _how_to_go_on(folder: Path | None) -> str:
    return "Nothing was begun." if folder is None else f"Go on with: torchdropout compare --resume --out {folder}"
