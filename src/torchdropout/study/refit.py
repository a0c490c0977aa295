"""The best method trained on all training data, as files without pickles: weights, and how to rebuild the network."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from torchdropout.study import hooks, protocol
from torchdropout.study.conditions import Condition, Placed
from torchdropout.study.config import from_settings
from torchdropout.study.datasets.prepare import Preparation
from torchdropout.study.errors import StudyError
from torchdropout.study.execution import Material
from torchdropout.study.fitting import DivergedError, Job, Network
from torchdropout.study.metrics import Metrics
from torchdropout.study.models import build
from torchdropout.study.status import OK
from torchdropout.study.tables import Stored
from torchdropout.study.training import Epoch

WEIGHTS, MODEL = "model.safetensors", "model.json"
FORMAT = 2


def best(stored: Stored) -> str | None:
    """The condition with the best mean of the figure that judges, of those all of whose runs came to their end."""
    results, study = stored.results, stored.study
    complete = results.groupby("condition", sort=False)["status"].agg(lambda status: bool((status == OK).all()))
    results = results[results["condition"].map(complete)]
    if results.empty:
        return None
    means = results.groupby("condition", sort=False)[f"{study['judge']}_{study['metric']}"].mean()
    return str(means.idxmax() if study["metric"] == "accuracy" else means.idxmin())


def write(material: Material, condition: Condition, folder: Path) -> dict[str, Any]:
    """Train on all training data, write the files, and return what was measured.

    Raises:
        StudyError: The folder cannot be written.
    """
    config, data = material.config, material.data
    job = Job(config, data, protocol.everything(data), protocol.random_state(0, 0, 0))
    curve: list[Epoch] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same numbers on any machine
    try:
        with torch.random.fork_rng(devices=[]):
            placed = job.choose(condition)
            network = job.train(placed, job.part, curve)
    except DivergedError as error:
        return {"condition": condition.label, "reason": str(error)}
    finally:
        torch.set_num_threads(threads)
    found = job.measure(network)
    variance = found["train"].loss if data.task == "regression" else None
    known = {"variance": variance, "learned": digest(network.preparation.inputs(data.inputs))}
    _save(network, material, placed, folder, known)
    measured = {part: _figures(m) for part, m in found.items()}
    return {"condition": condition.label, "placed": placed.to_json(), "epochs": len(curve), "measured": measured}


def _figures(m: Metrics) -> dict[str, Any]:
    off = {"loss": m.loss, "accuracy": m.accuracy, "rmse": m.rmse}
    return off if m.sampled is None else off | {"sampled": asdict(m.sampled)}


def load(folder: Path) -> tuple[Network, dict[str, Any]]:
    """The network of a folder in eval mode, and its description.

    A model of `module:factory` imports that module; nothing is unpickled.

    Raises:
        StudyError: A file is missing or broken, or does not fit the other.
    """
    about = described(folder / MODEL)
    try:
        config, placed = from_settings(about["config"]), Placed.from_json(about["placed"])
        preparation = Preparation.from_json(about["preparation"])
        outputs, vocabulary = len(about["classes"]) or 1, preparation.vocabulary
        model = build(config, preparation.shape, outputs, placed, vocabulary=vocabulary)
        model.load_state_dict(load_file(folder / WEIGHTS))
        hooks.finish_(model, placed)
    except (KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise StudyError(f"{folder}: {WEIGHTS} must hold the weights of {MODEL}, found {found}.") from error
    return Network(model.eval(), preparation, about["task"]), about


def digest(inputs: Tensor) -> str:
    """A sha256 of prepared inputs: whether examples are those that a model learned from."""
    return hashlib.sha256(inputs.contiguous().numpy().tobytes()).hexdigest()


def _save(network: Network, material: Material, placed: Placed, folder: Path, known: dict[str, Any]) -> None:
    about = {
        "format": FORMAT,
        "config": material.config.to_json(),
        "placed": placed.to_json(),
        "task": material.data.task,
        "classes": list(material.data.classes),
        "preparation": network.preparation.to_json(),
    } | known
    weights = {name: value.detach().cpu().contiguous() for name, value in network.model.state_dict().items()}
    try:
        save_file(weights, folder / WEIGHTS)
        (folder / MODEL).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise StudyError(f"{folder}: the folder must be writable, found: {error.strerror or error}.") from error


def described(path: Path) -> dict[str, Any]:
    """What a model's file says of it.

    Raises:
        StudyError: There is none, or another.
    """
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path}: the model of a study must be here, found none.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StudyError(f"{path}: the file must be JSON, found: {error}.") from error
    found = about.get("format") if isinstance(about, dict) else type(about).__name__
    if found != FORMAT:
        raise StudyError(f"{path}: `format` must be {FORMAT}, found {found}.")
    return dict(about)
