"""Activation penalties: against sums written out, both layouts, padding, and errors."""

import itertools

import pytest
import torch

import torchdropout as td

D = torch.float64


def test_ar_section4_6_is_the_mean_square_of_what_is_given():
    x = torch.randn(4, 2, 3, dtype=D)
    total = sum(float(x[t, n, f]) ** 2 for t, n, f in itertools.product(range(4), range(2), range(3)))
    assert td.ar_loss(x, 2.0).item() == pytest.approx(2.0 * total / 24)
    assert td.ar_loss(x).item() == pytest.approx(td.ar_loss(x, 2.0).item())
    dropped = td.LockedDropout(0.5)(x, key=td.key(0))
    assert td.ar_loss(dropped).item() == pytest.approx(2 * (dropped**2).sum().item() / 24)


def test_tar_section4_6_is_the_mean_square_of_the_changes():
    x = torch.randn(4, 2, 3, dtype=D)
    total = sum(float(x[t + 1, n, f] - x[t, n, f]) ** 2 for t, n, f in itertools.product(range(3), range(2), range(3)))
    assert td.tar_loss(x, 3.0).item() == pytest.approx(3.0 * total / 18)
    assert td.tar_loss(x).item() == pytest.approx(total / 18)


@pytest.mark.parametrize("loss", [td.ar_loss, td.tar_loss])
def test_layouts(loss):
    x = torch.randn(4, 2, 3, dtype=D)
    torch.testing.assert_close(loss(x.transpose(0, 1), batch_first=True), loss(x))
    torch.testing.assert_close(loss(x[:, 0], batch_first=True), loss(x[:, :1]))
    square = torch.randn(3, 3, 2, dtype=D)
    if loss is td.tar_loss:
        assert not torch.isclose(loss(square, batch_first=True), loss(square))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("loss", "steps"), [(td.ar_loss, 0), (td.tar_loss, 1)])
def test_padding_counts_for_nothing(loss, steps, batch_first):
    """The mean over real elements, whatever stands behind them, and no gradient there."""
    lengths, x = torch.tensor([4, 0, 1, 3]), torch.randn(5, 4, 3, dtype=D)
    alone = [loss(x[:length, n]) * max(length - steps, 0) for n, length in enumerate(lengths.tolist())]
    expected = sum(alone) / (lengths - steps).clamp(min=0).sum()
    garbage = x.clone()
    for n, length in enumerate(lengths.tolist()):
        garbage[length:, n] = float("nan")
    given = (garbage.transpose(0, 1) if batch_first else garbage).requires_grad_()
    y = loss(given, batch_first=batch_first, lengths=lengths)
    torch.testing.assert_close(y, expected)
    (grad,) = torch.autograd.grad(y, given)
    grad = grad.transpose(0, 1) if batch_first else grad
    real = x.requires_grad_()
    (reference,) = torch.autograd.grad(
        sum(loss(x[:length, n]) * max(length - steps, 0) for n, length in enumerate(lengths.tolist())), real
    )
    torch.testing.assert_close(grad, reference / (lengths - steps).clamp(min=0).sum())


@pytest.mark.parametrize("loss", [td.ar_loss, td.tar_loss])
def test_nothing_costs_nothing(loss):
    for shape in ((0, 2, 3), (5, 0, 3), (0, 3)):
        x = torch.zeros(shape, requires_grad=True)
        y = loss(x)
        y.backward()
        assert y == 0
    assert td.tar_loss(torch.ones(1, 2, 3)) == 0
    assert loss(torch.ones(3, 2, 3), lengths=torch.tensor([0, 0])) == 0
    assert loss(torch.ones(3, 2, 3), 0.0) == 0


@pytest.mark.parametrize("loss", [td.ar_loss, td.tar_loss])
def test_dtypes_gradients_and_compilation(loss):
    x = torch.randn(4, 2, 3, dtype=D, requires_grad=True)
    torch.autograd.gradcheck(loss, x)
    torch.autograd.gradgradcheck(loss, x)
    for dtype in (torch.float16, torch.bfloat16):
        y = loss(x.detach().to(dtype))
        assert y.dtype == torch.float32
        assert y.item() == pytest.approx(loss(x.detach()).item(), rel=0.02)
    assert loss(torch.full((3, 2, 3), 1000.0, dtype=torch.float16)).isfinite()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), loss(x))
    torch.testing.assert_close(compiled(x, lengths=torch.tensor([4, 2])), loss(x, lengths=torch.tensor([4, 2])))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: td.ar_loss(torch.ones(2, 3), -1),
            ValueError,
            "ar_loss: `alpha` must be finite and not negative, got -1.",
        ),
        (
            lambda: td.tar_loss(torch.ones(2, 3), float("nan")),
            ValueError,
            "tar_loss: `beta` must be finite and not negative, got nan.",
        ),
        (
            lambda: td.tar_loss(torch.ones(3)),
            ValueError,
            "tar_loss: the input must have shape (T, N, F) or (T, F), got (3,).",
        ),
        (
            lambda: td.ar_loss(torch.ones(3, 2, 1).long()),
            TypeError,
            "ar_loss: the input must be floating point, got torch.int64.",
        ),
        (
            lambda: td.ar_loss(torch.ones(3, 2, 1), lengths=torch.tensor([3])),
            ValueError,
            "ar_loss: `lengths` must have one number for each of 2, got (1,).",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
