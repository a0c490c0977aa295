"""Predictions of new examples by the model that a comparison left."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from torchdropout.study import refit, smaller
from torchdropout.study.datasets import TEXT_COLUMN, load_inputs


def predict(folder: Path | str, path: Path | str) -> pd.DataFrame:
    """Predict the examples of a file, noise off, with a comparison's best model, or a compression's.

    Args:
        folder: What `compare` or `compress` wrote.
        path: A table with the columns of the training data (a target among them is not looked at), or an `.npz` file
            with an array `inputs`. For a model of texts a table with their column (`text`, unless it was chosen), or a
            .txt file with a text in each line.

    Returns:
        A row per example: `prediction`, and for a classification the probability of every class.

    Raises:
        StudyError: The folder holds no model, or the file's examples do not fit it.
    """
    folder = Path(folder)
    network, about = (smaller if (folder / smaller.FILE).exists() else refit).load(folder)
    inputs = load_inputs(path, network.preparation, column=about["config"].get("text") or TEXT_COLUMN)
    y = network.outputs(network.preparation.inputs(inputs))
    if network.task == "regression":
        return pd.DataFrame({"prediction": network.preparation.in_units(y).numpy()})
    classes = pd.Series(about["classes"], dtype="object")
    table = pd.DataFrame({"prediction": classes[y.argmax(1).numpy()].to_numpy()})
    probabilities = pd.DataFrame(y.softmax(1).numpy(), columns=[f"probability {name}" for name in classes])
    return pd.concat([table, probabilities], axis=1)
