"""Average-pooling dropout: the three rules against enumeration of every mask."""

import itertools

import pytest
import torch
import torch.nn.functional as F

import torchdropout as td

RULES = ("paper", "inverted", "survivors")
X = torch.tensor([[[0.5, 2.0], [1.0, 3.0]]], dtype=torch.float64)


def enumerate_windows(x, p, rule, kernel, stride, padding):
    """Mean and covariance of the flattened output, window by window in Python."""
    height, width = x.shape[-2:]
    keep, outcomes = 1 - p, []
    for bits in itertools.product((0, 1), repeat=height * width):
        mask = torch.tensor(bits, dtype=torch.float64).view(height, width)
        values = []
        for top in range(-padding, height + padding - kernel + 1, stride):
            for left in range(-padding, width + padding - kernel + 1, stride):
                rows = slice(max(top, 0), max(top + kernel, 0))
                columns = slice(max(left, 0), max(left + kernel, 0))
                kept, total = mask[rows, columns].sum().item(), (x[0] * mask)[rows, columns].sum().item()
                divisor = {"paper": kernel**2, "inverted": kernel**2 * keep, "survivors": max(kept, 1)}[rule]
                values.append(total / divisor)
        probability = keep ** sum(bits) * p ** (len(bits) - sum(bits))
        outcomes.append((torch.tensor(values, dtype=torch.float64), probability))
    mean = sum(q * y for y, q in outcomes)
    return mean, sum(q * torch.outer(y - mean, y - mean) for y, q in outcomes)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("windows", [(2, 2, 0), (2, 1, 0), (3, 2, 1), (2, 2, 1)])
def test_avg_pool_dropout_section4_eval_is_the_expectation_over_every_mask(rule, windows):
    torch.manual_seed(0)
    x = torch.randn(1, 3, 4, dtype=torch.float64)
    mean, _ = enumerate_windows(x, 0.25, rule, *windows)
    y = td.AvgPoolDropout2d(*windows, p=0.25, rule=rule).eval()(x)
    torch.testing.assert_close(y.flatten(), mean)
    torch.testing.assert_close(td.AvgPoolDropout2d(*windows, p=0.25, rule=rule).eval()(x.float()), y.float())


@pytest.mark.parametrize("rule", RULES)
def test_training_has_the_mean_and_covariance_of_the_enumeration(rule):
    """Overlapping windows share masks. 6 standard errors: below 1e-7 over all entries."""
    torch.manual_seed(0)
    x = torch.randn(1, 2, 3, dtype=torch.float64)
    mean, covariance = enumerate_windows(x, 0.5, rule, 2, 1, 0)
    count = 1 << 16
    y = td.AvgPoolDropout2d(2, 1, rule=rule)(x.expand(count, 1, 2, 3), key=td.key(3)).flatten(1)
    spread = covariance.diagonal().sqrt()
    assert ((y.mean(0) - mean).abs() < 6 * spread / count**0.5).all()
    # A product of two bounded variables has at most the variance of its range.
    reach = (y - mean).abs().amax(0)
    assert ((y.T.cov() - covariance).abs() < 6 * torch.outer(reach, reach) / count**0.5).all()
    assert covariance[0, 1].abs() > 0.01


@pytest.mark.parametrize("rule", RULES)
def test_one_dimension_is_two_with_a_single_row(rule):
    x = torch.rand(2, 3, 9)
    for training in (True, False):
        one = td.AvgPoolDropout1d(3, 2, 1, p=0.25, rule=rule).train(training)(x, key=td.key(0))
        flat = td.AvgPoolDropout2d((1, 3), (1, 2), (0, 1), p=0.25, rule=rule).train(training)
        torch.testing.assert_close(one, flat(x.unsqueeze(-2), key=td.key(0)).squeeze(-2))


def test_worked_values():
    def at(rule):
        return td.AvgPoolDropout2d(2, p=0.3, rule=rule).eval()(X).item()

    assert at("paper") == pytest.approx(1.1375, abs=1e-4)  # the realised keep probability is 0.7 to 1e-5
    assert at("inverted") == pytest.approx(1.625, abs=1e-12)
    assert at("survivors") == pytest.approx(1.6118375, abs=1e-5)


def test_nothing_kept_is_zero_with_finite_gradients():
    x = torch.rand(64, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    y = td.AvgPoolDropout2d(2, p=0.875, rule="survivors")(x, key=td.key(0))
    assert (y == 0).any()
    assert (y != 0).any()
    y.sum().backward()
    assert torch.isfinite(x.grad).all()
    sums = x.grad.flatten(1).sum(1)  # 1 where something was kept: a mean
    torch.testing.assert_close(sums, (y.flatten() != 0).double())


@pytest.mark.parametrize("rule", RULES)
def test_settled_rates(rule):
    x = torch.randn(2, 3, 8, 8)
    layer = td.AvgPoolDropout2d(2, p=0.0, rule=rule)
    torch.testing.assert_close(layer(x), F.avg_pool2d(x, 2))
    torch.testing.assert_close(layer.eval()(x), F.avg_pool2d(x, 2))
    layer.p = 1.0
    expected = F.avg_pool2d(x, 2) if rule == "inverted" else torch.zeros(2, 3, 4, 4)
    torch.testing.assert_close(layer(x), expected)
    assert torch.equal(layer.train()(x), torch.zeros(2, 3, 4, 4))


def test_the_mask_is_the_one_of_dropout():
    x = torch.randn(3, 4, 7, 6)
    kept = x * td.functional.dropout_mask(x.shape, 0.3, key=td.key(5))
    assert torch.equal(td.AvgPoolDropout2d(3, 2, 1, p=0.3)(x, key=td.key(5)), F.avg_pool2d(kept, 3, 2, 1))


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (ValueError, lambda: td.AvgPoolDropout2d(2, p=-1), "AvgPoolDropout2d: `p` must be in [0, 1], got -1."),
        (
            ValueError,
            lambda: td.AvgPoolDropout1d(2, rule="mean"),
            "AvgPoolDropout1d: `rule` must be one of 'paper', 'inverted', 'survivors', got 'mean'.",
        ),
        (
            ValueError,
            lambda: td.AvgPoolDropout1d(4)(torch.ones(2, 3)),
            "AvgPoolDropout1d: `kernel_size` must be at most the padded map's size, got (4,) for (3,).",
        ),
        (
            ValueError,
            lambda: td.functional.avg_pool_dropout2d(torch.ones(4, 4), 2),
            "avg_pool_dropout2d: the input must have shape (N, C, H, W) or (C, H, W), got (4, 4).",
        ),
        (
            TypeError,
            lambda: td.functional.avg_pool_dropout1d(torch.ones(4, 4, dtype=torch.int32), 2),
            "avg_pool_dropout1d: the input must be floating point, got torch.int32.",
        ),
    ],
)
def test_errors(kind, call, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
