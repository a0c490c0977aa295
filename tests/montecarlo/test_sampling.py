"""Sampling mode: every source of noise live, everything else as in eval, everything as before after."""

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchdropout as td


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return F.dropout(self.layer(x), 0.5, self.training)


class Attention(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.5 if self.training else 0.0)


class DropPath(nn.Module):
    """As vision libraries write it."""

    def __init__(self, drop_prob=0.5):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        if not self.training:
            return x
        keep = 1 - self.drop_prob
        return x * x.new_empty(len(x), *[1] * (x.dim() - 1)).bernoulli_(keep) / keep


class First(nn.Module):
    """The first part of what a layer returns."""

    def __init__(self, layer, **arguments):
        super().__init__()
        self.layer, self.arguments = layer, arguments

    def forward(self, x):
        inputs = [x] * (3 if isinstance(self.layer, nn.MultiheadAttention) else 1)
        return self.layer(*inputs, **self.arguments)[0]


def encoder():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.5, batch_first=True), 2)


SOURCES = {
    "dropout": lambda: nn.Dropout(0.5),
    "dropout1d": lambda: nn.Dropout1d(0.5),
    "alpha": lambda: nn.AlphaDropout(0.5),
    "ours": lambda: td.GaussianDropout(0.5),
    "lstm": lambda: First(nn.LSTM(8, 8, 2, dropout=0.5, batch_first=True)),
    "gru": lambda: First(nn.GRU(8, 8, 2, dropout=0.5, batch_first=True)),
    "our lstm": lambda: First(td.LSTM(8, 8, batch_first=True, recurrent=td.WeightDrop(0.5))),
    "attention": lambda: First(nn.MultiheadAttention(8, 2, 0.5, batch_first=True)),
    "attention without weights": lambda: First(nn.MultiheadAttention(8, 2, 0.5, batch_first=True), need_weights=False),
    "encoder layer": lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.5, batch_first=True),
    "encoder": encoder,
    "drop path": DropPath,
    "functional": Functional,
    "sdpa": Attention,
    "rrelu": nn.RReLU,
}


@pytest.mark.parametrize("name", list(SOURCES))
@pytest.mark.parametrize("training", [False, True])
def test_every_source_is_live_and_every_mode_is_restored(name, training):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), SOURCES[name](), nn.Identity()).train(training)
    model[2].training = not training  # a mode of its own
    modes = [m.training for m in model.modules()]
    x = torch.randn(4, 5, 8)
    with torch.no_grad(), td.sampling(model):
        first, second = model(x), model(x)
    assert not torch.equal(first, second)
    assert [m.training for m in model.modules()] == modes
    prediction = td.mc_predict(model, x, 10, output="values", key=0)
    assert (prediction.std > 0).any()
    assert [m.training for m in model.modules()] == modes


NORMS = {
    "batch": lambda: nn.BatchNorm1d(5),
    "instance": lambda: nn.InstanceNorm1d(5, track_running_stats=True),
    "sync": lambda: nn.SyncBatchNorm(5),
    "spectral": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)),
    "old spectral": lambda: nn.utils.spectral_norm(nn.Linear(8, 8)),
}


@pytest.mark.parametrize("name", list(NORMS))
def test_norms_behave_as_in_eval_and_their_buffers_stay_to_the_bit(name):
    torch.manual_seed(0)
    model = nn.Sequential(NORMS[name](), td.Dropout(0.0), nn.Dropout(0.5))
    x = torch.randn(4, 5, 8)
    if name != "sync":  # which trains on a GPU only
        model.train()(x)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    expected = model.eval()[0](x)
    with torch.no_grad(), td.sampling(model):
        assert torch.equal(model[0](x), expected)
    td.mc_predict(nn.Sequential(model[0], model[2]), x, 5, output="values")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class HandNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.mean(0), 0.1)
        return x - self.mean


class FunctionalNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("var", torch.ones(8))

    def forward(self, x):
        return F.batch_norm(x, self.mean, self.var, training=self.training)


class Replaces(nn.Module):
    """It puts another tensor in place of its buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.count = self.count + 1
        return x


def sampled(model, x):
    with td.sampling(model):
        return model(x)


@pytest.mark.parametrize("norm", [HandNorm, FunctionalNorm, Replaces])
def test_a_module_whose_train_mode_changes_a_buffer_is_refused_by_name_unless_it_is_excluded(norm):
    model = nn.Sequential(norm(), nn.Dropout(0.5)).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = torch.randn(4, 8)
    with pytest.raises(RuntimeError, match=rf"sampling: the train mode of 0 \({norm.__name__}\) changes a buffer"):
        sampled(model, x)
    with pytest.raises(RuntimeError, match=r"0 \("):
        td.mc_predict(model, x, 5, output="values")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for exclude in (["0"], norm, "0"):
        assert (td.mc_predict(model, x, 5, output="values", exclude=exclude).std > 0).any()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Heads(nn.Module):
    """An auxiliary head in training, as Inception has it."""

    def __init__(self):
        super().__init__()
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, x):
        y = self.head(self.drop(x))
        return (y, y) if self.training else y


class Detector(Heads):
    """It wants targets in training."""

    def forward(self, x, targets=None):
        if self.training and targets is None:
            raise ValueError("targets should not be none")
        return self.head(self.drop(x))


@pytest.mark.parametrize(("heads", "words"), [(Heads, "output is made otherwise"), (Detector, "raises ValueError")])
def test_a_train_mode_that_returns_or_wants_something_else_is_refused_by_name(heads, words):
    model = nn.Sequential(nn.Linear(8, 8), heads()).eval()
    with pytest.raises(RuntimeError, match=rf"the train mode of 1 \({heads.__name__}\).*{words}"):
        td.mc_predict(model, torch.randn(4, 8), 5)
    prediction = td.mc_predict(model, torch.randn(4, 8), 5, exclude=["1"])
    assert prediction.sources == ("1.drop",)
    assert not any(module.training for module in model.modules())


def test_an_exception_and_nesting_leave_every_mode_as_it_was():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)).train()
    with pytest.raises(KeyError), td.sampling(model), td.sampling(model):
        fails(model)
    assert model[0].training
    assert model[1].training
    with td.sampling(model.eval()):
        with td.sampling(model[0]):
            assert model[0].training
        assert model[0].training
    assert not model[0].training


def fails(model):
    assert model[0].training
    assert not model[1].training
    raise KeyError


def test_two_threads_cannot_sample_one_model():
    model, problems = nn.Sequential(nn.Dropout(0.5)), []

    def other(part):
        try:
            with td.sampling(part):
                pass
        except RuntimeError as error:
            problems.append(str(error))

    with td.sampling(model):
        for part in (model, model[0], nn.Sequential(nn.Dropout(0.5))):
            thread = threading.Thread(target=other, args=(part,))
            thread.start()
            thread.join()
    assert len(problems) == 2
    assert "one thread at a time may sample a model" in problems[0]
    other(model)
    assert len(problems) == 2


def test_what_is_excluded_stays_in_eval_but_not_what_it_holds():
    model = nn.Sequential(nn.Sequential(nn.Dropout(0.5)), nn.Dropout(0.5))
    with td.sampling(model, exclude=["0"]):
        assert not model[0].training
        assert model[0][0].training
    with td.sampling(model, exclude=(nn.Dropout,)):
        assert not model[1].training
    with pytest.raises(ValueError, match=r"sampling: `exclude` must name modules of the model, got 'two', which fits"):
        td.sampling(model, exclude=["two"]).__enter__()
    with pytest.raises(TypeError, match="sampling: `model` must be a torch.nn.Module, got int"):
        td.sampling(3).__enter__()


def test_gradients_flow_through_sampled_passes():
    model = nn.Sequential(nn.Linear(4, 4), td.Dropout(0.5)).eval()
    x = torch.randn(2, 4, requires_grad=True)
    with td.sampling(model):
        model(x).sum().backward()
    assert x.grad is not None
    assert model[0].weight.grad is not None


def test_one_sample_of_a_multi_sample_head_is_one_plain_dropout():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), td.MultiSampleDropout(nn.Linear(8, 3), 4, 0.5)).eval()
    x = torch.randn(5, 4)
    prediction = td.mc_predict(model, x, 4000, key=0)
    plain = nn.Sequential(model[0], td.Dropout(0.5), model[1].head)
    expected = td.mc_predict(plain, x, 4000, key=1)
    assert prediction.mean.shape == (5, 3)
    assert torch.allclose(prediction.mean, expected.mean, atol=5 * 0.5 / 4000**0.5)
    assert model.train()(x).shape == (4, 5, 3)
