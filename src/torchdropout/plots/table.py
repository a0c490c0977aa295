"""Which picture each method of the catalogue has: a literal table, in the gallery's order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torchdropout.catalog import Method
from torchdropout.plots import blocks, maps, network, recipes, recurrent, sequences, tokens
from torchdropout.plots.passes import Strength
from torchdropout.plots.picture import Picture

Build = Callable[[Method, Strength, int, str], Picture]


@dataclass(frozen=True)
class Entry:
    """How a method is drawn.

    Attributes:
        group: Its group in the gallery.
        build: Makes the picture from a row, a strength, a seed and the note.
        note: What is to be seen.
        strength: The strength that shows it best, where the catalogue's default does not.
        seed: Whose draws are shown.
    """

    group: str
    build: Build
    note: str
    strength: Strength = None
    seed: int = 0


_DENSE, _BAYES, _CONV, _INPUT, _DEPTH, _LSTM = GROUPS = (
    "Dense layers", "Bayesian", "Convolutional layers", "Inputs", "Attention, sequences and depth", "Recurrent layers",
)  # fmt: skip

_UNITS = "Numbers and colours are the units' values; blue connections are positive, dashed orange ones negative. "
_LINES = "Blue connections are positive, dashed orange ones negative, thicker ones larger"
_CROSSED = "Crossed units are dropped, and their dotted connections carry nothing"
_KEPT = "kept ones are divided by the keep probability."
_TAPS = "Kernels: purple is positive, orange negative."
_UNROLLED = "An LSTM, step by step: discs are {}, blue arrows what stays of the old ones, orange arrows what is new. "
_CURVES = "The outputs of both kernels are in colour, those without noise in grey."

ENTRIES: dict[str, Entry] = {
    "dropout": Entry(_DENSE, network.units, f"{_UNITS}{_CROSSED}; {_KEPT}"),
    "alpha": Entry(
        _DENSE, recipes.selu_units,
        f"{_UNITS}Crossed units are dropped: they take a value below zero, not zero, and all are scaled and moved, so "
        "that mean and variance stay what SELU keeps them at.", 0.2,
    ),
    "standout": Entry(
        _DENSE, network.standout,
        f"{_CROSSED}. Under each hidden unit stands how likely it is kept: large ones more likely. At test, values are "
        "multiplied by that. (Here with alpha = 2.)", seed=1,
    ),
    "stochastic-rate": Entry(
        _DENSE, network.units,
        f"{_CROSSED}. Each layer draws its own rate at every pass, from 0 to `high`, so the number of dropped units "
        "varies more than dropout's; kept ones are divided by the keep probability, but at most times 1.5.", 0.7, 3,
    ),
    "gaussian": Entry(
        _DENSE, recipes.gaussian,
        f"{_UNITS}No unit is dropped: each hidden one is multiplied by normal noise of mean 1, whose variance is that "
        "of dropout's own noise.",
    ),
    "fast-dropout": Entry(
        _DENSE, recipes.fast,
        "The right column is the layer's output, before its activation. No unit is dropped: a sum over random masks is "
        "nearly normal, so one normal number for each output, of the same mean and variance, takes its place.",
    ),
    "dropconnect": Entry(
        _DENSE, network.dropconnect,
        f"{_LINES}, dotted ones dropped; no unit is. The lowest unit on the left is the constant 1, whose connections "
        "are the biases. Test shows the mean.",
    ),
    "mixout": Entry(
        _DENSE, network.mixout,
        f"{_LINES}. Grey ones have their pre-trained weights back, all that lead out of a unit at once; the others go "
        "as far beyond their own as keeps the mean.",
    ),
    "variational-dropout": Entry(
        _BAYES, recipes.variational_units,
        f"{_UNITS}Each hidden unit is multiplied by normal noise of mean 1, whose variance alpha = p/(1-p) is learned.",
    ),
    "variational": Entry(
        _BAYES, recipes.variational,
        f"{_LINES}. Each weight is multiplied by normal noise of mean 1, whose variance alpha = p/(1-p) is learned. "
        "The right column is the output of such weights.",
    ),
    "variational1d": Entry(
        _BAYES, recipes.variational1d,
        f"{_CURVES} The noise of the weights is drawn at each position of the output by itself, larger where the "
        "signal is.", 0.2,
    ),
    "variational2d": Entry(
        _BAYES, recipes.variational2d,
        "The noise of the weights is drawn at each position of the output by itself, larger where the image is bright, "
        f"as its sky is. {_TAPS}", 0.05,
    ),
    "sparse-variational": Entry(
        _BAYES, recipes.sparse,
        f"{_LINES}. Each has normal noise of its own learned variance. At test there is no noise, and weights that "
        "were mostly noise are removed: the dotted ones."
    ),
    "sparse-variational1d": Entry(
        _BAYES, recipes.sparse1d,
        f"{_CURVES} At test there is no noise, and weights that were mostly noise are removed: the crossed ones."
    ),
    "sparse-variational2d": Entry(
        _BAYES, recipes.sparse2d,
        "In training, the noise of the weights is in the maps. At test there is none, and weights that were mostly "
        f"noise are removed: the hatched ones. {_TAPS}"
    ),
    "log-normal": Entry(
        _BAYES, recipes.log_normal,
        "Each map is multiplied by a random gate between 0 and 1, whose law is learned. At test the gate is its mean, "
        "and maps whose gate was mostly noise are removed: the crossed one.",
    ),
    "concrete": Entry(
        _BAYES, recipes.concrete_units,
        f"{_UNITS}Multipliers are nearly 0 or 1/keep, but smooth, so that p is learned by gradients. Crossed: less "
        "than a hundredth is left.", 0.3,
    ),
    "concrete1d": Entry(
        _BAYES, recipes.concrete1d,
        "All steps of a feature share a multiplier, which may be anything between 0 and 1/keep, so that p is learned "
        "by gradients.", 0.3,
    ),
    "concrete2d": Entry(
        _BAYES, recipes.concrete2d,
        "All pixels of a map share a multiplier, which may be anything between 0 and 1/keep, so that p is learned by "
        "gradients.", 0.3,
    ),
    "dropout1d": Entry(
        _CONV, recipes.channels, f"A feature is dropped at all steps at once: the hatched rows; {_KEPT}", 0.5,
    ),
    "dropout2d": Entry(_CONV, recipes.of_maps, f"Crossed feature maps are dropped, each as a whole; {_KEPT}", 0.5, 6),
    "dropout3d": Entry(
        _CONV, recipes.volumes,
        "A row is one feature map of a volume, its slices side by side. Crossed maps are dropped, with all their "
        f"slices at once; {_KEPT}", 0.5, 6,
    ),
    "feature-alpha": Entry(
        _CONV, recipes.selu_maps,
        "Crossed feature maps are dropped: they take one value below zero everywhere, and all are scaled and moved, so "
        "that mean and variance stay what SELU keeps them at.", 0.3,
    ),
    "dropconnect1d": Entry(
        _CONV, sequences.kernels,
        f"Crossed weights of a kernel are dropped, at every position of the signal alike. {_CURVES}",
    ),
    "dropconnect2d": Entry(
        _CONV, maps.kernels, f"Hatched weights of a kernel are dropped, at every position of the image alike. {_TAPS}",
    ),
    "max-pool1d": Entry(
        _CONV, sequences.pooling,
        "Two neighbours of one colour are pooled. Hatched ones are dropped before the larger is taken; test has the "
        "mean of what may come out.",
    ),
    "max-pool2d": Entry(
        _CONV, maps.pooling,
        "Hatched pixels of the digit are dropped before the largest of each 2 x 2 window is taken; test has the mean "
        "of what may come out.",
    ),
    "avg-pool1d": Entry(
        _CONV, sequences.pooling,
        "Two neighbours of one colour are pooled. Hatched ones are dropped before the average is taken; test has keep "
        "times the average.",
    ),
    "avg-pool2d": Entry(
        _CONV, maps.pooling,
        "Hatched pixels of the digit are dropped before the average of each 2 x 2 window is taken; test has keep times "
        "the average.",
    ),
    "max-drop": Entry(
        _CONV, recipes.maxima,
        "The largest value of a feature map is dropped, if the map's own draw says so: the hatched square, here with "
        "its neighbours (window = 5).", 0.5,
    ),
    "drop-block1d": Entry(
        _CONV, recipes.blocks1d,
        "Blocks of five steps are dropped, in each feature by itself: the hatched ones; what is kept is scaled.", 0.2,
    ),
    "drop-block2d": Entry(
        _CONV, recipes.large_maps,
        "Blocks of 7 x 7 pixels are dropped, in each feature map by itself: the hatched ones; what is kept is scaled.",
    ),
    "gaussian-noise": Entry(
        _INPUT, recipes.gaussian_noise, "Normal noise is added to every pixel and colour by itself. Test has none.",
    ),
    "cutout": Entry(
        _INPUT, recipes.cutout,
        "The hatched square is set to zero in all colours. Its centre may be any pixel, so part of it may lie outside.",
    ),
    "patch-dropout": Entry(
        _INPUT, tokens.patches,
        "Hatched patches are left out, and the transformer is given a shorter sequence, which stands below.",
    ),
    "embedding-dropout": Entry(
        _INPUT, tokens.embedding,
        "Beside each word is its vector. A dropped word is dropped wherever it stands: look at `the`. Kept vectors are "
        "divided by the keep probability.", 0.3,
    ),
    "word-dropout": Entry(
        _INPUT, tokens.words,
        "Each word by itself is replaced by the unknown word: one `the` may go, another stay.", 0.3,
    ),
    "locked": Entry(
        _DEPTH, sequences.locked,
        "Two sequences, one above the other. A feature is dropped at all steps of a sequence at once: the hatched "
        "rows. Each sequence has its own draw.",
    ),
    "drop-key": Entry(
        _DEPTH, tokens.attention,
        "A row shows how a word weighs the words above. Crossed keys are dropped before the softmax, so each row still "
        "sums to one.", 0.3,
    ),
    "drop-path": Entry(
        _DEPTH, blocks.branches,
        "Four residual blocks, from below: the black line carries on, and a branch f adds to it. Crossed branches are "
        f"dropped, for each example by itself; {_KEPT}", 0.4,
    ),
    "layer-drop": Entry(
        _DEPTH, blocks.layers,
        "Five layers, from below. Crossed layers are skipped by the whole batch; nothing is rescaled.", 0.4, 2,
    ),
    "variational-rnn": Entry(
        _LSTM, recurrent.gates,
        "What reaches the gates i, f, g, o of an LSTM at four steps: units of its state, and inputs. Hatched ones are "
        f"dropped, for each gate by itself but at all steps of a sequence alike; {_KEPT}", 0.4,
    ),
    "rnn-drop": Entry(
        _LSTM, recurrent.cells,
        _UNROLLED.format("cell states") + "Crossed ones are dropped: the same at all steps of a sequence, others in "
        "another sequence. Nothing is divided by keep; at test, outputs are multiplied by it.", 0.4, 5,
    ),
    "recurrent-dropout": Entry(
        _LSTM, recurrent.updates,
        _UNROLLED.format("cell states") + "Dotted ones are dropped, at each step anew, and thick ones divided by the "
        "keep probability; what stays is never dropped.", 0.4,
    ),
    "zoneout": Entry(
        _LSTM, recurrent.zones,
        "An LSTM, step by step: discs are states of one sequence. A blue arrow carries a unit's old state over as it "
        "is, an orange one brings what the LSTM makes anew. Each unit of each step is drawn by itself; at test, all "
        "take a mean of both.", 0.4,
    ),
    "weight-drop": Entry(
        _LSTM, recurrent.matrices,
        "The matrices from the units of an LSTM's state (columns) to the gates i, f, g, o of all units (rows). Hatched "
        "weights are dropped: the same at all steps of all sequences of a pass. Purple is positive, orange negative.",
    ),
}  # fmt: skip
