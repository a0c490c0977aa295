"""Max-Drop: which element goes, how often, what the rest is multiplied by."""

import pytest
import torch

import torchdropout as td


def first_maximum(values):
    """By a loop: the index of the first largest."""
    best = 0
    for i, value in enumerate(values):
        if value > values[best]:
            best = i
    return best


@pytest.mark.parametrize("window", [1, 3, 5])
def test_feature_mode_drops_the_window_around_each_maximum(window):
    torch.manual_seed(0)
    x = torch.randn(6, 4, 5, 7, dtype=torch.float64)
    y = td.MaxDrop(1.0, window=window)(x)
    scale = 1 / (1 - window**2 / 35)
    for n in range(6):
        for c in range(4):
            row, column = divmod(first_maximum(x[n, c].flatten().tolist()), 7)
            expected = x[n, c].clone() * scale
            half = window // 2
            expected[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1] = 0.0
            torch.testing.assert_close(y[n, c], expected)


def test_channel_mode_drops_the_largest_channel_at_each_position():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, 7, dtype=torch.float64)
    y = td.MaxDrop(1.0, mode="channel")(x)
    for n in range(3):
        for i in range(5):
            for j in range(7):
                expected = x[n, :, i, j] * (4 / 3)
                expected[first_maximum(x[n, :, i, j].tolist())] = 0.0
                torch.testing.assert_close(y[n, :, i, j], expected)


def test_of_equal_maxima_the_first_goes():
    x = torch.tensor([[[1.0, 3.0], [3.0, 3.0]], [[1.0, 3.0], [0.0, 3.0]]])
    assert (td.MaxDrop(1.0)(x) == 0).nonzero().tolist() == [[0, 0, 1], [1, 0, 1], [1, 1, 0]]
    assert ((td.MaxDrop(1.0, mode="channel")(x) == 0)[:, 0]).tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize(("mode", "axes"), [("feature", (2, 3)), ("channel", (1,))])
def test_draws_are_independent_at_the_stated_rate(mode, axes):
    """One draw a map, or a position: rate and correlation within 6 standard errors (2e-9 each)."""
    x = torch.rand(20_000, 2, 2, 2) + 0.5
    dropped = (td.MaxDrop(0.25, mode=mode)(x, key=td.key(0)) == 0).sum(axes).flatten(1).double()
    assert set(dropped.unique().tolist()) == {0.0, 1.0}
    assert abs(dropped.mean().item() - 0.25) < 6 * (0.1875 / dropped.numel()) ** 0.5
    correlation = dropped.T.corrcoef().fill_diagonal_(0.0)
    assert correlation.abs().max() < 6 / 20_000**0.5
    assert dropped.shape[1] == (2 if mode == "feature" else 4)


@pytest.mark.parametrize(
    ("layer", "scale"),
    [
        (td.MaxDrop(0.25), 1 / (1 - 0.25 / 30)),
        (td.MaxDrop(0.25, window=3), 1 / (1 - 0.25 * 9 / 30)),
        (td.MaxDrop(0.25, mode="channel"), 1 / (1 - 0.25 / 4)),
    ],
)
def test_the_gradient_is_the_mask_times_the_scale(layer, scale):
    x = torch.rand(3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    y = layer(x, key=td.key(0))
    y.sum().backward()
    mask = (y != 0).double()
    assert 0 < mask.mean() < 1
    torch.testing.assert_close(x.grad, mask * scale)
    torch.testing.assert_close(y, x * mask * scale)


def test_eval_is_the_identity_and_p_zero_too():
    x = torch.randn(2, 3, 4, 4)
    assert td.MaxDrop().eval()(x) is x
    assert td.MaxDrop(0.0)(x) is x
    assert td.functional.max_drop(x, training=False) is x


def test_all_that_can_be_dropped_is_zero_and_finite():
    x = torch.randn(2, 1, 1, 1, requires_grad=True)
    for mode in ("feature", "channel"):
        y = td.MaxDrop(1.0, mode=mode)(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(y.abs(), torch.zeros(2, 1, 1, 1))
        assert torch.equal(gradient, torch.zeros(2, 1, 1, 1))


def test_nan_is_the_maximum_and_stays():
    x = torch.ones(1, 1, 2, 2)
    x[0, 0, 1, 0] = torch.nan
    assert td.MaxDrop(1.0)(x).isnan().flatten().tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (ValueError, lambda: td.MaxDrop(-0.5), "MaxDrop: `p` must be in [0, 1], got -0.5."),
        (ValueError, lambda: td.MaxDrop(window=2), "MaxDrop: `window` must be odd and positive, got 2."),
        (TypeError, lambda: td.MaxDrop(window=1.0), "MaxDrop: `window` must be an integer, got 1.0."),
        (
            ValueError,
            lambda: td.MaxDrop(mode="channel", window=3),
            "MaxDrop: `window` must be 1 where `mode` is 'channel', got 3.",
        ),
        (ValueError, lambda: td.MaxDrop(mode="row"), "MaxDrop: `mode` must be one of 'feature', 'channel', got 'row'."),
        (
            ValueError,
            lambda: td.MaxDrop(window=5)(torch.ones(1, 4, 6)),
            "MaxDrop: `window` must fit into the map, got 5 for 4 x 6.",
        ),
        (
            ValueError,
            lambda: td.functional.max_drop(torch.ones(4, 6)),
            "max_drop: the input must have shape (N, C, H, W) or (C, H, W), got (4, 6).",
        ),
        (
            TypeError,
            lambda: td.functional.max_drop(torch.ones(1, 4, 6, dtype=torch.int64)),
            "max_drop: the input must be floating point, got torch.int64.",
        ),
    ],
)
def test_errors(kind, call, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
