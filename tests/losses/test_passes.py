"""R-Drop and multi-sample dropout of models: noise of each pass, batch norm, layouts, samples, and errors."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchdropout as td

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1, 2])


def network(*noise):
    """Noise first, so that nothing is to be shared."""
    return nn.Sequential(*noise, nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def batches(monkeypatch):
    """The size of every batch that a linear layer was given."""
    seen, forward = [], nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    return seen


def test_r_drop_is_the_loss_of_two_passes_and_one_concatenated_batch(batches):
    model = network(td.Dropout(0.3))
    torch.manual_seed(1)
    outputs = model(torch.cat([X, X])).chunk(2)
    expected = td.RDropLoss(4.0)(*outputs, Y)
    batches.clear()
    torch.manual_seed(1)
    loss = td.r_drop(model, X, Y, alpha=4.0)
    torch.testing.assert_close(loss, expected)
    assert batches == [12, 12]
    assert not torch.equal(*outputs)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_r_drop_shares_what_precedes_the_noise(batches):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), td.Dropout(0.5), nn.Linear(8, 3))
    torch.manual_seed(1)
    expected = td.RDropLoss(4.0)(model(X), model(X), Y)
    batches.clear()
    torch.manual_seed(1)
    torch.testing.assert_close(td.r_drop(model, X, Y, 4.0), expected)
    assert batches == [6, 6, 6]
    batches.clear()
    td.r_drop(model, X, Y, 4.0, share=False)
    assert batches == [12, 12]


class Own(nn.Module):
    """A gate for the whole batch, and how it tells so."""

    def __init__(self, per):
        super().__init__()
        self.draws_per = per

    def forward(self, x):
        return x * (1 + torch.randn(x.shape[1] if self.draws_per == "batch" else x.shape))


def noisy_gates():
    layer = td.LogNormalDropout(4)
    nn.init.zeros_(layer.log_sigma)
    return layer


PER_BATCH = {
    "log-normal": noisy_gates,
    "drop path": lambda: td.DropPath(0.5, per="batch"),
    "layer drop": lambda: td.LayerDrop(nn.Tanh(), 0.5),
    "random rate": td.StochasticRateDropout,
    "own": lambda: Own("batch"),
}


@pytest.mark.parametrize("name", PER_BATCH)
def test_noise_that_is_drawn_once_for_a_batch_differs_between_the_passes(name, batches):
    layer = PER_BATCH[name]()
    model = network(layer)
    assert layer.draws_per == "batch"
    torch.manual_seed(3)
    expected = [td.RDropLoss(2.0)(model(X), model(X), Y) for _ in range(8)]
    batches.clear()
    torch.manual_seed(3)
    losses = [td.r_drop(model, X, Y, 2.0) for _ in range(8)]
    torch.testing.assert_close(losses, expected)
    assert set(batches) == {6}
    torch.manual_seed(3)
    likelihoods = [td.r_drop(model, X, Y, 0.0) for _ in range(8)]
    divergences = [(loss - two).item() for loss, two in zip(losses, likelihoods, strict=True)]
    assert max(divergences) > 1e-4  # passes with equal gates would agree


def test_words_and_recurrent_weights_that_are_drawn_once_for_a_batch():
    class Text(nn.Module):
        def __init__(self, embedding, recurrent):
            super().__init__()
            self.words = td.EmbeddingDropout(nn.Embedding(9, 4), 0.5, per=embedding)
            self.rnn = td.LSTM(4, 3, batch_first=True, recurrent=recurrent)

        def forward(self, x):
            return self.rnn(self.words(x))[0]

    x, y = torch.randint(9, (6, 5)), torch.randint(3, (6, 5))
    for embedding, recurrent in (
        ("batch", td.Variational(0.2, 0.2)),
        ("sequence", RECURRENT),
    ):
        model = Text(embedding, recurrent)
        torch.manual_seed(3)
        expected = td.RDropLoss(2.0)(model(x), model(x), y)
        torch.manual_seed(3)
        torch.testing.assert_close(td.r_drop(model, x, y, 2.0), expected)
    model = Text("sequence", td.Variational(0.2, 0.2))
    torch.manual_seed(3)
    expected = td.RDropLoss(2.0)(*model(torch.cat([x, x])).chunk(2), y)
    torch.manual_seed(3)
    torch.testing.assert_close(td.r_drop(model, x, y, 2.0), expected)


def test_noise_for_each_example_is_one_batch(batches):
    for layer in (td.DropPath(0.5), td.LogNormalDropout(4, per="example"), Own("example"), nn.Dropout(0.5)):
        batches.clear()
        td.r_drop(network(layer), X, Y)
        assert batches == [12, 12]


def test_batch_norm_before_the_noise_is_that_of_one_pass():
    """A batch of two equal halves has the same mean and biased variance; running figures are updated once."""
    shared = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), td.Dropout(0.5), nn.Linear(4, 3))
    joined = nn.Sequential(td.DropPath(0.0), *copy.deepcopy(shared))
    in_turn = copy.deepcopy(shared)
    td.r_drop(shared, X, Y)
    td.r_drop(joined, X, Y, share=False)
    td.RDropLoss(1.0)(in_turn(X), in_turn(X), Y)
    assert [m[1].num_batches_tracked.item() for m in (shared, in_turn)] == [1, 2]
    assert joined[2].num_batches_tracked == 1
    torch.testing.assert_close(shared[1].running_mean, joined[2].running_mean)
    h = shared[0](X)
    twice = torch.cat([h, h])
    torch.testing.assert_close(h.mean(0), twice.mean(0))
    torch.testing.assert_close(h.var(0, correction=0), twice.var(0, correction=0))
    assert (shared[1].running_var > joined[2].running_var).any()  # unbiased over n, and over 2 n
    assert not torch.allclose(in_turn[1].running_mean, shared[1].running_mean)


def test_time_first_models():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.rnn = td.LockedDropout(0.4), nn.LSTM(4, 3)

        def forward(self, x):
            return self.rnn(self.drop(x))[0]

    model, x, y = TimeFirst(), torch.randn(5, 6, 4), torch.randint(3, (5, 6))
    real = torch.rand(5, 6) > 0.3
    torch.manual_seed(3)
    expected = td.RDropLoss(2.0)(*model(torch.cat([x, x], 1)).chunk(2, 1), y, mask=real)
    torch.manual_seed(3)
    torch.testing.assert_close(td.r_drop(model, x, y, 2.0, mask=real, batch_dim=1), expected)
    with pytest.raises(ValueError, match=r"r_drop: the model's output must have the batch of 6 at axis 0"):
        td.r_drop(nn.Sequential(td.Dropout(0.5), nn.Linear(4, 3), nn.Flatten(0, 1)), x[:3], y)


@pytest.mark.parametrize("select", ["logits", lambda output: output["logits"]])
def test_models_that_return_more(select):
    class Full(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.out = td.Dropout(0.5), nn.Linear(4, 3)

        def forward(self, x, scale):
            return {"logits": self.out(self.drop(x)) * scale, "states": (x,)}

    model, scale = Full(), torch.ones(6, 1)
    torch.manual_seed(1)
    expected = td.RDropLoss(1.0)(*model(torch.cat([X, X]), 1.0)["logits"].chunk(2), Y)
    torch.manual_seed(1)
    torch.testing.assert_close(td.r_drop(model, (X, scale), Y, select=select), expected)
    with pytest.raises(TypeError) as caught:
        td.r_drop(model, (X, scale), Y)
    assert str(caught.value) == (
        "r_drop: the model's output must be a tensor, or `select` name one in it, got dict with the keys 'logits', "
        "'states'."
    )
    with pytest.raises(ValueError, match="r_drop: `select` must name a part of the output, got 'logit' of dict with"):
        td.r_drop(model, (X, scale), Y, select="logit")


def test_r_drop_with_settings_of_its_own_and_without_noise():
    model = network(td.Dropout(0.5)).eval()
    torch.testing.assert_close(td.r_drop(model, X, Y, 5.0), 2 * F.cross_entropy(model(X), Y))
    model = nn.Sequential(nn.Linear(4, 2), td.Dropout(0.5))
    target = torch.randn(6, 2)
    loss = td.RDropLoss(0.5, "vit", task="regression")
    torch.manual_seed(1)
    expected = loss(model(X), model(X), target)
    torch.manual_seed(1)
    torch.testing.assert_close(td.r_drop(model, X, target, loss), expected)


def test_autocast():
    model = nn.Sequential(nn.Linear(4, 8), td.Dropout(0.5), nn.Linear(8, 3))
    with torch.autocast("cpu", torch.bfloat16):
        loss = td.r_drop(model, X, Y, 5.0)
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_multi_sample_dropout_is_independent_masks_and_one_call_of_the_head(batches):
    layer = td.MultiSampleDropout(nn.Linear(4, 3), num_samples=5, p=0.5)
    y = layer(X, key=td.key(0))
    assert batches == [30]
    masks = [td.functional.dropout(X, 0.5, key=td.fold_in(td.key(0), m)) for m in range(5)]
    torch.testing.assert_close(y, torch.stack([layer.head(m) for m in masks]))
    assert len({tuple(m.flatten().tolist()) for m in masks}) == 5
    torch.testing.assert_close(layer.eval()(X), layer.head(X))
    torch.testing.assert_close(pickle.loads(pickle.dumps(layer))(X), layer(X))
    single = copy.deepcopy(layer).train()
    assert single(X[0], key=td.key(0)).shape == (5, 3)


def test_a_head_that_draws_once_for_a_batch_is_called_for_each_sample():
    layer = td.MultiSampleDropout(nn.Sequential(td.DropPath(0.5, per="batch"), nn.Linear(4, 3, bias=False)), 64, p=0.0)
    dropped = (layer(X) == 0).flatten(1)
    assert set(dropped.all(1).tolist()) == {True, False}


def test_multi_sample_loss_is_the_mean_of_losses_not_the_loss_of_the_mean():
    trunk = [nn.Linear(4, 8), nn.ReLU()]
    model = nn.Sequential(*trunk, td.MultiSampleDropout(nn.Linear(8, 3), 4, 0.5))
    torch.manual_seed(1)
    outputs = model(X)
    torch.manual_seed(1)
    loss = td.multi_sample_loss(model, X, Y)
    torch.testing.assert_close(loss, sum(F.cross_entropy(y, Y) for y in outputs) / 4)
    assert loss > F.cross_entropy(outputs.mean(0), Y)  # by Jensen's inequality
    model.eval()
    torch.testing.assert_close(td.multi_sample_loss(model, X, Y), F.cross_entropy(model(X), Y))


def test_multi_sample_loss_of_any_model(batches):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), td.Dropout(0.5), nn.Linear(8, 3))
    torch.manual_seed(1)
    outputs = [model(X) for _ in range(8)]
    batches.clear()
    torch.manual_seed(1)
    loss = td.multi_sample_loss(model, X, Y, loss=nn.CrossEntropyLoss(label_smoothing=0.1))
    expected = sum(F.cross_entropy(y, Y, label_smoothing=0.1) for y in outputs) / 8
    torch.testing.assert_close(loss, expected)
    assert batches == [6] * 9
    batches.clear()
    td.multi_sample_loss(network(td.Dropout(0.5)), X, Y, 3)
    assert batches == [18, 18]


def test_the_expected_loss_is_that_of_one_sample_and_its_variance_less():
    """Enumerated: the mean over all masks of a loss with one mask; multi-sample estimates it."""
    head, x, y = nn.Linear(3, 2).double(), torch.randn(1, 3, dtype=torch.float64), torch.tensor([1])
    masks = torch.cartesian_prod(*[torch.tensor([0.0, 2.0], dtype=torch.float64)] * 3)
    each = torch.stack([F.cross_entropy(head(x * mask), y) for mask in masks])
    model = nn.Sequential(td.MultiSampleDropout(head, 16, 0.5))
    with torch.no_grad():
        drawn = torch.stack([td.multi_sample_loss(model, x, y) for _ in range(400)])
    error = (each.var(correction=0) / (16 * 400)).sqrt()
    assert (drawn.mean() - each.mean()).abs() < 5 * error  # once in a million
    assert drawn.var() == pytest.approx(each.var(correction=0).item() / 16, rel=0.5)


MULTI = td.MultiSampleDropout(nn.Linear(4, 3), 4)
RECURRENT = [td.Variational(), td.WeightDrop(0.5)]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.r_drop(F.relu, X, Y), TypeError, "r_drop: `model` must be a torch.nn.Module, got function."),
        (
            lambda: td.r_drop(network(), X, Y, -1),
            ValueError,
            "RDropLoss: `alpha` must be finite and not negative, got -1.",
        ),
        (
            lambda: td.r_drop(network(nn.Dropout()), (X, X[:2]), Y, share=False),
            ValueError,
            "r_drop: `x` must be tensors with the batch at axis 0, of one size there, got [(6, 4), (2, 4)].",
        ),
        (
            lambda: td.r_drop(network(td.Dropout(0.5)), X, Y.clamp(max=1) * 9),
            ValueError,
            "RDropLoss: `targets` must be in [0, 3), got 0 to 9.",
        ),
        (
            lambda: td.multi_sample_loss(network(nn.Dropout()), X, Y, 0),
            ValueError,
            "multi_sample_loss: `num_samples` must be an integer of at least 1, got 0.",
        ),
        (
            lambda: td.multi_sample_loss(td.MultiSampleDropout(nn.Linear(4, 3), 4), X, Y, 8),
            ValueError,
            "multi_sample_loss: `num_samples` must be that of the model's MultiSampleDropout, 4, got 8.",
        ),
        (
            lambda: td.multi_sample_loss(network(nn.Dropout()), X, Y, loss=nn.CrossEntropyLoss(reduction="none")),
            ValueError,
            "multi_sample_loss: `loss` must return a mean, a 0-d tensor, got (6,).",
        ),
        (
            lambda: td.multi_sample_loss(nn.Sequential(MULTI, nn.Flatten(0, 1)), X, Y),
            ValueError,
            "multi_sample_loss: the model's output must have its 4 samples in front, got (24, 3).",
        ),
        (
            lambda: td.MultiSampleDropout(F.relu),
            TypeError,
            "MultiSampleDropout: `head` must be a torch.nn.Module, got function.",
        ),
        (
            lambda: td.MultiSampleDropout(nn.Linear(1, 1), p=2),
            ValueError,
            "MultiSampleDropout: `p` must be in [0, 1], got 2.",
        ),
        (
            lambda: td.MultiSampleDropout(nn.Linear(1, 1), 2.5),
            ValueError,
            "MultiSampleDropout: `num_samples` must be an integer of at least 1, got 2.5.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(message)
