"""`mc_predict`: what it averages, that its spread is right, and what it refuses."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn
from torch.nn import functional as F

import torchdropout as td
from torchdropout.montecarlo import _plan


def classifier(dropout=td.Dropout):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), dropout(0.5), nn.Linear(16, 4)).eval()


class Called(nn.Module):
    """Dropout by PyTorch's function, whose noise is not this package's."""

    def __init__(self, p):
        super().__init__()
        self.rate = p

    def forward(self, x):
        return F.dropout(x, self.rate, self.training)


def plan_of(model):
    return next(iter(_plan._KNOWN[model].values()))[1]


def looped(model, x, count):
    """The logits of so many plain passes in train mode: `(S, B, C)`."""
    with torch.no_grad():
        return torch.stack([model.train()(x) for _ in range(count)])


def test_mean_and_variance_are_those_of_the_exact_distribution():
    """A dropped linear output: mean `w x`, variance `sum w^2 x^2 p / (1 - p)`; bounds of five standard errors."""
    torch.manual_seed(0)
    model = nn.Sequential(td.Dropout(0.3), nn.Linear(40, 2)).double()
    x, samples = torch.randn(3, 40, dtype=torch.float64), 20_000
    found = td.mc_predict(model, x, samples, output="values", key=1)
    with torch.no_grad():
        mean, variance = model[1](x), (x.square() @ model[1].weight.square().T) * 0.3 / 0.7
    assert ((found.mean - mean).abs() < 5 * (variance / samples).sqrt()).all()
    assert ((found.variance / variance - 1).abs() < 5 * math.sqrt(2.5 / samples)).all()


def test_every_mask_of_a_small_net_is_drawn_with_its_probability():
    """Enumeration: three inputs are kept independently with 3/4; counts of the eight outputs, by chi-squared."""
    model = nn.Sequential(td.Dropout(0.25), nn.Linear(3, 1, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 2.0, 4.0]]))
    found = td.mc_predict(model, torch.ones(1, 3), 8000, output="values", key=3, keep_samples=True)
    numbers = (found.samples.flatten() * 0.75).round().long()
    expected = [0.75 ** bin(n).count("1") * 0.25 ** (3 - bin(n).count("1")) * 8000 for n in range(8)]
    assert stats.chisquare(torch.bincount(numbers, minlength=8).numpy(), expected).pvalue > 1e-4


@pytest.mark.parametrize("dropout", [td.Dropout, nn.Dropout, Called])
def test_measures_are_those_of_the_samples_computed_with_scipy(dropout):
    model, x = classifier(dropout), torch.randn(9, 6)
    found = td.mc_predict(model, x, 40, key=2, keep_samples=True)
    p = found.samples.double().numpy()
    assert p.shape == (40, 9, 4)
    np.testing.assert_allclose(p.sum(-1), 1.0, atol=1e-6)
    mean = p.mean(0)
    np.testing.assert_allclose(found.mean, mean, atol=1e-6)
    np.testing.assert_allclose(found.std, p.std(0), atol=1e-6)
    np.testing.assert_allclose(found.predictive_entropy, stats.entropy(mean, axis=-1), atol=1e-5)
    np.testing.assert_allclose(found.expected_entropy, stats.entropy(p, axis=-1).mean(0), atol=1e-5)
    information = stats.entropy(mean, axis=-1) - stats.entropy(p, axis=-1).mean(0)
    np.testing.assert_allclose(found.mutual_information, information, atol=1e-5)
    assert (found.mutual_information >= 0).all()
    votes = [np.bincount(column, minlength=4).max() for column in p.argmax(-1).T]
    np.testing.assert_allclose(found.variation_ratio, 1 - np.array(votes) / 40, atol=1e-6)
    np.testing.assert_allclose(found.quantile([0.1, 0.9]), np.quantile(p, [0.1, 0.9], axis=0), atol=1e-6)


def test_probabilities_are_averaged_and_not_logits():
    model, x = classifier(), 3 * torch.randn(5, 6)
    logits = td.mc_predict(model, x, 200, output="values", key=7, keep_samples=True).samples.double()
    mean = td.mc_predict(model, x, 200, key=7).mean.double()
    assert torch.allclose(mean, logits.softmax(-1).mean(0), atol=1e-6)
    assert not torch.allclose(mean, logits.mean(0).softmax(-1), atol=1e-2)
    already = nn.Sequential(model, nn.Softmax(-1))
    assert torch.allclose(td.mc_predict(already, x, 200, output="probs", key=7).mean.double(), mean, atol=1e-6)


DROPOUTS = [td.Dropout, nn.Dropout, Called, nn.AlphaDropout, lambda p: nn.Dropout(p, inplace=True)]


@pytest.mark.parametrize("dropout", DROPOUTS)
def test_the_samples_agree_in_law_with_a_loop_over_the_model(dropout):
    """Two samples of the same law: Kolmogorov-Smirnov on each of 12 outputs, together at an error rate of 1e-4."""
    model, x = classifier(dropout), torch.randn(3, 6)
    ours = td.mc_predict(model, x, 2000, output="values", key=4, keep_samples=True).samples.flatten(1)
    theirs = looped(model, x, 2000).flatten(1)
    values = [stats.ks_2samp(a, b).pvalue for a, b in zip(ours.T.numpy(), theirs.T.numpy(), strict=True)]
    assert min(values) > 1e-4 / 12


def test_samples_of_an_example_are_independent_of_its_neighbours():
    """Equal rows have noise of their own: the correlation of two rows' outputs over samples is 0."""
    model = classifier()
    x = torch.randn(1, 6).expand(2, 6)
    samples = td.mc_predict(model, x, 4000, output="values", key=4, keep_samples=True).samples
    a, b = samples[:, 0, 0].double(), samples[:, 1, 0].double()
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 5 / math.sqrt(4000)


@pytest.mark.parametrize("memory", [1, 2**30])
def test_consistent_samples_share_one_mask(memory):
    model = classifier()
    x = torch.randn(1, 6).expand(3, 6)
    found = td.mc_predict(model, x, 20, key=4, consistent=True, keep_samples=True, memory=memory)
    assert torch.allclose(found.samples[:, 0], found.samples[:, 2], atol=1e-6)
    assert (found.std > 0).any()
    with pytest.raises(ValueError, match=r"`consistent` must be False where noise is drawn by dropout in 2"):
        td.mc_predict(classifier(Called), x, 20, consistent=True)


def test_what_is_shared_and_joined_is_found():
    x = torch.randn(4, 6)
    model = classifier()
    td.mc_predict(model, x, 3)
    assert plan_of(model).joins
    assert plan_of(model).cut.shared == ("0", "1")
    model = nn.Sequential(nn.Linear(6, 8), td.LogNormalDropout(8), nn.Linear(8, 4))
    td.mc_predict(model, x, 3)
    assert not plan_of(model).joins
    assert plan_of(model).cut is not None


class Positions(nn.Module):
    """Before its noise it makes an index of the batch, which cannot be repeated."""

    def __init__(self):
        super().__init__()
        self.layer, self.drop = nn.Linear(6, 6), td.Dropout(0.5)

    def forward(self, x):
        y = self.layer(x)
        rows = torch.ones_like(x[:, 0]).cumsum(0).long() - 1
        return self.drop(y)[rows, rows * 0 + 5].unsqueeze(1) + y


class Mixes(nn.Module):
    """Its output depends on the whole batch."""

    def __init__(self):
        super().__init__()
        self.drop = td.Dropout(0.5)

    def forward(self, x):
        return self.drop(x) - x.mean(0)


class Weights(nn.Module):
    """Dropout of a weight, whose rows are as many as those of a batch of samples."""

    def __init__(self, rows):
        super().__init__()
        self.layer, self.drop = nn.Linear(6, rows), td.Dropout(0.5)

    def forward(self, x):
        return F.linear(x, self.drop(self.layer.weight))


@pytest.mark.parametrize("make", [Positions, Mixes, lambda: Weights(2), lambda: Weights(4), lambda: Weights(8)])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_models_that_cannot_be_joined_get_every_sample_as_if_alone(make, batch):
    torch.manual_seed(0)
    model, x = make(), torch.randn(batch, 6)
    joined = td.mc_predict(model, x, 20, output="values", key=3, keep_samples=True, memory=2**30).samples
    alone = td.mc_predict(model, x, 20, output="values", key=3, keep_samples=True, memory=1).samples
    assert torch.allclose(joined, alone, atol=1e-6)
    assert len(torch.unique(joined[:, 0, 0])) > 1


def test_the_same_key_gives_the_same_foreign_noise_and_the_generator_is_left_as_it_was():
    model, x = classifier(Called), torch.randn(4, 6)
    state = torch.get_rng_state()
    first = td.mc_predict(model, x, 10, key=5)
    second = td.mc_predict(model, x, 10, key=td.key(5))
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.reproducible == "same batch"
    assert first.foreign == ("dropout in 2",)
    assert not torch.equal(td.mc_predict(model, x, 10, key=6).mean, first.mean)


@pytest.mark.parametrize(("dropout", "shape"), [(nn.Dropout1d, (2, 6, 5)), (nn.Dropout2d, (2, 6, 3, 3))])
def test_pytorchs_channel_dropout_drops_channels_and_is_as_before_after(dropout, shape):
    model = nn.Sequential(dropout(0.5))
    found = td.mc_predict(model, torch.ones(shape), 200, output="values", key=0, keep_samples=True)
    samples = found.samples.flatten(3)
    assert set(samples.unique().tolist()) == {0.0, 2.0}
    assert (samples == samples[..., :1]).all()
    assert (abs(samples[..., 0].mean(0) - 1) < 5 / 200**0.5).all()
    assert found.reproducible == "any batch"
    assert "forward" not in vars(model[0])


def test_without_a_key_the_global_seed_decides():
    model, x = classifier(), torch.randn(4, 6)
    torch.manual_seed(3)
    first, second = td.mc_predict(model, x, 10).mean, td.mc_predict(model, x, 10).mean
    torch.manual_seed(3)
    assert torch.equal(td.mc_predict(model, x, 10).mean, first)
    assert not torch.equal(first, second)


def test_compiled_models_have_a_spread_too():
    model = classifier()
    compiled = torch.compile(model, backend="aot_eager")
    x = torch.randn(4, 6)
    found = td.mc_predict(compiled, x, 30, key=1)
    assert (found.std > 0).all()
    assert found.reproducible == "same batch"
    assert torch.equal(found.mean, td.mc_predict(compiled, x, 30, key=1).mean)
    foreign = torch.compile(classifier(nn.Dropout), backend="aot_eager")
    assert (td.mc_predict(foreign, x, 30, key=1).std > 0).all()


def test_regression_with_a_known_precision_and_with_predicted_noise():
    torch.manual_seed(0)
    x, y = torch.randn(7, 6), torch.randn(7, 1)
    trunk = nn.Sequential(nn.Linear(6, 16), td.Dropout(0.5), nn.Linear(16, 2))
    model = nn.Sequential(trunk, Halves())
    found = td.mc_predict(
        model, x, 30, output="values", select="mean", log_variance="log_variance", key=1, keep_samples=True
    )
    outputs = td.mc_predict(trunk, x, 30, output="values", key=1, keep_samples=True).samples.double().numpy()
    mean, log_variance = outputs[..., :1], outputs[..., 1:]
    np.testing.assert_allclose(found.samples, mean, atol=1e-6)
    predicted = stats.norm.logpdf(y.numpy(), mean, np.exp(log_variance / 2))
    np.testing.assert_allclose(
        found.log_likelihood(y), special.logsumexp(predicted, axis=0) - math.log(30), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        found.predictive_variance(), mean.var(0) + np.exp(log_variance).mean(0), rtol=1e-4, atol=1e-6
    )
    fixed = special.logsumexp(stats.norm.logpdf(y.numpy(), mean, 0.5), axis=0) - math.log(30)
    np.testing.assert_allclose(found.log_likelihood(y, tau=4.0), fixed, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.predictive_variance(tau=4.0), mean.var(0) + 0.25, rtol=1e-5)


class Halves(nn.Module):
    def forward(self, y):
        return {"mean": y[:, :1], "log_variance": y[:, 1:]}


def test_what_is_streamed_equals_what_is_kept():
    model, x = classifier(), torch.randn(4, 6)
    kept = td.mc_predict(model, x, 33, key=1, keep_samples=True, memory=1)
    streamed = td.mc_predict(model, x, 33, key=1, memory=4 * 6 * 4 * 16 * 10)
    for name in ("mean", "variance", "predictive_entropy", "mutual_information", "variation_ratio"):
        assert torch.allclose(getattr(kept, name), getattr(streamed, name), atol=1e-6), name
    assert streamed.samples is None
    assert torch.allclose(kept.samples.double().var(0, unbiased=False).float(), kept.variance, atol=1e-6)


def test_other_layouts_maps_sequences_dicts_and_tuples():
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), td.Dropout2d(0.5), nn.Conv2d(4, 3, 1))
    found = td.mc_predict(conv, torch.randn(2, 1, 5, 5), 10, class_dim=1, key=0)
    assert found.mean.shape == (2, 3, 5, 5)
    assert found.predictive_entropy.shape == (2, 5, 5)
    assert torch.allclose(found.mean.sum(1), torch.ones(2, 5, 5), atol=1e-5)
    lstm = td.LSTM(4, 6, recurrent=td.Variational(input=0.5, hidden=0.5))
    x = torch.randn(5, 3, 4)
    found = td.mc_predict(lstm, x, 10, "values", 0, 0, batch_dim=1, keep_samples=True, memory=2**30)
    alone = td.mc_predict(lstm, x, 10, "values", 0, 0, batch_dim=1, keep_samples=True, memory=1)
    assert found.mean.shape == (5, 3, 6)
    assert torch.allclose(found.samples, alone.samples, atol=1e-6)
    first = td.mc_predict(lstm, x[:, :1], 10, "values", 0, 0, batch_dim=1, keep_samples=True)
    assert torch.allclose(found.samples[:, :, :1], first.samples, atol=1e-6)
    two = Two()
    a, b = torch.randn(4, 3), torch.randn(4, 3)
    by_tuple, by_name = (td.mc_predict(two, given, 10, key=0) for given in ((a, b), {"a": a, "b": b}))
    assert torch.allclose(by_tuple.mean, by_name.mean, atol=1e-6)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = td.Dropout(0.5)

    def forward(self, a, b):
        return self.drop(a) + b


def test_no_source_and_silent_sources_are_errors_that_name_them():
    x = torch.randn(4, 6)
    with pytest.raises(ValueError, match="no source of noise is live, so every sample would be the same"):
        td.mc_predict(nn.Linear(6, 2), x)
    still = nn.Sequential(nn.Dropout(0.0), Constant(), td.Dropout(0.5), Unused())
    words = (
        r"3 of the sources.* 0 \(Dropout: its rate is 0\), 3\.spare \(Dropout: it was not called\), "
        r"1 \(dropout: called with `training` False\)"
    )
    with pytest.raises(ValueError, match=words):
        td.mc_predict(still, x, output="values")
    with pytest.warns(UserWarning, match="3 of the sources"):
        assert (td.mc_predict(still, x, output="values", strict=False).std > 0).any()
    with pytest.raises(ValueError, match=r"2 \(Dropout: it was in eval\)"):
        td.mc_predict(still, x, output="values", exclude=["2"])
    with pytest.warns(UserWarning, match="no source of noise"):
        assert float(td.mc_predict(nn.Linear(6, 2), x, strict=False).std.max()) == 0


class Constant(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, False)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.spare = nn.Dropout(0.5)

    def forward(self, x):
        return x


class Forgets(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        self.drop(x)
        return x


def test_an_output_that_does_not_depend_on_the_noise_is_warned_of():
    with pytest.warns(UserWarning, match=r"noise was drawn by drop, but the output does not depend on it"):
        td.mc_predict(Forgets(), torch.randn(2, 3), output="values")


class Breaks(nn.Module):
    """NaN where the first unit is dropped."""

    def __init__(self):
        super().__init__()
        self.drop = td.Dropout(0.5)

    def forward(self, x):
        y = self.drop(x)
        return y / y[:, :1]


def test_nan_is_reported_by_sample():
    x = torch.ones(1, 3)
    kept = td.mc_predict(nn.Sequential(td.Dropout(0.5)), x, 20, "values", 0, keep_samples=True).samples[:, 0, 0] == 0
    first = int(kept.nonzero()[0])
    with pytest.raises(ValueError, match=rf"the output has NaN in sample {first}[, ]"):
        td.mc_predict(Breaks(), x, 20, "values", 0)
    with pytest.warns(UserWarning, match="has NaN in sample"):
        td.mc_predict(Breaks(), x, 20, "values", 0, strict=False)


class Hungry(nn.Module):
    """It has memory for so many rows."""

    def __init__(self, rows):
        super().__init__()
        self.rows, self.most = rows, 0
        self.drop = td.Dropout(0.5)

    def forward(self, x):
        if len(x) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.most = max(self.most, len(x))
        return self.drop(x)


def test_out_of_memory_halves_the_samples_at_once_and_then_says_so():
    x = torch.randn(4, 3)
    model = Hungry(20)
    found = td.mc_predict(model, x, 30, output="values", key=0, keep_samples=True)
    expected = td.mc_predict(nn.Sequential(td.Dropout(0.5)), x, 30, output="values", key=0, keep_samples=True)
    assert torch.allclose(found.samples, expected.samples)
    assert 8 <= model.most <= 20
    with pytest.raises(RuntimeError, match="one pass over 6 examples needs more memory than there is"):
        td.mc_predict(Hungry(5), torch.randn(6, 3), 30, output="values")


def test_loaders_of_every_kind_and_ctrl_c():
    model, x = classifier(), torch.randn(10, 6)
    expected = td.mc_predict(model, x, 8, key=1)
    data = torch.utils.data.TensorDataset(x, torch.zeros(10))
    for loader in (x.split(3), torch.utils.data.DataLoader(data, 4), [{"input": part} for part in x.split(7)]):
        found = td.mc_predict_loader(model, loader, 8, key=1)
        assert torch.allclose(found.mean, expected.mean, atol=1e-6)
        assert len(found) == 10
    shown = td.mc_predict_loader(model, x.split(5), 8, key=1, progress=True)
    assert torch.allclose(shown.mean, expected.mean, atol=1e-6)
    other = td.mc_predict_loader(model, [(0, part) for part in x.split(5)], 8, key=1, inputs=lambda batch: batch[1])
    assert torch.allclose(other.mean, expected.mean, atol=1e-6)
    with pytest.warns(UserWarning, match="interrupted after 6 examples"):
        some = td.mc_predict_loader(model, interrupted(x), 8, key=1, interrupt="return")
    assert torch.allclose(some.mean, expected.mean[:6], atol=1e-6)
    with pytest.raises(KeyboardInterrupt):
        td.mc_predict_loader(model, interrupted(x), 8, key=1)
    with pytest.raises(ValueError, match="`loader` must give a batch, got none; was it an iterator already used up"):
        td.mc_predict_loader(model, iter(()), 8)


def interrupted(x):
    yield x[:3]
    yield x[3:6]
    raise KeyboardInterrupt


BAD = {
    "num_samples": ({"num_samples": 0}, "mc_predict: `num_samples` must be an integer of at least 1, got 0"),
    "half": ({"num_samples": 1.5}, "`num_samples` must be an integer of at least 1, got 1.5"),
    "output": ({"output": "scores"}, "mc_predict: `output` must be"),
    "key": ({"key": torch.zeros(3)}, "`key` must be an int64 or uint64 tensor"),
    "memory": ({"memory": 0}, "`memory` must be positive, got 0"),
    "class_dim": ({"class_dim": 2}, "two or more classes at axis `class_dim` = 2"),
    "probs": ({"output": "probs"}, "probabilities must add up to 1.*does the model give logits"),
    "select": ({"select": "logits"}, "`select` must name a part of the output, got 'logits'"),
    "log_variance": ({"log_variance": 1}, "`log_variance` is for output 'values', got 'logits'"),
    "batch_dim": ({"batch_dim": 3}, "`x` must have the examples at axis 3 of its first tensor"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_arguments_get_one_sentence(name):
    arguments, words = BAD[name]
    with pytest.raises((ValueError, TypeError), match=words):
        td.mc_predict(classifier(), torch.randn(4, 6), **arguments)


def test_bad_models_and_inputs_get_one_sentence():
    with pytest.raises(TypeError, match="mc_predict: `model` must be a torch.nn.Module, got function"):
        td.mc_predict(lambda x: x, torch.randn(2, 2))
    with pytest.raises(ValueError, match="`x` must have an example, got none"):
        td.mc_predict(classifier(), torch.randn(0, 6))
    with pytest.raises(TypeError, match="the model's output must be a tensor, or `select` name one"):
        td.mc_predict(nn.Sequential(td.Dropout(0.5), Halves()), torch.randn(2, 2))
    with pytest.raises(ValueError, match=r"two or more classes.*nn.functional.pad\(z, \(1, 0\)\)` makes two"):
        td.mc_predict(nn.Sequential(td.Dropout(0.5), nn.Linear(3, 1)), torch.randn(2, 3))
    found = td.mc_predict(classifier(), torch.randn(4, 6), 5)
    for what, words in (
        (lambda: found.quantile(0.5), "the samples must be kept"),
        (lambda: found.quantile(1.5), r"`q` must be in \[0, 1\], got 1.5"),
        (lambda: found.log_likelihood(torch.zeros(4)), "for regression, got a prediction of probs"),
    ):
        with pytest.raises(ValueError, match=words):
            what()
    values = td.mc_predict(classifier(), torch.randn(4, 6), 5, output="values", keep_samples=True)
    for what, words in (
        (lambda: values.predictive_entropy, "for classification, got a prediction of values"),
        (lambda: values.log_likelihood(torch.zeros(4, 4)), "`tau` must be given, since the model predicted no noise"),
        (lambda: values.log_likelihood(torch.zeros(3)), r"`targets` must have shape \(4, 4\), got \(3,\)"),
        (lambda: values.predictive_variance(-1.0), "`tau` must be positive and finite, got -1.0"),
    ):
        with pytest.raises(ValueError, match=words):
            what()


def test_one_logit_is_made_two_as_the_error_says():
    torch.manual_seed(0)
    model, x = nn.Sequential(td.Dropout(0.5), nn.Linear(3, 1)), torch.randn(5, 3)
    found = td.mc_predict(model, x, 20, key=0, select=lambda z: F.pad(z, (1, 0)))
    values = td.mc_predict(model, x, 20, output="values", key=0, keep_samples=True).samples
    assert torch.allclose(found.mean[:, 1], values.sigmoid().mean(0)[:, 0], atol=1e-6)


def test_a_change_of_the_model_is_noticed():
    model, x = classifier(), torch.randn(4, 6)
    td.mc_predict(model, x, 5)
    model[2].p = 0.0
    with pytest.raises(ValueError, match="no source of noise is live"):
        td.mc_predict(model, x, 5)
    model[2] = Called(0.5)
    assert td.mc_predict(model, x, 5).foreign == ("dropout in 2",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        td.mc_predict(model, x, 5)


def test_a_network_that_packs_its_sequences():
    class Packs(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.drop, self.head = nn.LSTM(4, 8, batch_first=True), td.Dropout(0.5), nn.Linear(8, 3)

        def forward(self, x, lengths):
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.head(self.drop(self.rnn(packed)[1][0][0]))

    model, x = Packs(), torch.randn(3, 5, 4)
    found = td.mc_predict(model, (x, torch.tensor([5, 2, 3])), 6, key=0, keep_samples=True)
    changed = x.clone()
    changed[1, 2:] = 9.0  # behind the end of the second
    assert torch.equal(td.mc_predict(model, (changed, torch.tensor([5, 2, 3])), 6, key=0).mean, found.mean)
    assert found.samples.var(0).min() > 0
