"""The protocol in words, from what a study stored."""

from __future__ import annotations

from typing import Any

from torchdropout.study import additions
from torchdropout.study.conditions import SITES_OF
from torchdropout.study.datasets.words import LEAST, LONGEST
from torchdropout.study.naming import PLAIN, PLUS
from torchdropout.study.reporting import words

PREPARED = "Scaling, encoding and imputation were fitted on the training part alone."
TEXT_PREPARED = (
    f"Texts are words in lower case. Words that occur at least {LEAST} times in the training part have a number, all "
    f"others share that of the unknown word; a text is read as far as the longest of the training part goes, and no "
    f"further than {LONGEST} words."
)


RECIPE = (
    "The recipe changes more than the noise: its hidden layers are wider, so that it begins from values of its own, it "
    "trains by SGD with momentum 0.95, whatever the others do, and its learning rate falls to a hundredth."
)
_SELU = (
    " Hidden layers begin with LeCun's normal weights and biases of zero (Klambauer et al., Self-Normalizing Neural "
    "Networks, NIPS 2017); methods for SELU act on its activations, not on inputs."
)


def paragraphs(study: dict[str, Any]) -> list[str]:
    """What was done, what the numbers are, and what they are not."""
    added = _added(study)
    told = [_data(study), _network(study), *([added] if added else []), _training(study), _choice(study)]
    return [*told, _numbers(study), _statistics(study)]


def _data(study: dict[str, Any]) -> str:
    data, config = study["data"], study["config"]
    kind = (
        f"{len(data['classes'])} classes" if data["classes"] else f"a regression on {config['target'] or 'the target'}"
    )
    split = f", and a given test split of {data['test_examples']:,}" if data["test_examples"] else ""
    found = f"{data['name']}: {data['examples']:,} examples{split}, {data['description']}, {kind}. {data['note']}"
    logs = (
        " The logarithm of the target was learnt; errors are in the target's own units." if config["log_target"] else ""
    )
    prepared = TEXT_PREPARED if data["text"] else PREPARED
    return f"{found.rstrip()} {_division(study)} {prepared}{logs}"


def _division(study: dict[str, Any]) -> str:
    config = study["config"]
    if study["judge"] == "test":
        return (
            "Every network trained on all training examples; the given test split judged, and nothing was chosen on it."
        )
    kept = " that keep the proportions of the classes" if study["metric"] == "accuracy" else ""
    anew = f" This was done {config['repeats']} times, divided anew." if config["repeats"] > 1 else ""
    test = " Every run was measured once on the test split, at its end." if study["data"]["test_examples"] else ""
    return (
        f"The examples were shuffled and divided into {config['folds']} folds{kept}; each fold judged once while the "
        f"others trained.{anew}{test}"
    )


_TOKENS = {False: "Patches of the image", True: "Vectors of words and their positions"}
_MEAN = {
    False: "the mean over patches",
    True: "the mean over a text's words, a linear layer; the inputs are the words' vectors, and padding has no part",
}


def _network(study: dict[str, Any]) -> str:
    config, data = study["config"], study["data"]
    widths = " and ".join(str(width) for width in config["widths"])
    selu = config.get("activation") == "selu"
    units, activated = ("SELU units", "passed through SELU") if selu else ("rectified units", "rectified")
    kernel = " × ".join("3" * (study["data"].get("dims") or 2))
    networks = {
        "linear": "A linear network, with noise at its inputs.",
        "mlp": f"Hidden layers of {widths} {units}.",
        "transformer": f"{_TOKENS[data['text']]}, two blocks of attention and rectified units, {_MEAN[data['text']]}.",
        "lstm": "Vectors of words, an LSTM in the direction of the text, the largest value of each of its outputs over "
        "the words, a linear layer; the inputs are the words' vectors, the hidden activations those largest values.",
        "cnn": f"Two convolutions with kernels of {kernel}, each {activated} and max-pooled, then a hidden layer of "
        f"{units}.",
    }
    shares = ", and in proportion to a hidden layer's width" if config.get("p_by_width") else ""
    network = networks.get(config["model"], f"The network of {config['model']}.")
    return (
        f"{network}{_SELU if selu else ''} Noise acts on the inputs and "
        "after hidden activations, never on the output. A drop probability is limited to 0.2 at the inputs and to 0.25 "
        f"after convolutions{shares}; a standard deviation is the same everywhere; methods that drop whole feature "
        f"maps act after convolutions only. Here: {_placements(study)}."
    )


_ELSEWHERE = {
    "inputs": "on whole examples",
    "weights": "in place of every linear layer, and of convolutions where it has them",
    "hidden weights": "in place of hidden linear layers",
    "kernels": "in place of convolutions",
    "pools": "in place of pooling",
    "attention": "in attention",
    "branches": "on residual branches",
    "layers": "around blocks",
    "patches": "on patches",
    "sequences": "on sequences",
    "recurrent": "inside the LSTM",
    "words": "on words",
}
_ELSEWHERE_IN = {
    "lstm": {
        "sequences": "on the words' vectors and on the LSTM's outputs, alike for all words of a text",
        "weights": "in place of the output's linear layer",
    }
}


def _placements(study: dict[str, Any]) -> str:
    places = {"input": "inputs", "conv": "after convolutions", "dense": "after hidden layers"}
    absent = {"linear": {"conv", "dense"}, "mlp": {"conv"}, "lstm": {"conv"}, "transformer": {"conv"}}.get(
        study["config"]["model"], set()
    )
    elsewhere = _ELSEWHERE | _ELSEWHERE_IN.get(study["config"]["model"], {})
    described = []
    for label, method in study["methods"].items():
        stands_on = _stands_on(method)
        if method.get("place", "activations") not in ("", *SITES_OF):
            described.append(f"{label}{stands_on}: {elsewhere[method['place']]}")
            continue
        at = {site: value for site, value in method["sites"].items() if value is not None and site not in absent}
        sites = ", ".join(f"{places.get(site, site)} {value:g}" for site, value in at.items())
        first = f", at {method['argument']} {method['candidates'][0]:g}" if len(method["candidates"]) > 1 else ""
        described.append(f"{label}{stands_on}{first}: {sites or 'no noise'}")
    return "; ".join(described)


def _stands_on(method: dict[str, Any]) -> str:
    """The noise that a name implies and does not say."""
    implied = method["added"] and method["noise"] != PLAIN and method["noise"] not in method["method"].split(PLUS)
    return f", with {method['noise']}" if implied else ""


def _added(study: dict[str, Any]) -> str:
    """What joined the noise, each once, and that figures are not of it."""
    named = {name for method in study["methods"].values() for name in method["added"]}
    told = [f"{row.name} ({row.title}): {row.what}" for row in additions.ADDITIONS if row.name in named]
    if not told:
        return ""
    recipe = f" {RECIPE}" if "recipe" in named else ""
    return (
        f"Additions: {'; '.join(told)}. Penalties are on matrices and filters, not on biases or normalisations. What "
        f"joins the loss trains alone: every curve and figure is of the loss of the data.{recipe}"
    )


def _training(study: dict[str, Any]) -> str:
    config = study["config"]
    trainings = "1 training" if config["seeds"] == 1 else f"{config['seeds']} trainings"
    more = f", weight decay {config['weight_decay']:g}" if config["weight_decay"] else ""
    more += f", a {config['schedule']} schedule" if config["schedule"] != "constant" else ""
    more += f", autocast to {config['autocast']}" if config["autocast"] != "none" else ""
    return (
        f"Optimizer {config['optimizer']} at learning rate {config['lr']:g}{more}, batches of {config['batch_size']}, "
        f"{trainings} per {'fold' if study['judge'] == 'val' else 'method'}. For the same fold and seed, every method "
        f"starts from the same initial parameters and sees the same batches in the same order. {_ending(config)}"
    )


def _ending(config: dict[str, Any]) -> str:
    if config["patience"] is None:
        return f"Every run lasted {config['epochs']} epochs; nothing stopped early. Noise slows learning."
    return (
        f"A run stopped when the loss on an inner validation part (a fifth of its training data) had not fallen for "
        f"{config['patience']} epochs, after {config['epochs']} at most; its best weights were kept."
    )


def _choice(study: dict[str, Any]) -> str:
    choices = [method["candidates"] for method in study["methods"].values()]
    choices += [each["candidates"] for method in study["methods"].values() for each in method["added"].values()]
    if not any(len(candidates) > 1 for candidates in choices):
        return "Every method had one strength, named before the study; nothing was tuned."
    return (
        "Where a method had several strengths, each run trained once with each on four fifths of its training data, "
        "took the one with the lowest loss on the inner fifth, and trained again on all of it. Where it had several of "
        "more than one kind, each combination was one to choose. The part that judges took no part in the choice."
    )


def _numbers(study: dict[str, Any]) -> str:
    said, workers = words.of(study), study["workers"]
    load = "one run at a time" if workers == 1 else f"{workers} runs at once, which can slow each other down"
    gap = "training minus {0}" if said.percent else "{0} minus training"
    kinds = (
        "NLL is the cross-entropy in nats; ECE is the expected calibration error over 15 bins of confidence"
        if said.percent
        else "NLL is that of a normal distribution whose variance is the training part's mean squared error, in nats"
    )
    return (
        "All figures are measured in the same way, with the noise off but where it is said. The gap is "
        f"{gap.format(said.part)} {said.score}: positive is overfitting. {kinds}. Only runs that came to their end "
        f"count. Seconds per epoch leave out the measuring, with {load}.{_passes(study)}"
    )


def _passes(study: dict[str, Any]) -> str:
    """What was measured with the noise on."""
    count = study["config"].get("mc")
    if not count:
        return ""
    return (
        f" After training the part that judges was measured with the noise on, too, by the mean of {count} passes. "
        "Their noise has keys of its own and changes nothing else. No verdict is about it."
    )


def _statistics(study: dict[str, Any]) -> str:
    if study["judge"] == "test":
        return (
            "Runs differ by seed only. Differences from none are paired by seed and tested by the paired t-test, "
            "Holm-adjusted over all methods at 5 %. Intervals are 95 % intervals over seeds, each for itself. All of "
            "this is about training on these examples, judged by this test split: another sample of either could turn "
            "it around, and these figures cannot say how probable that is."
        )
    return (
        "Seeds are averaged within a fold. Differences from none are paired by fold and tested by the corrected "
        "resampled t-test (Nadeau and Bengio, Machine Learning 52, 2003): folds share training data and are not "
        "independent, so the variance of a mean over J values is taken as (1/J + judged/trained) s². P-values are "
        "Holm-adjusted over all methods; a verdict is given below 5 %. Intervals are 95 % intervals by the same "
        "variance, each for itself: one can exclude zero where the adjusted verdict finds no evidence. No evidence is "
        "not evidence of no difference: the interval shows what differences remain possible."
    )
