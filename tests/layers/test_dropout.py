"""Dropout: the paper's rule, its equivalence with the inverted one, and errors."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchdropout as td


def max_norm_(weight, c):
    """Srivastava et al. 2014, section 5.1: incoming vectors of at most length c."""
    with torch.no_grad():
        norm = weight.norm(dim=1, keepdim=True)
        weight.mul_((c / norm).clamp(max=1.0))


def train(rule, p, steps=50):
    """SGD with momentum, weight decay and max-norm on the weights that leave the dropped layer; the final net."""
    keep = 1 - p
    torch.manual_seed(0)
    first, last = nn.Linear(5, 8).double(), nn.Linear(8, 3).double()
    drop = td.Dropout(p, rule=rule)
    factor = keep if rule == "inverted" else 1.0
    lr, decay, c = 0.1 * factor**2, 0.01 / factor**2, 0.9 * factor
    with torch.no_grad():
        last.weight.mul_(factor)
    groups = [
        {"params": first.parameters(), "lr": 0.1},
        {"params": [last.weight], "lr": lr, "weight_decay": decay},
        {"params": [last.bias], "lr": 0.1},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    x, y = torch.randn(16, 5).double(), torch.randint(3, (16,))
    for key in td.split(td.key(1), steps):
        optimizer.zero_grad()
        F.cross_entropy(last(drop(first(x).relu(), key=key)), y).backward()
        optimizer.step()
        max_norm_(last.weight, c)
    drop.eval()
    return first.weight, last.weight / factor, last.bias, last(drop(first(x).relu()))


@pytest.mark.parametrize("p", [0.25, 0.5])
def test_dropout_paper_and_inverted_rule_are_the_same_optimisation(p):
    for paper, inverted in zip(train("paper", p), train("inverted", p), strict=True):
        torch.testing.assert_close(inverted, paper, rtol=1e-12, atol=1e-12)


def test_the_equivalence_needs_the_adjusted_learning_rate(monkeypatch):
    paper = train("paper", 0.5)[1]
    sgd = torch.optim.SGD
    monkeypatch.setattr(torch.optim, "SGD", lambda groups, **kw: sgd([{**g, "lr": 0.1} for g in groups], **kw))
    assert not torch.allclose(train("inverted", 0.5)[1], paper, rtol=1e-3)


def test_dropout_eq3_is_the_expectation_over_all_masks():
    """Weight scaling is exact for a linear output: compare with the sum over all 2**5 masks."""
    torch.manual_seed(0)
    x, weight, keep = torch.randn(5).double(), torch.randn(3, 5).double(), 0.7
    expectation = torch.zeros(3).double()
    for mask in itertools.product((0.0, 1.0), repeat=5):
        m = torch.tensor(mask).double()
        chance = keep ** m.sum() * (1 - keep) ** (5 - m.sum())
        expectation += chance * (weight @ (x * m))
    y = td.Dropout(0.3, rule="paper").eval()(x)
    torch.testing.assert_close(weight @ y, expectation, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("p", [1e-7, 1e-4, 0.1, 0.3, 0.5, 0.75, 0.999, 1 - 1e-6])
def test_eval_of_the_papers_rule_is_exactly_the_mean_of_training(p):
    x = torch.ones(1, dtype=torch.float64)
    kept = td.functional.dropout(torch.ones(1 << 16, dtype=torch.float64), p, key=td.key(0)).amax()
    keep = td.Dropout(p, rule="paper").eval()(x)
    if kept > 0:
        torch.testing.assert_close(kept * keep[0], x[0], rtol=1e-15, atol=0)


def test_the_mask_of_a_key_is_what_the_layer_uses():
    x = torch.randn(7, 33)
    mask = td.functional.dropout_mask((7, 33), 0.3, key=td.key(5))
    assert mask.dtype == torch.bool
    assert torch.equal(td.Dropout(0.3)(x, key=td.key(5)) != 0, mask)
    shared = td.functional.dropout_mask((7, 33, 4), 0.3, key=td.key(5), shared_dims=(2,))
    assert shared.shape == (7, 33, 1)
    y = td.Dropout1d(0.3)(torch.ones(7, 33, 4), key=td.key(5))
    assert torch.equal(y != 0, shared.expand(7, 33, 4))


def test_setting_p_changes_the_rate_and_is_checked():
    layer = td.Dropout(0.5)
    layer.p = 0.125
    y = layer(torch.ones(1 << 16), key=td.key(0))
    assert y.unique().tolist() == pytest.approx([0.0, 8 / 7])
    with pytest.raises(ValueError, match="between 0 and 1, but got 1.5"):
        layer.p = 1.5
    assert layer.p == 0.125
    assert "p" not in layer.state_dict()


def test_unknown_rule():
    with pytest.raises(ValueError, match=r"^Dropout: `rule` must be one of 'inverted', 'paper', got 'caffe'\.$"):
        td.Dropout(0.5, rule="caffe")


@pytest.mark.parametrize("key", [7, torch.zeros(2), torch.zeros(3, dtype=torch.int64)])
def test_something_that_is_no_key(key):
    with pytest.raises(TypeError, match=r"`key` must be an int64 or uint64 tensor of shape \(\*batch, 2\), got "):
        td.functional.dropout(torch.ones(4), key=key)


def test_a_batched_key_must_fit_the_input():
    with pytest.raises(ValueError, match=r"got \(3,\) for \(4, 5\)"):
        td.functional.dropout(torch.ones(4, 5), key=td.split(td.key(0), 3))
