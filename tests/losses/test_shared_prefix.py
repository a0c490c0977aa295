"""Where a forward pass is cut: sharing changes no number, and what tracing cannot see is not shared."""

import random
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchdropout as td
from torchdropout.losses._passes import passes

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def calls(monkeypatch):
    """How many rows each linear layer was given, in the order of the calls."""
    seen, forward = [], nn.Linear.forward

    def counted(self, x):
        seen.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(nn.Linear, "forward", counted)
    return seen


def in_turn(model, count, x=X):
    torch.manual_seed(5)
    return [model(x) for _ in range(count)]


def shared(model, count, x=X, **options):
    torch.manual_seed(5)
    settings = {"share": True, "batch_dim": 0, "select": None} | options
    return passes("test", model, x, count, **settings)


def same(model, count=3):
    """Values and gradients of shared passes are those of passes run in turn."""
    results = []
    for run in (in_turn, shared):
        outputs = run(model, count)
        weights = torch.arange(1.0, count + 1)
        grads = torch.autograd.grad(sum(w * y.square().sum() for w, y in zip(weights, outputs, strict=True)),
                                    [p for p in model.parameters() if p.requires_grad])  # fmt: skip
        results.append([*outputs, *grads])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


class Branches(nn.Module):
    """Two branches, one of them noisy, which meet; shapes of the batch are used after the noise."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 2)
        self.drop = td.Dropout(0.5)
        self.register_buffer("offset", torch.ones(8))

    def forward(self, x, scale=2.0, mask=None):
        noisy = self.drop(F.relu(self.a(x)))
        clean = torch.relu(self.b(x)) + self.offset
        y = (noisy + clean * scale).view(x.size(0), 2, -1).flatten(1)
        return self.c(y if mask is None else y * mask)


class InPlace(nn.Module):
    """Writes to what was computed before the noise."""

    def __init__(self, how):
        super().__init__()
        self.a, self.c, self.how, self.drop = nn.Linear(4, 4), nn.Linear(4, 2), how, td.Dropout(0.5)

    def forward(self, x):
        h = self.a(x)
        if self.how == "sum":
            h += self.drop(x)
            return self.c(h)
        if self.how == "inplace dropout":
            F.dropout(h, 0.5, self.training, True)
            return self.c(h)
        late = self.drop(x)
        h.mul_(2.0)
        return self.c(h + late)


MODELS = {
    "head": lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), td.Dropout(0.5), nn.Linear(8, 2)),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Sequential(nn.Dropout(), nn.Linear(8, 2))
    ),
    "batch norm": lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), td.GaussianDropout(0.3), nn.Linear(8, 2)),
    "in place": lambda: nn.Sequential(
        nn.Linear(4, 8), nn.Dropout(0.5, inplace=True), nn.ReLU(inplace=True), nn.Linear(8, 2)
    ),
    "per batch": lambda: nn.Sequential(nn.Linear(4, 8), td.LogNormalDropout(8), nn.Linear(8, 2)),
    "branches": Branches,
    "sum in place": lambda: InPlace("sum"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_sharing_changes_no_number(name, calls):
    model = MODELS[name]()
    cut = td.shared_prefix(model)
    assert cut.saves, cut
    same(model)
    calls.clear()
    outputs = shared(model, 3)
    heads, trunks = 3, 2 if name == "branches" else 1
    assert calls == [6] * (heads + trunks)
    assert not torch.equal(outputs[0], outputs[1])


def test_the_cut_tells_what_is_shared_and_what_is_noise():
    cut = td.shared_prefix(Branches())
    assert (set(cut.shared), cut.noise) == ({"a", "b"}, ("drop",))
    model = MODELS["nested"]()
    assert repr(td.shared_prefix(model)) == "SharedPrefix(shared=['0.0', '0.1'], noise=['1.0'], unseen=[])"


@pytest.mark.parametrize("how", ["inplace dropout", "late"])
def test_writing_that_a_cut_would_reorder_is_refused(how):
    model = InPlace(how)
    assert "writes in place where noise is already live" in td.shared_prefix(model).reason


def test_the_cut_follows_rates_modes_and_modules():
    model = nn.Sequential(nn.Linear(4, 8), td.Dropout(0.0), nn.Linear(8, 8), td.Dropout(0.5), nn.Linear(8, 2))
    assert td.shared_prefix(model).shared == ("0", "1", "2")
    assert td.shared_prefix(model) is td.shared_prefix(model)
    model[1].p = 0.1
    assert td.shared_prefix(model).shared == ("0",)
    model[1].eval()
    assert td.shared_prefix(model).noise == ("3",)
    model[3] = nn.Identity()
    assert td.shared_prefix(model).is_silent
    model[2] = td.DropConnectLinear(8, 8)
    assert td.shared_prefix(model).noise == ("2",)
    handle = model[0].register_forward_hook(lambda module, args, y: F.dropout(y))
    assert td.shared_prefix(model).noise == ("0",)
    handle.remove()
    assert td.shared_prefix(model).noise == ("2",)
    model.eval()
    first, second = shared(model, 2)
    assert first is second


def test_a_rate_that_the_forward_itself_reads():
    class Scheduled(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c, self.rate = nn.Linear(4, 8), nn.Linear(8, 2), 0.0

        def forward(self, x):
            return self.c(F.dropout(self.a(x), self.rate, self.training))

    model = Scheduled()
    assert td.shared_prefix(model).is_silent
    for rate in (0.5, 0.2):
        model.rate = rate
        cut = td.shared_prefix(model)
        assert (cut.shared, cut.noise) == (("a",), ("dropout",))
        same(model)
    assert td.shared_prefix(model.eval()).is_silent


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(4, 4, 2, dropout=0.5), nn.MultiheadAttention(4, 2, dropout=0.1), nn.RReLU(), nn.AlphaDropout(),
        nn.TransformerEncoderLayer(4, 2, 8), nn.FractionalMaxPool2d(2, output_ratio=0.5), td.LayerDrop(nn.ReLU()),
        td.LSTM(4, 4, recurrent=td.WeightDrop(0.5)), td.ConcreteDropout(nn.Linear(4, 4)), td.DropPath(0.1),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_layers_that_draw(layer):
    assert td.shared_prefix(nn.Sequential(nn.Linear(4, 4), layer)).noise == ("1",)
    if not isinstance(layer, nn.FractionalMaxPool2d):  # draws in eval, too
        assert td.shared_prefix(nn.Sequential(nn.Linear(4, 4), layer).eval()).is_silent


@pytest.mark.parametrize(
    "layer",
    [nn.LSTM(4, 4, dropout=0.0), nn.MultiheadAttention(4, 2), nn.BatchNorm1d(4), td.LSTM(4, 4), nn.Dropout(0.0)],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_draw_nothing(layer):
    assert td.shared_prefix(nn.Sequential(nn.Linear(4, 4), layer)).is_silent


class Forward(nn.Module):
    """A forward of one's own around two layers."""

    def __init__(self, forward):
        super().__init__()
        self.a, self.drop, self.c, self.own = nn.Linear(4, 8), td.Dropout(0.5), nn.Linear(8, 2), forward
        self.steps, self.last = 0, None

    def forward(self, x):
        return self.own(self, x)


def drawing(self, x):
    return self.c(self.drop(self.a(x) + torch.randn(8)))


def skipping(self, x):
    """As LayerDrop is written where it is not a layer."""
    h = self.a(x)
    return self.c(self.drop(h) if random.random() < 0.5 else h)


def frozen(self, x):
    with torch.no_grad():
        h = self.a(x)
    return self.c(self.drop(h))


def counting(self, x):
    self.steps += 1
    return self.c(self.drop(self.a(x)))


def keeping(self, x):
    self.last = self.a(x)
    return self.c(self.drop(self.last))


def branching(self, x):
    h = self.a(x)
    return self.c(self.drop(h)) if h.sum() > 0 else self.c(self.drop(h + 1))


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (drawing, "draws random numbers that no tensor of the graph shows"),
        (skipping, "draws random numbers that no tensor of the graph shows"),
        (frozen, "enters a context, such as `torch.no_grad()`"),
        (counting, "its forward sets the attribute `steps` of a Forward"),
        (keeping, "its forward sets the attribute `last` of a Forward"),
        (branching, "symbolically traced variables cannot be used as inputs to control flow"),
    ],
)
def test_what_tracing_would_get_wrong_is_not_shared_and_leaves_no_trace(forward, reason, calls):
    model, states = Forward(forward), (torch.get_rng_state(), random.getstate())
    before = dict(vars(model))
    assert reason in td.shared_prefix(model).reason
    assert vars(model) == before
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    with pytest.warns(UserWarning, match=r"test: what Forward computes before its first noise cannot be found, since"):
        shared(model, 2)
    # one batch of both passes, unless draws are for a whole batch
    assert calls == ([6] * 4 if forward in (drawing, skipping) else [12, 12])
    if forward is counting:
        assert model.steps == 1  # counted once in the one pass
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # once a model
            shared(model, 2)


@pytest.mark.parametrize("forward", [drawing, skipping, frozen, counting, keeping, branching])
def test_inside_a_model_such_a_module_is_called_whole_and_taken_for_noise(forward):
    part = Forward(forward)
    model = nn.Sequential(nn.Linear(4, 4), part, nn.Linear(2, 2))
    cut = td.shared_prefix(model)
    assert (cut.shared, cut.noise, cut.unseen) == (("0",), ("1",), ("1",))
    random.seed(0)
    first = in_turn(model, 2)
    random.seed(0)
    for a, b in zip(first, shared(model, 2), strict=True):
        torch.testing.assert_close(a, b)
    same_cut = td.shared_prefix(model)
    in_turn(model, 1)
    assert td.shared_prefix(model) is same_cut  # whatever it does to itself
    part.drop = nn.Identity()
    part.draws_per = None
    assert td.shared_prefix(model).is_silent  # it says that it draws nothing


def test_a_module_that_cannot_be_seen_into_at_the_start_is_named():
    model = nn.Sequential(Forward(branching), nn.Linear(2, 2))
    with pytest.warns(
        UserWarning, match=r"test: whether 0 of Sequential draws noise cannot be seen \(a module tells by"
    ):
        shared(model, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shared(nn.Sequential(Forward(branching), nn.Linear(2, 2)), 2, share=False)


def test_wrapped_and_hooked_models_are_called_as_they_are():
    model = MODELS["head"]()
    assert td.shared_prefix(torch.compile(model, backend="eager")).reason == "it is wrapped as a OptimizedModule"
    assert td.shared_prefix(nn.DataParallel(model)).reason == "it is wrapped as a DataParallel"
    model.register_forward_hook(lambda *_: None)
    assert td.shared_prefix(model).reason == "it has hooks"


def test_a_parameter_that_meets_noise_is_no_work_before_it(calls):
    class Placed(nn.Module):
        def __init__(self):
            super().__init__()
            self.places, self.drop, self.c = nn.Parameter(torch.ones(4)), td.Dropout(0.5), nn.Linear(4, 2)

        def forward(self, x):
            return self.c(self.drop(x) + self.places)

    model = Placed()
    assert not td.shared_prefix(model).saves
    shared(model, 2)
    assert calls == [12]


def test_a_tensor_made_in_the_forward_and_other_arguments():
    class Made(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.drop = nn.Linear(4, 3), td.Dropout(0.5)

        def forward(self, x, y, *, times=2, **more):
            return self.drop(self.a(x) * torch.arange(3.0)) * times + y

    model, x = Made(), (X, torch.ones(6, 3))
    assert td.shared_prefix(model, 2).saves
    torch.manual_seed(5)
    expected = [model(*x), model(*x)]
    for a, b in zip(expected, shared(model, 2, x), strict=True):
        torch.testing.assert_close(a, b)
    assert not hasattr(model, "_tensor_constant0")
    assert "takes other than 1 arguments" in td.shared_prefix(model).reason


def test_a_model_is_not_kept_alive():
    import gc  # noqa: PLC0415
    import weakref  # noqa: PLC0415

    model = MODELS["branches"]()
    td.shared_prefix(model)
    watched = weakref.ref(model)
    del model
    gc.collect()
    assert watched() is None
