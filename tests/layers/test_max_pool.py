"""Max-pooling dropout: enumeration of every mask, windows that overlap, padding, the test rules."""

import itertools

import pytest
import torch
import torch.nn.functional as F

import torchdropout as td
from torchdropout.layers._weighted_pool import _by_network, _by_sorting, probabilistic_weighted_pool
from torchdropout.layers._windows import windows

X = torch.tensor([[[0.5, 2.0], [1.0, 3.0]]], dtype=torch.float64)


def masks(count, keep):
    """Every mask of `count` elements and its probability."""
    for bits in itertools.product((0.0, 1.0), repeat=count):
        kept = sum(bits)
        yield torch.tensor(bits, dtype=torch.float64), keep**kept * (1 - keep) ** (count - kept)


def expectation(x, keep, pool):
    """Of pooling over every mask, and of its square."""
    first = second = 0.0
    for mask, probability in masks(x.numel(), keep):
        y = pool(x * mask.view_as(x))
        first, second = first + probability * y, second + probability * y * y
    return first, second - first * first


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "shape"),
    [
        (2, None, 0, (1, 2, 2)),
        (2, 1, 0, (1, 3, 3)),
        ((1, 2), 1, 0, (1, 3, 4)),
        (3, 2, 1, (1, 3, 4)),
        (2, 2, 1, (1, 3, 3)),
        ((3, 4), None, 0, (1, 3, 4)),
    ],
)
@pytest.mark.parametrize("p", [0.25, 0.5, 0.875])
def test_max_pool_dropout_section3_eval_is_the_expectation_over_every_mask(kernel, stride, padding, shape, p):
    torch.manual_seed(0)
    x = torch.rand(shape, dtype=torch.float64)
    expected, _ = expectation(x, 1 - p, lambda z: F.max_pool2d(z, kernel, stride, padding))
    layer = td.MaxPoolDropout2d(kernel, stride, padding, p=p).eval()
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x.float()), expected.float())


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, None, 0), (3, 1, 1), (4, 2, 2), (5, 1, 0)])
def test_max_pool_dropout1d_eval_is_the_expectation_over_every_mask(kernel, stride, padding):
    torch.manual_seed(0)
    x = torch.rand(2, 5, dtype=torch.float64)
    expected, _ = expectation(x, 0.75, lambda z: F.max_pool1d(z, kernel, stride, padding))
    torch.testing.assert_close(td.MaxPoolDropout1d(kernel, stride, padding, p=0.25).eval()(x), expected)


def test_worked_values():
    """`keep` is no multiple of 1/256 here, so the realised one differs in the fifth digit."""
    assert td.MaxPoolDropout2d(2, p=0.3).eval()(X).item() == pytest.approx(2.59245, abs=1e-4)
    assert td.MaxPoolDropout2d(2, p=0.3, inference="scaled").eval()(X).item() == pytest.approx(2.1, abs=1e-4)
    assert td.MaxPoolDropout2d(2, p=0.3, inference="max").eval()(X).item() == 3.0
    assert td.MaxPoolDropout2d(2, p=0.5).eval()(X).item() == pytest.approx(2.15625, abs=1e-12)
    over = windows("test", 2, 2, None, 0)
    assert probabilistic_weighted_pool(X, over, 0.7).item() == pytest.approx(2.59245, abs=1e-12)


def test_training_picks_each_element_with_the_papers_probability():
    """Section 3: `k (1 - k)**(n - i)` for the i-th smallest, `(1 - k)**n` for zero. Each count is binomial; its
    deviation exceeds 6 standard deviations with probability below 1e-7 over the five of them."""
    count, p = 1 << 16, 0.25
    y = td.MaxPoolDropout2d(2, p=p)(X.expand(count, 1, 2, 2), key=td.key(0)).flatten()
    for value, probability in [(3.0, 0.75), (2.0, 0.1875), (1.0, 0.046875), (0.5, 0.01171875), (0.0, 0.00390625)]:
        spread = (count * probability * (1 - probability)) ** 0.5
        assert abs((y == value).sum().item() - count * probability) < 6 * spread, value


def test_windows_that_overlap_share_the_mask():
    """Mean, variance and covariance of two overlapping windows against enumeration; 6 standard errors."""
    x = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    outcomes = [(F.max_pool1d((x * m)[None], 2, 1)[0], probability) for m, probability in masks(3, 0.5)]
    mean = sum(q * y for y, q in outcomes)
    covariance = sum(q * torch.outer(y - mean, y - mean) for y, q in outcomes)
    assert covariance[0, 1] > 0.3  # independent masks would have none
    y = td.MaxPoolDropout1d(2, 1)(x.expand(1 << 16, 1, 3), key=td.key(1)).squeeze(1)
    torch.testing.assert_close(y.mean(0), mean, rtol=0, atol=6 * 1.0 / 256)
    torch.testing.assert_close(y.T.cov(), covariance, rtol=0, atol=6 * 1.5 / 256)


def test_elements_examples_and_channels_have_masks_of_their_own():
    """Correlation of n independent pairs is below 6 / sqrt(n) with probability above 1 - 2e-9 each."""
    y = td.MaxPoolDropout2d(1)(torch.ones(2, 2, 128, 128), key=td.key(2)).flatten(2).flatten(0, 1)
    correlation = y.corrcoef().fill_diagonal_(0.0)
    assert correlation.abs().max() < 6 / 128
    assert y.mean().item() == pytest.approx(0.5, abs=6 * 0.5 / 256)


def test_the_mask_is_the_one_of_dropout():
    x = torch.rand(3, 4, 7, 6)
    kept = x * td.functional.dropout_mask(x.shape, 0.3, key=td.key(5))
    y = td.MaxPoolDropout2d(3, 2, 1, p=0.3)(x, key=td.key(5))
    assert torch.equal(y, F.max_pool2d(kept, 3, 2, 1))


@pytest.mark.parametrize("kernel", [1, 2, 3, (1, 2), (4, 3), 4, (2, 8)])
def test_the_network_orders_as_a_sort_does(kernel):
    torch.manual_seed(0)
    x = torch.rand(2, 3, 9, 11).round(decimals=1)  # with ties
    for stride in (1, 2, None):
        over = windows("test", 2, kernel, stride, 0)
        network, sort = torch.stack(_by_network(x, over)), torch.stack(_by_sorting(x, over))
        assert torch.equal(network, sort)


@pytest.mark.parametrize("kernel", [2, 5])
def test_eval_has_the_gradient_of_the_weights(kernel):
    torch.manual_seed(0)
    x = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(td.MaxPoolDropout2d(kernel, 1, p=0.25).eval(), (x,))
    td.MaxPoolDropout2d(kernel, 1, p=0.25).eval()(x)[0, 0, 0, 0].backward()
    first = x.grad[0, 0, :kernel, :kernel].flatten()
    order = x.detach()[0, 0, :kernel, :kernel].flatten().argsort(descending=True)
    weights = 0.75 * 0.25 ** torch.arange(kernel * kernel, dtype=torch.float64)
    torch.testing.assert_close(first[order], weights)


def test_settled_rates():
    x = torch.rand(2, 3, 8, 8)
    for inference in ("weighted", "max", "scaled"):
        layer = td.MaxPoolDropout2d(2, p=0.0, inference=inference)
        assert torch.equal(layer(x), F.max_pool2d(x, 2))
        torch.testing.assert_close(layer.eval()(x), F.max_pool2d(x, 2))
        layer.p = 1.0
        expected = F.max_pool2d(x, 2) if inference == "max" else torch.zeros(2, 3, 4, 4)
        assert torch.equal(layer(x), expected)
        assert torch.equal(layer.train()(x), torch.zeros(2, 3, 4, 4))
    for p in (1e-6, 1 - 1e-6):
        x.requires_grad_()
        y = td.MaxPoolDropout2d(2, p=p).eval()(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert torch.isfinite(y).all()
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("training", [True, False])
def test_negative_input_is_an_error(training):
    x = torch.ones(2, 3, 4, 4)
    x[1, 2, 3, 3] = -0.25
    message = r"^MaxPoolDropout2d: the input must not be negative \(a dropped 0 would win the maximum\), got -0\.25\.$"
    with pytest.raises(ValueError, match=message):
        td.MaxPoolDropout2d(2).train(training)(x)


def test_nan_stays():
    x = torch.ones(1, 1, 4, 4)
    x[0, 0, 0, 0] = torch.nan
    for training in (True, False):
        assert td.MaxPoolDropout2d(2).train(training)(x)[0, 0, 0, 0].isnan()


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (ValueError, lambda: td.MaxPoolDropout2d(2, p=1.5), "MaxPoolDropout2d: `p` must be in [0, 1], got 1.5."),
        (ValueError, lambda: td.MaxPoolDropout1d(0), "MaxPoolDropout1d: `kernel_size` must be at least 1, got 0."),
        (ValueError, lambda: td.MaxPoolDropout2d(2, 0), "MaxPoolDropout2d: `stride` must be at least 1, got 0."),
        (ValueError, lambda: td.MaxPoolDropout2d(2, 1, -1), "MaxPoolDropout2d: `padding` must be at least 0, got -1."),
        (
            ValueError,
            lambda: td.MaxPoolDropout2d(2, 2, 2),
            "MaxPoolDropout2d: `padding` must be at most half of `kernel_size`, got 2 for 2.",
        ),
        (
            TypeError,
            lambda: td.MaxPoolDropout2d((2, 2, 2)),
            "MaxPoolDropout2d: `kernel_size` must be an integer or 2 of them, got (2, 2, 2).",
        ),
        (TypeError, lambda: td.MaxPoolDropout1d(1.5), "MaxPoolDropout1d: `kernel_size` must be an integer, got 1.5."),
        (
            ValueError,
            lambda: td.MaxPoolDropout2d(2, inference="mean"),
            "MaxPoolDropout2d: `inference` must be one of 'weighted', 'max', 'scaled', got 'mean'.",
        ),
        (
            ValueError,
            lambda: td.MaxPoolDropout2d(5)(torch.ones(1, 4, 8)),
            "MaxPoolDropout2d: `kernel_size` must be at most the padded map's size, got (5, 5) for (4, 8).",
        ),
        (
            ValueError,
            lambda: td.functional.max_pool_dropout1d(torch.ones(4), 2),
            "max_pool_dropout1d: the input must have shape (N, C, L) or (C, L), got (4,).",
        ),
        (
            TypeError,
            lambda: td.functional.max_pool_dropout2d(torch.ones(1, 4, 4, dtype=torch.int64), 2),
            "max_pool_dropout2d: the input must be floating point, got torch.int64.",
        ),
    ],
)
def test_errors(kind, call, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
