"""The literal table of methods: it drives `torchdropout methods`, the docs and the conformance tests."""

from __future__ import annotations

from dataclasses import dataclass

# Where methods go in a network, and which built-in models have such a place.
PLACES: dict[str, tuple[str, ...]] = {
    "activations": ("linear", "mlp", "cnn", "transformer", "lstm"),
    "SELU activations": ("mlp", "cnn"),
    "inputs": ("linear", "mlp", "cnn", "transformer"),
    "weights": ("linear", "mlp", "cnn", "transformer", "lstm"),
    "hidden weights": ("mlp", "cnn", "transformer"),
    "kernels": ("cnn", "transformer"),
    "maps": ("cnn",),
    "SELU maps": ("cnn",),
    "pools": ("cnn",),
    "attention": ("transformer",),
    "branches": ("transformer",),
    "layers": ("transformer",),
    "patches": ("transformer",),
    "sequences": ("transformer", "lstm"),
    "recurrent": ("lstm",),
    "words": ("transformer", "lstm"),
}

# What examples with so many axes of positions are called.
RANKS: dict[int, str] = {1: "sequences", 2: "images", 3: "volumes"}


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the catalogue.

    Attributes:
        name: What the command line calls it.
        title: The method's usual name.
        layer: The public class, an attribute of `torchdropout`; where the place is `recurrent`, a kind that is given to
            a recurrent layer.
        function: The public function, an attribute of `torchdropout.functional`; empty for recurrent kinds.
        noise: The distribution of the multiplier (or of what is added).
        shared: Which axes share one draw.
        target: What the noise acts on.
        test_time: What happens in eval mode.
        reference: Authors, title, venue, year.
        input_shape: The shape of an input that shows the method's sharing pattern.
        place: Where it goes in a network, a key of `PLACES`.
        dims: How many axes of positions its maps have, a key of `RANKS`; None where that does not matter.
        argument: The name of the strength's argument: a drop probability `p`, a standard deviation `std` or another;
            empty where the method has none. For recurrent kinds `p` stands for all of their probabilities.
        default: The strength that a comparison uses when none is named.
    """

    name: str
    title: str
    layer: str
    function: str
    noise: str
    shared: str
    target: str
    test_time: str
    reference: str
    input_shape: tuple[int, ...]
    place: str
    dims: int | None = None
    argument: str = "p"
    default: float = 0.5

    @property
    def models(self) -> tuple[str, ...]:
        """The built-in models of `torchdropout compare` that the method can be placed in.

        The transformer reads images or texts, which leaves out the rows for sequences and volumes.
        """
        return tuple(m for m in PLACES[self.place] if m != "transformer" or self.dims in (None, 2))

    @property
    def needs_selu(self) -> bool:
        """Whether it acts on the activations of SELU, whose mean and variance it keeps, and on no others."""
        return self.place.startswith("SELU")

    @property
    def family(self) -> str:
        """The name without its number of axes: `drop-block` of `drop-block2d`."""
        return self.name.removesuffix(f"{self.dims}d")

    @property
    def is_kind(self) -> bool:
        """Whether it is a kind of recurrent dropout: neither a module of its own nor a function, and so of no shape."""
        return self.place == "recurrent"

    @property
    def usage(self) -> str:
        """What one writes to have it: the layer's name, or a recurrent layer that is given the kind."""
        return f"LSTM(recurrent={self.layer}(...))" if self.is_kind else self.layer


_SRIVASTAVA = "Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov. Dropout. JMLR 15, 2014"
_TOMPSON = "Tompson et al. Efficient Object Localization Using Convolutional Networks. CVPR 2015, arXiv:1411.4280"
_KLAMBAUER = "Klambauer et al. Self-Normalizing Neural Networks. NIPS 2017, arXiv:1706.02515"
_WU = "Wu, Gu. Towards Dropout Training for Convolutional Neural Networks. Neural Networks 71, 2015, arXiv:1512.00242"
_WAN = "Wan, Zeiler, Zhang, LeCun, Fergus. Regularization of Neural Networks using DropConnect. ICML 2013"
_PARK = "Park, Kwak. Analysis on the Dropout Effect in Convolutional Neural Networks. ACCV 2016"
_GHIASI = "Ghiasi, Lin, Le. DropBlock. NeurIPS 2018, arXiv:1810.12890"
_MOLCHANOV = (
    "Molchanov, Ashukha, Vetrov. Variational Dropout Sparsifies Deep Neural Networks. ICML 2017, arXiv:1701.05369"
)
_CONCRETE = "Gal, Hron, Kendall. Concrete Dropout. NIPS 2017, arXiv:1705.07832"
_KINGMA = (
    "Kingma, Salimans, Welling. Variational Dropout and the Local Reparameterization Trick. NIPS 2015, arXiv:1506.02557"
)

METHODS: tuple[Method, ...] = (
    Method(
        "dropout", "Dropout", "Dropout", "dropout",
        noise="Bernoulli / keep", shared="nothing", target="activations", test_time="identity",
        reference=_SRIVASTAVA, input_shape=(64, 128), place="activations",
    ),
    Method(
        "dropout1d", "Spatial dropout, sequences", "Dropout1d", "dropout1d",
        noise="Bernoulli / keep", shared="length", target="feature maps", test_time="identity",
        reference=_TOMPSON, input_shape=(32, 64, 8), default=0.2, place="maps", dims=1,
    ),
    Method(
        "dropout2d", "Spatial dropout, images", "Dropout2d", "dropout2d",
        noise="Bernoulli / keep", shared="height, width", target="feature maps", test_time="identity",
        reference=_TOMPSON, input_shape=(32, 64, 4, 4), default=0.2, place="maps", dims=2,
    ),
    Method(
        "dropout3d", "Spatial dropout, volumes", "Dropout3d", "dropout3d",
        noise="Bernoulli / keep", shared="depth, height, width", target="feature maps", test_time="identity",
        reference=_TOMPSON, input_shape=(32, 64, 2, 2, 2), default=0.2, place="maps", dims=3,
    ),
    Method(
        "alpha", "Alpha dropout", "AlphaDropout", "alpha_dropout",
        noise="Bernoulli, then an affine map", shared="nothing", target="SELU activations", test_time="identity",
        reference=_KLAMBAUER, input_shape=(64, 128), default=0.1, place="SELU activations",
    ),
    Method(
        "feature-alpha", "Feature alpha dropout", "FeatureAlphaDropout", "feature_alpha_dropout",
        noise="Bernoulli, then an affine map", shared="all but batch and channel", target="SELU feature maps",
        test_time="identity", reference=_KLAMBAUER, input_shape=(32, 64, 4, 4), default=0.1,
        place="SELU maps",
    ),
    Method(
        "gaussian", "Gaussian dropout", "GaussianDropout", "gaussian_dropout",
        noise="Normal(1, p/(1-p))", shared="nothing", target="activations", test_time="identity",
        reference=_SRIVASTAVA + ", section 10", input_shape=(64, 128), place="activations",
    ),
    Method(
        "gaussian-noise", "Gaussian noise", "GaussianNoise", "gaussian_noise",
        noise="Normal(0, std**2), added", shared="nothing", target="activations", test_time="identity",
        reference="Bishop. Training with Noise is Equivalent to Tikhonov Regularization. Neural Computation 7, 1995",
        input_shape=(64, 128), argument="std", default=0.2, place="activations",
    ),
    Method(
        "dropconnect", "DropConnect", "DropConnectLinear", "dropconnect",
        noise="Bernoulli", shared="nothing", target="weights and biases",
        test_time="the mean of a normal's activation", reference=_WAN, input_shape=(64, 128), place="hidden weights",
    ),
    Method(
        "dropconnect1d", "DropConnect, sequences", "DropConnectConv1d", "dropconnect",
        noise="Bernoulli", shared="positions", target="weights and biases",
        test_time="the mean of a normal's activation", reference=_WAN, input_shape=(32, 16, 8), place="kernels", dims=1,
    ),
    Method(
        "dropconnect2d", "DropConnect, images", "DropConnectConv2d", "dropconnect",
        noise="Bernoulli", shared="positions", target="weights and biases",
        test_time="the mean of a normal's activation", reference=_WAN, input_shape=(32, 16, 4, 4),
        place="kernels", dims=2,
    ),
    Method(
        "mixout", "Mixout", "MixoutLinear", "mixout",
        noise="Bernoulli / keep", shared="batch and outputs", target="distances from pre-trained weights",
        test_time="identity",
        reference="Lee, Cho, Kang. Mixout: Effective Regularization to Finetune Large-scale Pretrained Language "
        "Models. ICLR 2020, arXiv:1909.11299",
        input_shape=(64, 128), place="weights",
    ),
    Method(
        "standout", "Standout (adaptive dropout)", "StandoutLinear", "standout",
        noise="Bernoulli(pi(x))", shared="nothing", target="activations", test_time="times pi(x)",
        reference="Ba, Frey. Adaptive dropout for training deep neural networks. NIPS 2013",
        input_shape=(64, 128), argument="beta", default=0.0, place="hidden weights",
    ),
    Method(
        "fast-dropout", "Fast dropout", "FastDropoutLinear", "fast_dropout_linear",
        noise="Normal(mu, s**2)", shared="nothing", target="pre-activations", test_time="identity, or the moments",
        reference="Wang, Manning. Fast dropout training. ICML 2013, PMLR 28(2):118-126",
        input_shape=(64, 128), place="weights",
    ),
    Method(
        "stochastic-rate", "Stochastic dropout (random rate)", "StochasticRateDropout", "stochastic_rate_dropout",
        noise="Bernoulli of a random rate", shared="nothing", target="activations", test_time="identity",
        reference=_PARK, input_shape=(64, 128), argument="high", default=0.4, place="activations",
    ),
    Method(
        "variational-dropout", "Variational dropout, type A", "VariationalDropout", "variational_dropout",
        noise="Normal(1, alpha)", shared="nothing", target="activations", test_time="identity",
        reference=_KINGMA, input_shape=(64, 128), place="activations",
    ),
    Method(
        "variational", "Variational dropout, type B", "VariationalLinear", "variational_linear",
        noise="Normal(1, alpha)", shared="nothing", target="weights", test_time="mean weights",
        reference=_KINGMA, input_shape=(64, 128), place="weights",
    ),
    Method(
        "variational1d", "Variational dropout, sequences", "VariationalConv1d", "variational_linear",
        noise="Normal(1, alpha)", shared="nothing", target="weights", test_time="mean weights",
        reference=_KINGMA, input_shape=(16, 32, 8), place="kernels", dims=1,
    ),
    Method(
        "variational2d", "Variational dropout, images", "VariationalConv2d", "variational_linear",
        noise="Normal(1, alpha)", shared="nothing", target="weights", test_time="mean weights",
        reference=_KINGMA, input_shape=(16, 32, 6, 6), place="kernels", dims=2,
    ),
    Method(
        "sparse-variational", "Sparse variational dropout", "SparseVariationalLinear", "sparse_variational_linear",
        noise="Normal(0, sigma**2), added", shared="nothing", target="weights", test_time="noisy weights are zero",
        reference=_MOLCHANOV, input_shape=(64, 128), argument="", default=0.0, place="weights",
    ),
    Method(
        "sparse-variational1d", "Sparse variational dropout, sequences", "SparseVariationalConv1d",
        "sparse_variational_linear",
        noise="Normal(0, sigma**2), added", shared="nothing", target="weights", test_time="noisy weights are zero",
        reference=_MOLCHANOV, input_shape=(16, 32, 8), argument="", default=0.0, place="kernels", dims=1,
    ),
    Method(
        "sparse-variational2d", "Sparse variational dropout, images", "SparseVariationalConv2d",
        "sparse_variational_linear",
        noise="Normal(0, sigma**2), added", shared="nothing", target="weights", test_time="noisy weights are zero",
        reference=_MOLCHANOV, input_shape=(16, 32, 6, 6), argument="", default=0.0, place="kernels", dims=2,
    ),
    Method(
        "log-normal", "Log-normal dropout (structured Bayesian pruning)", "LogNormalDropout", "log_normal_dropout",
        noise="truncated log-normal", shared="all but the channel", target="feature maps", test_time="times the mean",
        reference="Neklyudov, Molchanov, Ashukha, Vetrov. Structured Bayesian Pruning via Log-Normal Multiplicative "
        "Noise. NIPS 2017, arXiv:1705.07283",
        input_shape=(32, 64, 4, 4), argument="", default=0.0, place="activations",
    ),
    Method(
        "concrete", "Concrete dropout", "ConcreteDropout", "concrete_dropout",
        noise="relaxed Bernoulli / keep", shared="nothing", target="activations",
        test_time="times the mean", reference=_CONCRETE, input_shape=(64, 128), default=0.1, place="weights",
    ),
    Method(
        "concrete1d", "Concrete dropout, sequences", "ConcreteDropout1d", "concrete_dropout",
        noise="relaxed Bernoulli / keep", shared="length", target="feature maps",
        test_time="times the mean", reference=_CONCRETE, input_shape=(32, 64, 8), default=0.1, place="kernels", dims=1,
    ),
    Method(
        "concrete2d", "Concrete dropout, images", "ConcreteDropout2d", "concrete_dropout",
        noise="relaxed Bernoulli / keep", shared="height, width", target="feature maps",
        test_time="times the mean", reference=_CONCRETE, input_shape=(32, 64, 4, 4), default=0.1,
        place="kernels", dims=2,
    ),
    Method(
        "max-pool1d", "Max-pooling dropout, sequences", "MaxPoolDropout1d", "max_pool_dropout1d",
        noise="Bernoulli", shared="nothing", target="max-pooling windows",
        test_time="probabilistic weighted pooling", reference=_WU, input_shape=(32, 16, 8), place="pools", dims=1,
    ),
    Method(
        "max-pool2d", "Max-pooling dropout, images", "MaxPoolDropout2d", "max_pool_dropout2d",
        noise="Bernoulli", shared="nothing", target="max-pooling windows",
        test_time="probabilistic weighted pooling", reference=_WU, input_shape=(32, 16, 4, 4), place="pools", dims=2,
    ),
    Method(
        "avg-pool1d", "Average-pooling dropout, sequences", "AvgPoolDropout1d", "avg_pool_dropout1d",
        noise="Bernoulli", shared="nothing", target="average-pooling windows", test_time="keep times the average",
        reference=_SRIVASTAVA, input_shape=(32, 16, 8), place="pools", dims=1,
    ),
    Method(
        "avg-pool2d", "Average-pooling dropout, images", "AvgPoolDropout2d", "avg_pool_dropout2d",
        noise="Bernoulli", shared="nothing", target="average-pooling windows", test_time="keep times the average",
        reference=_SRIVASTAVA, input_shape=(32, 16, 4, 4), place="pools", dims=2,
    ),
    Method(
        "max-drop", "Max-Drop", "MaxDrop", "max_drop",
        noise="Bernoulli", shared="the window", target="maxima of feature maps", test_time="identity",
        reference=_PARK, input_shape=(32, 16, 4, 4), default=0.2, place="maps", dims=2,
    ),
    Method(
        "drop-block1d", "DropBlock, sequences", "DropBlock1d", "drop_block1d",
        noise="Bernoulli seeds of blocks", shared="the block", target="feature maps", test_time="identity",
        reference=_GHIASI, input_shape=(32, 16, 16), default=0.1, place="maps", dims=1,
    ),
    Method(
        "drop-block2d", "DropBlock, images", "DropBlock2d", "drop_block2d",
        noise="Bernoulli seeds of blocks", shared="the block", target="feature maps", test_time="identity",
        reference=_GHIASI, input_shape=(32, 16, 14, 14), default=0.1, place="maps", dims=2,
    ),
    Method(
        "cutout", "Cutout", "Cutout", "cutout",
        noise="a zero square at a random place", shared="channels", target="input images", test_time="identity",
        reference="DeVries, Taylor. Improved Regularization of Convolutional Neural Networks with Cutout. 2017, "
        "arXiv:1708.04552",
        input_shape=(256, 3, 8, 8), argument="size", default=0.5, place="inputs", dims=2,
    ),
    Method(
        "drop-path", "DropPath (stochastic depth)", "DropPath", "drop_path",
        noise="Bernoulli / keep", shared="all but the batch", target="residual branches", test_time="identity",
        reference="Huang et al. Deep Networks with Stochastic Depth. ECCV 2016, arXiv:1603.09382",
        input_shape=(2048, 4, 2), default=0.1, place="branches",
    ),
    Method(
        "layer-drop", "LayerDrop", "LayerDrop", "layer_drop",
        noise="Bernoulli", shared="everything", target="whole layers", test_time="the layer runs",
        reference="Fan, Grave, Joulin. Reducing Transformer Depth on Demand with Structured Dropout. ICLR 2020, "
        "arXiv:1909.11556",
        input_shape=(64, 128), default=0.1, place="layers",
    ),
    Method(
        "drop-key", "DropKey", "DropKey", "drop_key",
        noise="Bernoulli", shared="nothing", target="attention scores", test_time="identity",
        reference="Li et al. DropKey for Vision Transformer. CVPR 2023, arXiv:2208.02646",
        input_shape=(8, 4, 16, 16), default=0.1, place="attention",
    ),
    Method(
        "patch-dropout", "PatchDropout", "PatchDropout", "patch_dropout",
        noise="a random subset", shared="features", target="patch tokens", test_time="identity",
        reference="Liu et al. PatchDropout: Economizing Vision Transformers Using Patch Dropout. WACV 2023, "
        "arXiv:2208.07220",
        input_shape=(8, 65, 32), place="patches",
    ),
    Method(
        "locked", "Locked dropout", "LockedDropout", "locked_dropout",
        noise="Bernoulli / keep", shared="time", target="sequences", test_time="identity",
        reference="Gal, Ghahramani. A Theoretically Grounded Application of Dropout in Recurrent Neural Networks. "
        "NIPS 2016, arXiv:1512.05287",
        input_shape=(8, 32, 64), place="sequences",
    ),
    Method(
        "embedding-dropout", "Embedding dropout", "EmbeddingDropout", "embedding_dropout",
        noise="Bernoulli / keep", shared="occurrences of a word", target="word vectors", test_time="identity",
        reference="Gal, Ghahramani. A Theoretically Grounded Application of Dropout in Recurrent Neural Networks. "
        "NIPS 2016, arXiv:1512.05287",
        input_shape=(32, 20), default=0.1, place="words",
    ),
    Method(
        "word-dropout", "Word dropout", "WordDropout", "word_dropout",
        noise="Bernoulli", shared="nothing", target="token numbers", test_time="identity",
        reference="Bowman et al. Generating Sentences from a Continuous Space. CoNLL 2016, arXiv:1511.06349",
        input_shape=(32, 20), default=0.1, place="words",
    ),
    Method(
        "variational-rnn", "Variational RNN dropout", "Variational", "",
        noise="Bernoulli / keep", shared="time", target="inputs and states of gates", test_time="identity",
        reference="Gal, Ghahramani. A Theoretically Grounded Application of Dropout in Recurrent Neural Networks. "
        "NIPS 2016, arXiv:1512.05287",
        input_shape=(20, 8, 16), default=0.25, place="recurrent",
    ),
    Method(
        "rnn-drop", "RNNDrop", "CellDropout", "",
        noise="Bernoulli", shared="time", target="cell states", test_time="outputs times keep",
        reference="Moon, Choi, Lee, Song. RnnDrop: A Novel Dropout for RNNs in ASR. ASRU 2015",
        input_shape=(20, 8, 16), default=0.25, place="recurrent",
    ),
    Method(
        "recurrent-dropout", "Recurrent dropout without memory loss", "UpdateDropout", "",
        noise="Bernoulli / keep", shared="nothing", target="candidate values", test_time="identity",
        reference="Semeniuta, Severyn, Barth. Recurrent Dropout without Memory Loss. COLING 2016, arXiv:1603.05118",
        input_shape=(20, 8, 16), default=0.25, place="recurrent",
    ),
    Method(
        "zoneout", "Zoneout", "Zoneout", "",
        noise="Bernoulli", shared="nothing", target="state updates", test_time="the mean of old and new",
        reference="Krueger et al. Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations. ICLR 2017, "
        "arXiv:1606.01305",
        input_shape=(20, 8, 16), default=0.15, place="recurrent",
    ),
    Method(
        "weight-drop", "Weight drop", "WeightDrop", "",
        noise="Bernoulli / keep", shared="batch and time", target="recurrent weights", test_time="identity",
        reference="Merity, Keskar, Socher. Regularizing and Optimizing LSTM Language Models. ICLR 2018, "
        "arXiv:1708.02182",
        input_shape=(20, 8, 16), place="recurrent",
    ),
)  # fmt: skip


def names() -> list[str]:
    """The names of all methods, in the order of the table."""
    return [method.name for method in METHODS]


def get(name: str) -> Method:
    """The row called `name`.

    Raises:
        ValueError: No method is called `name`; the nearest name is suggested.
    """
    import difflib  # noqa: PLC0415 - only needed for the message of an error

    for method in METHODS:
        if method.name == name:
            return method
    near = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"no method is called {name!r}.{hint} Known: {', '.join(names())}.")


def forms(method: Method) -> dict[int, Method]:
    """The rows of a method for sequences, images and volumes, by their number of axes."""
    return {row.dims: row for row in METHODS if row.dims is not None and row.family == method.family}


def as_markdown() -> str:
    """The table of the README: one row a method."""
    header = "| method | layer | noise | shared over | acts on | at test time |\n|---|---|---|---|---|---|"
    rows = [f"| {m.title} | `{m.usage}` | {m.noise} | {m.shared} | {m.target} | {m.test_time} |" for m in METHODS]
    return "\n".join([header, *rows])
