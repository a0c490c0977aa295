"""The R-Drop loss: every normalisation against NumPy, gradients, padding, precision, and errors."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import torchdropout as td

D = torch.float64
FIRST = torch.tensor([[2.0, 0, -1], [0.5, 0.5, 0]], dtype=D)
SECOND = torch.tensor([[1.5, 0.5, -1], [0, 1, 0.2]], dtype=D)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def by_numpy(a, b, targets, real=None, smoothing=0.0):
    """Cross-entropy of both passes and both divergences, an item each, by their definitions."""
    a, b = log_softmax(a.numpy()), log_softmax(b.numpy())
    p, q = np.exp(a), np.exp(b)
    one_hot = np.eye(a.shape[-1])[targets.numpy()] * (1 - smoothing) + smoothing / a.shape[-1]
    ce = -(one_hot * (a + b)).sum(-1)
    kl = ((p * (a - b)).sum(-1), (q * (b - a)).sum(-1))
    real = np.ones(ce.shape, dtype=bool) if real is None else real.numpy()
    return ce[real], kl[0][real], kl[1][real]


FORMS = {  # as the authors' programs compute them, from the items' terms
    "mean": lambda ce, kl, rkl, a: ce.mean() + a * (kl + rkl).mean() / 2,
    "translation": lambda ce, kl, rkl, a: ce.sum() + a * (kl + rkl).sum() / 2,
    "bert": lambda ce, kl, rkl, a: ce.mean() + a * (kl.sum() + rkl.sum()) / 2,
    "roberta": lambda ce, kl, rkl, a: 0.5 * ce.mean() + a * (kl.sum() + rkl.sum()) / 2,
    "readme": lambda ce, kl, rkl, a: 0.5 * ce.mean() + a * (kl.sum() + rkl.sum()) / 2,
    "vit": lambda ce, kl, rkl, a: ce.mean() + a * (kl.sum() + rkl.sum()),
}


@pytest.mark.parametrize(("alpha", "expected"), [(1, 1.1292686697), (5, 1.4529301091)])
def test_the_papers_loss_at_worked_values(alpha, expected):
    """A divergence that is averaged over classes, too, would be a third of it."""
    assert td.RDropLoss(alpha)(FIRST, SECOND, torch.tensor([0, 1])).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("reduction", FORMS)
@pytest.mark.parametrize("shape", [(5,), (4, 3)])
def test_every_normalisation(reduction, shape):
    a, b = 2 * torch.randn(2, *shape, 6, dtype=D)
    y = torch.randint(6, shape)
    for smoothing in (0.0, 0.1):
        expected = FORMS[reduction](*by_numpy(a, b, y, smoothing=smoothing), 0.7)
        loss = td.RDropLoss(0.7, reduction, label_smoothing=smoothing)
        assert loss(a, b, y).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("reduction", FORMS)
def test_the_table_of_the_docs_converts_alpha(reduction):
    """The same direction of descent as the paper's form at `alpha * factor * n**power`, times `scale * n**power`."""
    factor, power, scale, scale_power = {
        "mean": (1, 0, 1, 0), "translation": (1, 0, 1, 1), "bert": (1, 1, 1, 0), "roberta": (2, 1, 0.5, 0),
        "readme": (2, 1, 0.5, 0), "vit": (2, 1, 1, 0),
    }[reduction]  # fmt: skip
    n = 7
    a, b = torch.randn(2, n, 4, dtype=D)
    y = torch.randint(4, (n,))
    paper = td.RDropLoss(0.3 * factor * n**power)(a, b, y)
    torch.testing.assert_close(td.RDropLoss(0.3, reduction)(a, b, y), paper * scale * n**scale_power)


def test_the_default_does_not_depend_on_the_size_of_the_batch():
    """A divergence summed over the batch grows with it, as that of the authors' README does."""
    a, b = torch.randn(2, 8, 4, dtype=D)
    y = torch.randint(4, (8,))
    small, large = (td.RDropLoss(2.0)(*(t.repeat(n, 1) for t in (a, b)), y.repeat(n)) for n in (1, 64))
    torch.testing.assert_close(small, large)
    ratio = td.RDropLoss(2.0, "readme")(a.repeat(64, 1), b.repeat(64, 1), y.repeat(64)) / small
    assert ratio > 5


def test_gradients_flow_through_both_sides_of_the_divergence():
    a, b = torch.randn(2, 3, 4, dtype=D, requires_grad=True)
    y = torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(lambda u, v: td.RDropLoss(1.5)(u, v, y), (a, b))
    assert torch.autograd.gradgradcheck(lambda u, v: td.RDropLoss(1.5)(u, v, y), (a, b))
    with_kl = torch.autograd.grad(td.RDropLoss(1.0)(a, b, y), (a, b))
    without = torch.autograd.grad(td.RDropLoss(0.0)(a, b, y), (a, b))
    p, q = a.detach().softmax(-1), b.detach().softmax(-1)
    for logits, mine, others, full, plain in ((a, p, q, with_kl[0], without[0]), (b, q, p, with_kl[1], without[1])):
        apart = mine.log() - others.log()  # d KL(p, q) / d logits of p, and of q where p is held
        expected = 0.5 * (mine * (apart - (mine * apart).sum(-1, keepdim=True)) + mine - others) / 3
        torch.testing.assert_close(full - plain, expected)
        assert logits.shape == expected.shape


def test_padding_counts_for_nothing_whatever_stands_there():
    a, b = torch.randn(2, 3, 5, 4, dtype=D)
    y, real = torch.randint(4, (3, 5)), torch.rand(3, 5) > 0.4
    expected = FORMS["mean"](*by_numpy(a, b, y, real), 2.0)
    garbage = [torch.where(real.unsqueeze(-1), x, float("nan")).requires_grad_() for x in (a, b)]
    wild = torch.where(real, y, 99)
    loss = td.RDropLoss(2.0)(*garbage, wild, mask=real)
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    for x in garbage:
        assert (x.grad[~real] == 0).all()
        assert (x.grad[real] != 0).any()
    ignored = torch.where(real, y, -100)
    assert td.RDropLoss(2.0)(a, b, ignored).item() == pytest.approx(expected)
    other = td.RDropLoss(2.0, ignore_index=7)(a, b, torch.where(real, y, 7))
    assert other.item() == pytest.approx(expected)
    assert td.RDropLoss(2.0)(a, b, y, mask=torch.zeros(3, 5)) == 0


def test_probabilities_as_targets():
    a, b = torch.randn(2, 6, 4, dtype=D)
    y = torch.randint(4, (6,))
    soft = nn.functional.one_hot(y, 4).double()
    torch.testing.assert_close(td.RDropLoss(1.0)(a, b, soft), td.RDropLoss(1.0)(a, b, y))
    real = torch.tensor([1, 1, 0, 1, 0, 1])
    torch.testing.assert_close(td.RDropLoss(1.0)(a, b, soft, mask=real), td.RDropLoss(1.0)(a, b, y, mask=real))


@pytest.mark.parametrize("reduction", FORMS)
def test_regression_has_both_errors_and_the_square_of_the_difference(reduction):
    a, b, y = torch.randn(3, 6, 2, dtype=D)
    real = torch.rand(6, 2) > 0.3
    keep = real.numpy()
    errors = ((a - y) ** 2 + (b - y) ** 2).numpy()[keep]
    apart = ((a - b) ** 2).numpy()[keep]
    expected = FORMS[reduction](errors, apart, apart, 0.4)
    loss = td.RDropLoss(0.4, reduction, task="regression")
    assert loss(a, b, y, mask=real).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda u, v: loss(u, v, y), (a.requires_grad_(), b.requires_grad_()))


def test_extreme_logits_in_half_precision():
    """In float16 and bfloat16, as autocast leaves them: values and gradients are finite, and float64's."""
    for dtype in (torch.float16, torch.bfloat16):
        a = torch.tensor([[1e4, -1e4, 0], [1e4, 1e4, -1e4]]).to(dtype).requires_grad_()
        b = torch.tensor([[-1e4, 1e4, 0], [1e4, -1e4, 0]]).to(dtype).requires_grad_()
        y = torch.tensor([0, 1])
        with torch.autocast("cpu", dtype):
            loss = td.RDropLoss(1.0)(a, b, y)
        assert loss.dtype == torch.float32
        exact = td.RDropLoss(1.0)(a.detach().double(), b.detach().double(), y)
        assert loss.item() == pytest.approx(exact.item(), rel=1e-6)
        loss.backward()
        assert a.grad.isfinite().all()
        assert b.grad.isfinite().all()


def test_classes_that_are_excluded_by_minus_infinity():
    a, b = torch.randn(2, 3, 4, dtype=D)
    y = torch.tensor([0, 1, 2])
    wide = [torch.cat([x, torch.full((3, 2), -math.inf, dtype=D)], 1).requires_grad_() for x in (a, b)]
    loss = td.RDropLoss(2.0)(*wide, y)
    torch.testing.assert_close(loss, td.RDropLoss(2.0)(a, b, y))
    loss.backward()
    assert all(x.grad.isfinite().all() for x in wide)


def test_equal_passes_have_no_divergence_and_nothing_costs_nothing():
    a, y = torch.randn(4, 3, dtype=D), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(td.RDropLoss(9.0)(a, a, y), 2 * nn.functional.cross_entropy(a, y))
    empty = torch.zeros(0, 3, requires_grad=True)
    td.RDropLoss(1.0)(empty, empty, torch.zeros(0, dtype=torch.long)).backward()
    single = td.RDropLoss(1.0)(FIRST[0], SECOND[0], torch.tensor(0))
    torch.testing.assert_close(single, td.RDropLoss(1.0)(FIRST[:1], SECOND[:1], torch.tensor([0])))


def test_it_compiles_and_copies():
    loss = td.RDropLoss(2.0)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    y, mask = torch.tensor([0, 1]), torch.tensor([True, False])
    torch.testing.assert_close(compiled(FIRST, SECOND, y, mask=mask), loss(FIRST, SECOND, y, mask=mask))
    assert repr(copy.deepcopy(loss)) == "RDropLoss(alpha=2.0, reduction='mean', task='classification')"


NAN = FIRST.clone().index_fill_(0, torch.tensor([1]), float("nan"))
Y = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.RDropLoss(-1), ValueError, "RDropLoss: `alpha` must be finite and not negative, got -1."),
        (lambda: td.RDropLoss("1"), TypeError, "RDropLoss: `alpha` must be a number, got '1'."),
        (
            lambda: td.RDropLoss(1, "sum"),
            ValueError,
            "RDropLoss: `reduction` must be one of 'mean', 'translation', 'bert', 'roberta', 'readme', 'vit', "
            "got 'sum'.",
        ),
        (
            lambda: td.RDropLoss(1, task="tokens"),
            ValueError,
            "RDropLoss: `task` must be one of 'classification', 'regression', got 'tokens'.",
        ),
        (
            lambda: td.RDropLoss(1)(FIRST, SECOND, torch.tensor([0, 3])),
            ValueError,
            "RDropLoss: `targets` must be in [0, 3), got 0 to 3.",
        ),
        (
            lambda: td.RDropLoss(1)(FIRST, SECOND, torch.tensor([-1, 2])),
            ValueError,
            "RDropLoss: `targets` must be in [0, 3), got -1 to 2.",
        ),
        (
            lambda: td.RDropLoss(1)(FIRST, SECOND, torch.tensor([[0, 1]])),
            ValueError,
            "RDropLoss: `targets` of class numbers must have shape (2,), got (1, 2).",
        ),
        (
            lambda: td.RDropLoss(1)(FIRST, SECOND, torch.ones(2)),
            ValueError,
            "RDropLoss: `targets` of probabilities must have shape (2, 3), got (2,).",
        ),
        (
            lambda: td.RDropLoss(1, task="regression")(FIRST, SECOND, torch.ones(2)),
            ValueError,
            "RDropLoss: `targets` must have the outputs' shape (2, 3), got (2,).",
        ),
        (
            lambda: td.RDropLoss(1)(FIRST, SECOND, Y, mask=torch.ones(2, 3)),
            ValueError,
            "RDropLoss: `mask` must have shape (2,), got (2, 3).",
        ),
        (
            lambda: td.RDropLoss(1)(FIRST, SECOND[:1], Y),
            ValueError,
            "RDropLoss: the outputs must have one shape and at least one axis, got (2, 3) and (1, 3).",
        ),
        (
            lambda: td.RDropLoss(1)(FIRST.long(), SECOND, Y),
            TypeError,
            "RDropLoss: the input must be floating point, got torch.int64.",
        ),
        (
            lambda: td.RDropLoss(1)(FIRST, NAN, Y),
            ValueError,
            "RDropLoss: NaN must not be in one pass alone, got it in the second.",
        ),
        (
            lambda: td.RDropLoss(1)(NAN, SECOND, Y),
            ValueError,
            "RDropLoss: NaN must not be in one pass alone, got it in the first.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_nan_in_both_passes_is_a_loss_of_nan_and_nobody_looks_where_told_not_to():
    assert td.RDropLoss(1)(NAN, NAN, Y).isnan()
    assert td.RDropLoss(1, validate=False)(FIRST, NAN, Y).isnan()
