"""Stored studies made of drawn numbers, in the shape that a real one has."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

EFFECTS = {"none": 0.0, "dropout": 0.03, "gaussian": 0.005, "gaussian-noise": -0.05}
KEY = ("condition", "method", "repeat", "fold", "seed")
FIGURES = [f"{part}_{name}" for part in ("train", "val", "test") for name in ("loss", "accuracy", "rmse", "nll", "ece")]


@dataclass(frozen=True)
class Synthetic:
    folder: Path
    study: dict[str, Any]
    results: pd.DataFrame
    curves: pd.DataFrame
    calibration: pd.DataFrame


def stored(
    folder=Path(),
    *,
    task="classification",
    judge="val",
    methods=tuple(EFFECTS),
    folds=5,
    repeats=1,
    seeds=2,
    epochs=20,
    candidates=None,
    test_examples=0,
    patience=None,
    failed=(),
    conditions=None,
):
    """A study; `failed` holds (method, fold, seed) of runs without a result, `conditions` more labels of methods."""
    folds = 1 if judge == "test" else folds
    labels = {name: _label(name, candidates) for name in methods} | (conditions or {})
    generator = np.random.default_rng(7)
    rows, curves, bins = [], [], []
    for seed, repeat, fold, name in product(range(seeds), range(repeats), range(folds), labels):
        key = dict(zip(KEY, (labels[name], name, repeat, fold, seed), strict=True))
        if (name, fold, seed) in failed:
            rows.append(key | _bad(seed, folds, judge))
            continue
        figures, curve = _run(generator, name, fold, epochs, task, judge, test_examples or judge == "test")
        chosen = float(generator.choice(candidates)) if candidates else 0.5
        strength = {"p": chosen if name == "dropout" else np.nan, "std": 0.5 if name.startswith("gauss") else np.nan}
        flat = name not in ("dropout", "gaussian") if epochs >= 10 else None
        rows.append(key | figures | strength | _good(epochs, flat, folds, judge))
        curves += [key | each for each in curve]
        bins += [key | each for each in _bins(generator, name)] if task == "classification" else []
    study = _study(labels, task, judge, folds, repeats, seeds, epochs, candidates, test_examples, patience)
    columns = [
        *KEY,
        "p",
        "std",
        "status",
        "reason",
        "traceback",
        "epochs",
        "best_epoch",
        "flattened",
        "n_train",
        "n_judge",
    ]
    columns += [*FIGURES, "gap", "seconds_per_epoch", "seconds"]
    types = dict.fromkeys([*FIGURES, "p", "std", "gap", "seconds", "seconds_per_epoch"], "float64")
    results = pd.DataFrame(rows, columns=columns).astype(types | {"best_epoch": "Int64", "flattened": "boolean"})
    curve_columns = [*KEY, "epoch", "train_loss", "train_score", "val_loss", "val_score", "seconds"]
    calibration = pd.DataFrame(bins, columns=[*KEY, "bin", "count", "confidence", "accuracy"])
    return Synthetic(folder, study, results, pd.DataFrame(curves, columns=curve_columns), calibration)


def _label(name, candidates):
    if name == "none":
        return name
    if name == "dropout":
        return f"dropout p from {', '.join(map(str, candidates))}" if candidates else "dropout p=0.5"
    return f"{name} std=0.5"


def _sizes(folds, judge):
    return {"n_train": 1437 if judge == "val" else 1797, "n_judge": 360 if judge == "val" else 500}


def _good(epochs, flat, folds, judge):
    done = {"status": "ok", "reason": "", "traceback": "", "epochs": epochs, "best_epoch": None, "flattened": flat}
    return done | _sizes(folds, judge) | {"seconds": 3.0}


def _bad(seed, folds, judge):
    status = "diverged" if seed else "failed"
    told = {"status": status, "reason": "the reason", "traceback": "" if seed else "the traceback", "epochs": 1}
    return told | _sizes(folds, judge) | {"best_epoch": None, "flattened": None}


def _run(generator, name, fold, epochs, task, judge, test):
    """The figures of a run and its curve; by fold and method, with a little noise."""
    effect, wobble = EFFECTS.get(name, 0.0), 0.01 * np.sin(fold) + 0.004 * generator.standard_normal()
    progress = 1 - np.exp(-np.arange(1, epochs + 1) / 4)
    judged = 0.4 + (0.5 + effect + wobble) * progress
    trained = 0.4 + (0.59 - effect / 3) * progress
    if task == "regression":
        judged, trained = 30 * (1.1 - judged), 30 * (1.1 - trained)
    losses = {"train_loss": 2 * np.exp(-4 * progress), "val_loss": 2 * np.exp(-2.5 * progress) + 0.1 * progress**8}
    blank = np.full(epochs, np.nan)
    val = {"val_loss": losses["val_loss"], "val_score": judged} if judge == "val" else {}
    columns = {"train_loss": losses["train_loss"], "train_score": trained, "val_loss": blank, "val_score": blank} | val
    curve = [{"epoch": n + 1, "seconds": 0.1} | {c: float(v[n]) for c, v in columns.items()} for n in range(epochs)]
    metric = "accuracy" if task == "classification" else "rmse"
    parts = {"train": trained[-1], "val": judged[-1], "test": judged[-1] - 0.01}
    measured = ["train", *(["val"] if judge == "val" else []), *(["test"] if test else [])]
    figures = {}
    for part in measured:
        loss = float(losses["train_loss" if part == "train" else "val_loss"][-1]) + abs(wobble)
        figures |= {f"{part}_loss": loss, f"{part}_nll": loss, f"{part}_{metric}": float(parts[part])}
        figures |= {f"{part}_ece": 0.04 - effect / 2} if task == "classification" else {}
    sign = 1 if task == "classification" else -1
    gap = sign * (figures[f"train_{metric}"] - figures[f"{judge}_{metric}"])
    return figures | {"gap": gap, "seconds_per_epoch": 0.1 + 0.05 * (name != "none") + abs(wobble)}, curve


def _bins(generator, name):
    centres = (np.arange(15) + 0.5) / 15
    tilt = 0.12 - EFFECTS.get(name, 0.0)
    return [
        {
            "bin": b,
            "count": int(3 + 2 * b**2),
            "confidence": c,
            "accuracy": float(np.clip(c - tilt * c * (1 - c) * 3, 0, 1)),
        }
        for b, c in enumerate(centres)
        if b > 1
    ]


def _study(labels, task, judge, folds, repeats, seeds, epochs, candidates, test_examples, patience):
    config = {
        "data": "digits", "model": "mlp", "widths": [512, 512], "methods": list(labels), "p": candidates or [],
        "folds": folds, "repeats": repeats, "seeds": seeds, "epochs": epochs, "patience": patience, "batch_size": 64,
        "lr": 0.001, "optimizer": "adam", "weight_decay": 0.0, "schedule": "constant", "autocast": "none",
        "device": "cpu", "jobs": 2, "target": None if task == "classification" else "price", "task": None,
        "log_target": False, "max_examples": None, "data_dir": None, "out": "runs/digits",
    }  # fmt: skip
    classes = [str(number) for number in range(10)] if task == "classification" else []
    described = {
        label: {
            "method": name,
            "argument": "" if name == "none" else "p" if name == "dropout" else "std",
            "candidates": [] if name == "none" else candidates if candidates and name == "dropout" else [0.5],
            "added": {},
            "parameters": 1000,
            "sites": dict.fromkeys(("input", "conv", "dense"), None if name == "none" else 0.5),
        }
        for name, label in labels.items()
    }
    return {
        "format": 3, "command": "torchdropout compare digits --methods all", "config": config,
        "data": {
            "name": "digits", "task": task, "examples": 1797, "classes": classes, "note": "Written by 43 people.",
            "test_examples": 500 if judge == "test" else test_examples, "description": "images of 1 × 8 × 8",
            "fingerprint": "0123456789abcdef" * 4, "text": False,
        },
        "judge": judge, "metric": "accuracy" if task == "classification" else "rmse", "methods": described,
        "best": None, "started": "2026-01-02T03:04:00+00:00", "seconds": 61.5, "workers": 2,
        "versions": {"torchdropout": "0.3.0", "torch": "2.13.0", "python": "3.11.7"}, "machine": "A processor, 2 cores",
    }  # fmt: skip
