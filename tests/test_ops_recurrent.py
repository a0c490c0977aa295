"""The sequence kernels of recurrent layers, and the matrix products they are made of, against loops in float64."""

import itertools
import sys

import pytest
import torch
from torch import nn

from torchdropout.kernels import cpu_product
from torchdropout.ops import project, recurrent


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("m", "n", "k"), [(1, 1, 1), (7, 77, 13), (3, 5, 0), (9, 16, 4), (123, 131, 65), (20, 1024, 256)]
)
def test_matrix_product(m, n, k, threads):
    a, b, bias = torch.randn(m, k), torch.randn(k, n), torch.randn(n)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for left in (a, a.T.contiguous().T):
            torch.testing.assert_close(cpu_product.multiply(left, b), a @ b, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(cpu_product.multiply(left, b, bias), a @ b + bias, rtol=1e-4, atol=1e-4)
    finally:
        torch.set_num_threads(before)


def loop(gates, h, c, weight, masks, lengths):
    """The equations, a step and a gate at a time."""
    hidden, cell, update, zone_c, zone_h, output = masks
    outputs = []
    for t in range(len(gates)):
        parts = []
        for number, rows in enumerate(weight.chunk(4)):
            seen = h if hidden is None else h * hidden[:, min(number, hidden.shape[1] - 1)]
            parts.append(seen @ rows.T)
        i, f, g, o = (gates[t] + torch.cat(parts, 1)).chunk(4, 1)
        g = torch.tanh(g) if update is None else torch.tanh(g) * update[min(t, len(update) - 1)]
        new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * g
        new_c = new_c if cell is None else new_c * cell
        new_h = torch.sigmoid(o) * torch.tanh(new_c) * (1 if output is None else output)
        new_c = new_c if zone_c is None else zone_c[t] * c + (1 - zone_c[t]) * new_c
        new_h = new_h if zone_h is None else zone_h[t] * h + (1 - zone_h[t]) * new_h
        live = (t < lengths).unsqueeze(1).to(h.dtype)
        outputs.append(new_h * live)
        h, c = new_h * live + h * (1 - live), new_c * live + c * (1 - live)
    return torch.stack(outputs), h, c


def ours(gates, h, c, weight, masks, lengths):
    """The operation on inputs that are the products themselves."""
    return recurrent.lstm(gates, (torch.eye(gates.shape[2]), weight, None), h, c, None, masks, lengths)


def check(steps, rows, size, groups, cell, update, zone_c, zone_h, output, ragged):
    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64)

    def kept(*shape):
        return (torch.rand(*shape) < 0.6).double() / 0.6

    leaves = [normal(steps, rows, 4 * size), normal(rows, size), normal(rows, size), normal(4 * size, size) / size**0.5]
    masks = (
        kept(rows, groups, size) if groups else None,
        kept(rows, size) * 0.6 if cell else None,
        kept(steps if update == 2 else 1, rows, size) if update else None,
        kept(steps, rows, size) * 0.6 if zone_c else None,
        torch.rand(steps, rows, size).double() if zone_h else None,
        torch.rand(rows, size).double() if output else None,
    )
    lengths = torch.randint(0, steps + 1, (rows,)) if ragged else torch.full((rows,), steps)
    weights = normal(steps, rows, size), normal(rows, size), normal(rows, size)
    results = []
    for function, dtype in ((loop, torch.float64), (ours, torch.float32)):
        inputs = [leaf.to(dtype).requires_grad_() for leaf in leaves]
        found = function(*inputs, masks, lengths)
        total = sum((one * factor).sum() for one, factor in zip(found, weights, strict=True))
        results.append([*found, *torch.autograd.grad(total, inputs)])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), expected.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups", [0, 1, 4])
@pytest.mark.parametrize(("cell", "update"), list(itertools.product([0, 1], [0, 1, 2])))
def test_every_combination_of_masks(groups, cell, update):
    for zone_c, zone_h, output, ragged in itertools.product([0, 1], repeat=4):
        check(5, 3, 7, groups, cell, update, zone_c, zone_h, output, ragged)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_sizes_beyond_a_tile_and_any_number_of_threads(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        check(6, 7, 300, 4, 1, 2, 1, 1, 1, 1)
        check(4, 1, 257, 1, 0, 0, 0, 0, 0, 0)
    finally:
        torch.set_num_threads(before)


def gru_loop(gates, h, weight, bias, masks, lengths):
    hidden, _, update, _, zone, _ = masks
    outputs = []
    for t in range(len(gates)):
        parts = []
        for number, rows in enumerate(weight.chunk(3)):
            seen = h if hidden is None else h * hidden[:, min(number, hidden.shape[1] - 1)]
            parts.append(seen @ rows.T)
        x_r, x_z, x_n = gates[t].chunk(3, 1)
        z = torch.sigmoid(x_z + parts[1])
        n = torch.tanh(x_n + torch.sigmoid(x_r + parts[0]) * (parts[2] + bias))
        n = n if update is None else n * update[min(t, len(update) - 1)]
        new = (1 - z) * n + z * h
        new = new if zone is None else zone[t] * h + (1 - zone[t]) * new
        live = (t < lengths).unsqueeze(1).to(h.dtype)
        outputs.append(new * live)
        h = new * live + h * (1 - live)
    return torch.stack(outputs), h


@pytest.mark.parametrize("groups", [0, 1, 3])
@pytest.mark.parametrize(("update", "zone", "ragged"), list(itertools.product([0, 1, 2], [0, 1], [0, 1])))
@pytest.mark.parametrize("size", [7, 131])
def test_gru_with_every_combination_of_masks(groups, update, zone, ragged, size):
    steps, rows = 5, 4

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64)

    leaves = [normal(steps, rows, 3 * size), normal(rows, size), normal(3 * size, size) / size**0.5, normal(size)]
    masks = (
        (torch.rand(rows, groups, size) < 0.6).double() / 0.6 if groups else None,
        None,
        (torch.rand(steps if update == 2 else 1, rows, size) < 0.6).double() / 0.6 if update else None,
        None,
        torch.rand(steps, rows, size).double() if zone else None,
        None,
    )
    lengths = torch.randint(0, steps + 1, (rows,)) if ragged else torch.full((rows,), steps)
    weights = normal(steps, rows, size), normal(rows, size)
    results = []
    for function, dtype in ((gru_loop, torch.float64), (recurrent.gru, torch.float32)):
        inputs = [leaf.to(dtype).requires_grad_() for leaf in leaves]
        found = function(*inputs, masks, lengths)
        total = sum((one * factor).sum() for one, factor in zip(found, weights, strict=True))
        results.append([*found, *torch.autograd.grad(total, inputs)])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), expected.double(), rtol=1e-4, atol=1e-4)


def rnn_loop(values, h, weight, masks, lengths, nonlinearity):
    hidden, *_, zone, _ = masks
    act, outputs = {"tanh": torch.tanh, "relu": torch.relu}[nonlinearity], []
    for t in range(len(values)):
        new = act(values[t] + (h if hidden is None else h * hidden[:, 0]) @ weight.T)
        new = new if zone is None else zone[t] * h + (1 - zone[t]) * new
        live = (t < lengths).unsqueeze(1).to(h.dtype)
        outputs.append(new * live)
        h = new * live + h * (1 - live)
    return torch.stack(outputs), h


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize(("hidden", "zone", "ragged"), list(itertools.product([0, 1], repeat=3)))
@pytest.mark.parametrize(("rows", "size"), [(4, 7), (11, 131)])
def test_rnn_with_every_combination_of_masks(nonlinearity, hidden, zone, ragged, rows, size):
    steps = 5

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64)

    leaves = [normal(steps, rows, size), normal(rows, size), normal(size, size) / size**0.5]
    masks = [None] * 6
    masks[0] = (torch.rand(rows, 1, size) < 0.6).double() / 0.6 if hidden else None
    masks[4] = torch.rand(steps, rows, size).double() if zone else None
    lengths = torch.randint(0, steps + 1, (rows,)) if ragged else torch.full((rows,), steps)
    weights = normal(steps, rows, size), normal(rows, size)
    results = []
    for function, dtype in ((rnn_loop, torch.float64), (recurrent.rnn, torch.float32)):
        inputs = [leaf.to(dtype).requires_grad_() for leaf in leaves]
        found = function(inputs[0].clone(), *inputs[1:], tuple(masks), lengths, nonlinearity)
        total = sum((one * factor).sum() for one, factor in zip(found, weights, strict=True))
        results.append([*found, *torch.autograd.grad(total, inputs)])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), expected.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups", [0, 1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_the_products_of_masked_inputs_are_those_of_every_group_of_gates(groups, bias):
    steps, rows, ins, outs = 7, 5, 19, 33
    leaves = [torch.randn(steps, rows, ins, dtype=torch.float64), torch.randn(outs, ins, dtype=torch.float64)]
    leaves += [torch.randn(outs, dtype=torch.float64)] if bias else []
    mask = (torch.rand(rows, groups, ins) < 0.6).double() / 0.6 if groups else None
    by_out = torch.randn(steps, rows, outs, dtype=torch.float64)

    def plain(x, weight, bias=None):
        whole = torch.ones(rows, 1, ins).double() if mask is None else mask
        per_gate = whole.repeat_interleave(outs // whole.shape[1], 1)  # (rows, outs, ins)
        y = torch.einsum("tni,noi,oi->tno", x, per_gate, weight)
        return y if bias is None else y + bias

    results = []
    for function, dtype in (
        (plain, torch.float64),
        (lambda *a: project(*a, *[None] * (3 - len(a)), mask), torch.float32),
    ):
        inputs = [leaf.to(dtype).requires_grad_() for leaf in leaves]
        y = function(*inputs)
        results.append([y, *torch.autograd.grad((y * by_out).sum(), inputs)])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), expected.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("steps", "rows", "inputs", "size"), [(35, 20, 96, 130), (7, 3, 11, 13), (1, 1, 1, 1)])
def test_without_masks_it_is_pytorchs(steps, rows, inputs, size):
    module = nn.LSTM(inputs, size)
    x, h, c = (
        torch.randn(*shape, requires_grad=True) for shape in ((steps, rows, inputs), (1, rows, size), (1, rows, size))
    )
    grad = torch.randn(steps, rows, size)
    expected, (last_h, last_c) = module(x, (h, c))
    leaves = [x, h, c, *module.parameters()]
    wanted = torch.autograd.grad((expected * grad).sum() + last_h.sum() + last_c.square().sum(), leaves)
    weights = module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0 + module.bias_hh_l0
    y, end_h, end_c = recurrent.lstm(x, weights, h[0], c[0], None, (None,) * 6, torch.full((rows,), steps))
    found = torch.autograd.grad((y * grad).sum() + end_h.sum() + end_c.square().sum(), leaves)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_a_second_backward_pass_and_a_nan_that_stays_in_its_row():
    gates, h, c, weight = torch.randn(4, 3, 20), torch.zeros(3, 5), torch.zeros(3, 5), torch.randn(20, 5)
    gates[1, 2] = torch.nan
    gates.requires_grad_()
    y, _, _ = ours(gates, h, c, weight, (None,) * 6, torch.full((3,), 4))
    assert torch.isnan(y[1:, 2]).all()
    assert torch.isfinite(y[:, :2]).all()
    first, second = (torch.autograd.grad(y[:, :2].sum(), gates, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first[:, :2], second[:, :2])


def test_what_the_kernel_does_not_serve():
    x = torch.ones(2, 2)
    assert recurrent.sequence_serves(x)
    assert not recurrent.sequence_serves(x, x.double())
    assert not recurrent.sequence_serves(x[:0])
    with torch.autocast("cpu"):
        assert not recurrent.sequence_serves(x)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (3, 5, 130), (2, 300, 200), (4, 17, 64), (1, 0, 3)])
@pytest.mark.parametrize("turned", [False, True])
def test_packed_matrices_hold_every_element_once_and_zeros(count, rows, columns, turned, threads):
    whole = torch.randn(count, columns + 3, rows) if turned else torch.randn(count, rows, columns + 3)
    matrix = whole[:, :columns].transpose(1, 2) if turned else whole[:, :, :columns]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        packed = cpu_product.strips(matrix)
    finally:
        torch.set_num_threads(before)
    wide = packed.transpose(1, 2).flatten(2)
    assert torch.equal(wide[:, :, :columns], matrix)
    assert (wide[:, :, columns:] == 0).all()


def test_memory_that_a_thread_keeps_is_in_no_gradient(monkeypatch):
    torch.manual_seed(0)
    module, xs = nn.LSTM(5, 6), [torch.randn(4, 3, 5, requires_grad=True) for _ in range(2)]
    weights = module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0

    def outputs(x):
        return recurrent.lstm(x, weights, torch.zeros(3, 6), torch.zeros(3, 6), None, (None,) * 6, torch.full((3,), 4))

    def gradients(y, x):
        return torch.autograd.grad(y.square().sum(), [x, *weights], retain_graph=True)

    first, second = (outputs(x)[0] for x in xs)
    found = gradients(first, xs[0])
    before = [g.clone() for g in found]
    gradients(second, xs[1])
    assert all(torch.equal(g, old) for g, old in zip(found, before, strict=True))
    monkeypatch.setattr(recurrent, "_WORK", 0)
    assert all(torch.equal(g, old) for g, old in zip(gradients(first, xs[0]), before, strict=True))


@pytest.mark.parametrize("rows", [1, 7, 20])
def test_a_backward_pass_in_parts_is_the_whole_one(rows, monkeypatch):
    for of in (1, 3, 64):
        monkeypatch.setattr(sys.modules["torchdropout.ops.project"], "ROWS", of)
        check(9, rows, 11, 4, 1, 2, 1, 1, 1, 1)
        check(9, rows, 11, 0, 0, 0, 0, 0, 0, 0)
        x, weight, mask = torch.randn(9, rows, 5), torch.randn(12, 5), torch.rand(rows, 4, 5)
        by_gate = mask.repeat_interleave(3, 1)
        expected = torch.einsum("tni,noi,oi->tno", x, by_gate, weight)
        torch.testing.assert_close(project(x, weight, None, mask), expected, rtol=1e-4, atol=1e-4)
