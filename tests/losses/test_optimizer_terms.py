"""What learning does to weights beside the loss: soft thresholding, and groups with and without decay."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from torch import nn

import torchdropout as td

D = torch.float64


def test_soft_thresholding_of_every_case():
    layer = nn.Linear(6, 1, bias=True).double()
    before = torch.tensor([[0.5, -0.5, 0.2, -0.2, 0.0, float("nan")]], dtype=D)
    with torch.no_grad():
        layer.weight.copy_(before)
        layer.bias.fill_(0.1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    handle = td.proximal_l1_(optimizer, layer, 0.4)  # by 0.2
    assert layer.weight[0, 0] == 0.5  # nothing before a step
    (0.0 * torch.stack([p.sum() for p in layer.parameters()])).nan_to_num().sum().backward()
    layer.weight.grad.zero_()
    optimizer.step()
    assert layer.weight[0, :5].tolist() == [pytest.approx(0.3), pytest.approx(-0.3), 0.0, 0.0, 0.0]
    assert layer.weight[0, 5].isnan()
    assert layer.bias.item() == 0.1
    handle.remove()
    optimizer.step()
    assert layer.weight[0, 0].item() == pytest.approx(0.3)


def test_proximal_gradient_descent_solves_the_lasso_with_its_exact_zeros():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 6))
    y = x @ np.array([1.5, 0.0, -0.7, 0.0, 0.0, 0.1]) + 0.1 * rng.normal(size=80)
    expected = Lasso(alpha=0.15, tol=1e-12, max_iter=10**6, fit_intercept=False).fit(x, y).coef_
    layer = nn.Linear(6, 1, bias=False).double()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.2)
    td.proximal_l1_(optimizer, layer, 0.15)
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(300):
        optimizer.zero_grad()
        (0.5 * (layer(a)[:, 0] - b).square().mean()).backward()
        optimizer.step()
    found = layer.weight.detach().numpy()[0]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert ((found == 0) == (expected == 0)).all()
    assert (found == 0).sum() >= 3


def test_the_learning_rate_is_that_of_the_group_and_step_and_skipped_steps_change_nothing():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    for layer in model:
        nn.init.constant_(layer.weight, 1.0)
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[1].parameters(), "lr": 0.2}]
    optimizer = torch.optim.SGD(groups)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    td.proximal_l1_(optimizer, model, 1.0)
    for expected in ([0.9, 0.8], [0.85, 0.7]):
        for layer in model:
            layer.weight.grad = torch.zeros(1, 1)
        optimizer.step()
        scheduler.step()
        assert [layer.weight.item() for layer in model] == pytest.approx(expected)
    model[0].weight.grad = torch.full((1, 1), float("inf"))
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    scaler.scale(torch.zeros(()))  # a scaler scales something before it steps
    scaler.step(optimizer)
    scaler.update()
    assert [layer.weight.item() for layer in model] == pytest.approx([0.85, 0.7])


def test_only_chosen_weights_shrink():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    before = [layer.weight.detach().clone() for layer in model]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    td.proximal_l1_(optimizer, model, 10.0, filter_fn=lambda p, name: name.startswith("1"))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.equal(model[0].weight, before[0])
    assert (model[1].weight == 0).all()


class Text(nn.Module):
    """Everything that groups tell apart."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.rnn = nn.LSTM(4, 4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.norm = nn.LayerNorm((1, 4))
        self.scale = nn.Parameter(torch.ones(4))
        self.sparse = td.SparseVariationalLinear(4, 4)
        self.output = nn.Linear(4, 7)
        self.output.weight = self.table.weight
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


DECAYED = {"rnn.weight_ih_l0", "rnn.weight_hh_l0", "attention.in_proj_weight", "attention.out_proj.weight"}
DECAYED |= {"sparse.weight", "frozen.weight"}


@pytest.mark.parametrize("exempt", [False, True])
@pytest.mark.parametrize("wrap", [lambda m: m, nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_groups_hold_every_parameter_once(exempt, wrap):
    model = Text()
    names = {id(p): name for name, p in model.named_parameters()}
    groups = td.param_groups(wrap(model), 0.1, exempt_embeddings=exempt)
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(names)
    assert len(listed) == len(set(listed))
    expected = DECAYED if exempt else DECAYED | {"table.weight"}
    assert {names[id(p)] for p in groups[0]["params"]} == expected


def test_decay_moves_the_decayed_alone():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(td.param_groups(model, 0.5), lr=0.1)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * (0.95 if name == "0.weight" else 1.0))
    (only,) = td.param_groups(nn.BatchNorm1d(3), 0.5)
    assert only["weight_decay"] == 0.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: td.param_groups(nn.Linear(1, 1), -1),
            ValueError,
            "param_groups: `weight_decay` must be finite and not negative, got -1.",
        ),
        (
            lambda: td.param_groups(nn.ReLU(), 1),
            ValueError,
            "param_groups: `model` must have parameters, found none.",
        ),
        (
            lambda: td.proximal_l1_(torch.optim.SGD(nn.Linear(1, 1).parameters()), nn.Linear(1, 1), -0.1),
            ValueError,
            "proximal_l1_: `strength` must be finite and not negative, got -0.1.",
        ),
        (
            lambda: td.proximal_l1_(torch.optim.SGD(nn.Linear(1, 1).parameters()), nn.Linear(1, 1), 0.1),
            ValueError,
            "proximal_l1_: `optimizer` must update a weight that is chosen, it updates none.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
