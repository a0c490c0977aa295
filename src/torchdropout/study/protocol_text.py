"""The protocol in words, from what a study stored."""

from __future__ import annotations

from typing import Any


def paragraphs(study: dict[str, Any]) -> list[str]:
    """What was done, what the numbers are, and what they are not."""
    return [_data(study), _network(study), _training(study), _numbers(study), NOT_TESTED]


NOT_TESTED = (
    "Differences between methods were not tested. The spread shows how much the folds vary, not how sure a difference "
    "is: folds share training data, and the same folds serve every method, so neither overlapping nor separate spreads "
    "show whether a difference is within chance. A paired test comes with a later version."
)


def _data(study: dict[str, Any]) -> str:
    data, folds = study["data"], study["config"]["folds"]
    channels, height, width = data["shape"]
    return (
        f"{data['name']}: {data['examples']:,} images of {height} × {width} pixels"
        f"{'' if channels == 1 else f' and {channels} channels'}, {data['classes']} classes. {data['note']} "
        f"The examples were shuffled and divided into {folds} folds that keep the proportions of the classes; each "
        "fold validates once while the others train. Pixels were scaled to mean 0 and standard deviation 1 by the two "
        "numbers of the training part alone."
    )


def _network(study: dict[str, Any]) -> str:
    networks = {
        "mlp": "Two hidden layers of 512 rectified units.",
        "cnn": "Two 3 × 3 convolutions of 16 and 32 maps, each rectified and max-pooled, then a hidden layer of 128 "
        "rectified units.",
    }
    return (
        f"{networks[study['config']['model']]} Noise acts on the inputs and after each hidden activation, never on the "
        "output. A drop probability is limited to 0.2 at the inputs and to 0.25 after convolutions; a standard "
        "deviation is the same everywhere; methods that drop whole feature maps act after convolutions only. "
        f"Here: {_placements(study)}."
    )


def _placements(study: dict[str, Any]) -> str:
    hidden = ("conv", "dense") if study["config"]["model"] == "cnn" else ("dense",)
    words = {"input": "inputs", "conv": "after convolutions", "dense": "after hidden layers"}
    described = []
    for label, strengths in study["strengths"].items():
        sites = [f"{words[site]} {strengths[site]:g}" for site in ("input", *hidden) if strengths[site] is not None]
        described.append(f"{label}: {', '.join(sites) or 'no noise'}")
    return "; ".join(described)


def _training(study: dict[str, Any]) -> str:
    config = study["config"]
    trainings = "1 training" if config["seeds"] == 1 else f"{config['seeds']} trainings"
    return (
        f"Adam at learning rate {config['lr']:g}, batches of {config['batch_size']}, {config['epochs']} epochs for "
        f"every method, {trainings} per fold. For the same fold and seed, every method starts from the same initial "
        "parameters and sees the same batches in the same order. Nothing was tuned and nothing stopped early: all "
        "numbers are those after the last epoch. Noise slows learning, so a curve that still falls at the end means "
        "that its method would gain from more epochs."
    )


def _numbers(study: dict[str, Any]) -> str:
    workers = study["workers"]
    load = "one run at a time" if workers == 1 else f"{workers} runs at once, which can slow each other down"
    return (
        "Training and validation figures are measured in the same way, after an epoch and with the noise off. The gap "
        "is training minus validation accuracy. Seeds are averaged within a fold; a figure is the mean over folds ± "
        "their standard deviation. Only runs that came to their end count. Seconds per epoch are the (lower) median "
        f"over a run's epochs, without the measuring, on one thread with {load}."
    )
