"""DropPath: what one draw covers, and the paper's rules."""

import pytest
import torch

import torchdropout as td


def test_drop_path_eq2_and_eq5_in_the_papers_mode():
    """One draw for the mini-batch, unscaled in training; multiplied by the survival probability at test time."""
    x = torch.randn(6, 4)
    layer = td.DropPath(0.25, per="batch", rule="paper")
    outputs = [layer(x, key=key) for key in td.split(td.key(0), 200)]
    survived = [torch.equal(y, x) for y in outputs]
    assert all(s or torch.equal(y, torch.zeros_like(x)) for s, y in zip(survived, outputs, strict=True))
    assert 100 < sum(survived) < 190  # Binomial(200, 0.75) leaves this range with probability below 1e-9
    torch.testing.assert_close(layer.eval()(x), 0.75 * x)


def test_by_default_each_example_is_dropped_or_kept_as_a_whole():
    y = td.DropPath(0.5)(torch.ones(1000, 3, 2), key=td.key(0)).flatten(1)
    assert torch.equal(y.amin(1), y.amax(1))
    assert set(y.unique().tolist()) == {0.0, 2.0}


def test_a_residual_block_without_its_branch_is_the_identity():
    torch.manual_seed(0)
    branch, x = torch.nn.Linear(4, 4), torch.randn(50, 4)
    y = x + td.DropPath(0.5)(branch(x), key=td.key(0))
    dropped = td.functional.dropout_mask((50, 1), 0.5, key=td.key(0)).logical_not().squeeze()
    assert 0 < dropped.sum() < 50
    assert torch.equal(y[dropped], x[dropped])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: td.DropPath(1.5), "DropPath: `p` must be in [0, 1], got 1.5."),
        (lambda: td.DropPath(float("nan")), "DropPath: `p` must be in [0, 1], got nan."),
        (lambda: td.DropPath(0.5, per="row"), "DropPath: `per` must be one of 'example', 'batch', got 'row'."),
        (
            lambda: td.DropPath(0.5)(torch.tensor(1.0)),
            "DropPath: the input must have a batch axis, got a tensor of shape ().",
        ),
        (lambda: td.functional.drop_path(torch.ones(2), 2), "drop_path: `p` must be in [0, 1], got 2."),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match="^DropPath|^drop_path") as caught:
        call()
    assert str(caught.value) == message
