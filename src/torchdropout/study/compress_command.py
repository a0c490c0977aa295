"""The command `torchdropout compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def compress(
    folder: Annotated[Path, typer.Argument(help="A folder that `compare` wrote, of a classification.")],
    out: Annotated[Path, typer.Option(help="The folder to write, new or empty.")],
    method: Annotated[
        str, typer.Option(help="sparse-vd, which removes weights, or lognormal: units and channels.")
    ] = "sparse-vd",
    target_size: Annotated[
        str | None, typer.Option(help="The most it may take: bytes, 20k, a part (0.05), or 20x less.")
    ] = None,
    max_accuracy_loss: Annotated[
        float | None, typer.Option(help="The most points of accuracy to lose.", show_default="2 without a size")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Epochs of each training with learned noise.", show_default="as the study, 60 or more"),
    ] = None,
    retrain: Annotated[int, typer.Option(help="Epochs of training what is left.")] = 0,
) -> None:
    """Make the best model of a comparison smaller; write it for PyTorch and ONNX, with a report."""
    from torchdropout import study  # noqa: PLC0415
    from torchdropout.study import display_compressed  # noqa: PLC0415
    from torchdropout.study.choosing import Wanted  # noqa: PLC0415

    wanted = Wanted.parsed(target_size, max_accuracy_loss)
    with display_compressed.Steps() as steps:
        done = study.compress(
            folder, out, method=method, wanted=wanted, epochs=epochs, retrain=retrain, tick=steps.tick
        )
    Console().print(display_compressed.table(done))
    typer.echo(f"report: {done.folder / 'report.html'}")
