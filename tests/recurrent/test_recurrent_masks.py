"""What shares a draw, and the canonical order: the same key, the same masks, however sequences are laid out."""

import pytest
import torch
from plain import NUMBER
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import torchdropout as td

D = torch.float64


def fill(layer, value=0.0):
    for parameter in layer.parameters():
        torch.nn.init.constant_(parameter, value)
    return layer


# --------------------------------------------------------------------------------------------------------------------
# Networks whose outputs are their masks.


def inputs(kind, x, key, **options):
    """A ReLU network that puts its input through: `m_x / k`."""
    layer = fill(td.RNN(4, 4, nonlinearity="relu", bias=False, recurrent=kind, dtype=D, **options))
    torch.nn.init.eye_(layer.weight_ih_l0)
    return layer(x, key=key)[0]


def hiddens(kind, x, key):
    """A ReLU network that puts its state, brought to one by the bias, through: `m_h / k` of the first four steps.

    `h[t] = 1 + h[t-1] m`, so `m = (h[t] - 1) / h[t-1]`.
    """
    layer = fill(td.RNN(4, 4, nonlinearity="relu", recurrent=kind, dtype=D))
    torch.nn.init.eye_(layer.weight_hh_l0)
    torch.nn.init.ones_(layer.bias_hh_l0)
    h = layer(x, torch.ones(1, x.shape[1], 4, dtype=D), key=key)[0]
    before = torch.cat([torch.ones_like(h[:1]), h[:-1]])
    return (h - 1) / before


def open_lstm(kind, bias=1.0):
    """An LSTM whose candidate is `tanh(bias)`, with input and output gates open and nothing remembered."""
    layer = fill(td.LSTM(4, 4, recurrent=kind, dtype=D))
    layer.bias_ih_l0.data = torch.tensor([50.0, -50.0, bias, 50.0], dtype=D).repeat_interleave(4)
    return layer


def cells(kind, x, key):
    """1 where the cell lives."""
    return (open_lstm(kind)(x, key=key)[0] != 0).to(D)


def updates(kind, x, key):
    """The cell is `m / k` times the candidate."""
    h = open_lstm(kind)(x, key=key)[0]
    return torch.atanh(h) / torch.tanh(torch.tensor(1.0, dtype=D))


def zones(kind, x, key):
    """1 where the hidden state stayed: with a remembering, growing cell every new state is another."""
    layer = open_lstm(kind, bias=0.1)
    layer.bias_ih_l0.data[4:8] = 50.0
    start = torch.zeros(1, x.shape[1], 4, dtype=D)
    h = layer(x, (start, start), key=key)[0]
    return (h == torch.cat([start, h[:-1]])).to(D)


def zones_of_cells(kind, x, key):
    """1 where the cell state stayed: each step adds one to it, or does not, and the output shows what it would be."""
    layer = open_lstm(kind, bias=50.0)
    layer.bias_ih_l0.data[4:8] = 50.0
    start = torch.zeros(1, x.shape[1], 4, dtype=D)
    h = layer(x, (start, start), key=key)[0]
    would_be = torch.atanh(h).round()
    return (would_be[1:] == would_be[:-1]).to(D)


def between(locked):
    def read(p, x, key):
        layer = fill(td.RNN(4, 4, 2, nonlinearity="relu", bias=False, dropout=p, locked=locked, dtype=D))
        for part in (layer.weight_ih_l0, layer.weight_ih_l1):
            torch.nn.init.eye_(part)
        return layer(x, key=key)[0]

    return read


CASES = {  # the reader, the kind, what a mask is over, whether steps share it
    "variational input": (inputs, td.Variational(0.5, 0.0), 0.5, True),
    "variational hidden": (hiddens, td.Variational(0.0, 0.5), 0.5, True),
    "cell": (cells, td.CellDropout(0.5), 1.0, True),
    "update by step": (updates, td.UpdateDropout(0.5), 0.5, False),
    "update by sequence": (updates, td.UpdateDropout(0.5, per="sequence"), 0.5, True),
    "zoneout hidden": (zones, td.Zoneout(hidden=0.5), 1.0, False),
    "zoneout cell": (zones_of_cells, td.Zoneout(cell=0.5), 1.0, False),
    "between, a step": (between(False), 0.5, 0.5, False),
    "between, locked": (between(True), 0.5, 0.5, True),
}


@pytest.mark.parametrize("case", list(CASES))
def test_once_per_what(case):
    """4000 sequences, 4 steps, 4 units at p = 1/2: 5 standard errors on means, variances and all covariances."""
    read, kind, keep, shared = CASES[case]
    n = 4000
    masks = (read(kind, torch.ones(4, n, 4, dtype=D), td.key(0)) * keep).round(decimals=6)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    steps = len(masks)
    by_place = masks.transpose(0, 1).reshape(n, -1)  # a row for each sequence, of steps times units
    assert ((by_place.mean(0) - 0.5).abs() < 5 * 0.5 / n**0.5).all()
    expected = torch.eye(4, dtype=D).repeat(steps, steps) if shared else torch.eye(4 * steps, dtype=D)
    assert ((torch.cov(by_place.T) - 0.25 * expected).abs() < 5 * 0.25 / n**0.5).all()
    neighbours = ((by_place[1:] - 0.5) * (by_place[:-1] - 0.5)).mean(0)
    assert (neighbours.abs() < 5 * 0.25 / n**0.5).all()
    again = (read(kind, torch.ones(4, n, 4, dtype=D), td.key(1)) * keep).round(decimals=6)
    other = ((masks - 0.5) * (again - 0.5)).mean(1)
    assert (other.abs() < 5 * 0.25 / n**0.5).all()


def test_variational_section4_1_gates_have_their_own_masks_untied_and_share_them_tied():
    """The four gates' masks of 4000 sequences at p = 1/2: all combinations untied, two tied."""
    for tied in (False, True):
        x, n = torch.ones(1, 4000, 1, dtype=D), 4000
        layer = fill(td.LSTM(1, 1, recurrent=td.Variational(0.5, 0.0, tied=tied), dtype=D), 0.1)
        layer.weight_ih_l0.data[:] = torch.tensor([[0.3], [0.7], [0.2], [0.5]], dtype=D)
        h, (_, c) = layer(x, (torch.zeros(1, n, 1, dtype=D), torch.full((1, n, 1), 10.0, dtype=D)), key=td.key(0))
        count = len(torch.stack([h[0, :, 0], c[0, :, 0]], 1).unique(dim=0))
        assert count == (2 if tied else 16)  # each of the 2**4 combinations of four gates has its own value


def test_weight_drop_has_one_mask_for_all_steps_and_sequences():
    """`h[2] = U M / k e_j` reads column j of the mask; a copy of the batch has the same columns, and so has t = 3."""
    layer = td.RNN(6, 6, nonlinearity="relu", bias=False, recurrent=td.WeightDrop(0.5), dtype=D)
    torch.nn.init.eye_(layer.weight_ih_l0)
    torch.nn.init.ones_(layer.weight_hh_l0)
    x = torch.cat([torch.eye(6, dtype=D).repeat(2, 1).unsqueeze(0), torch.zeros(2, 12, 6, dtype=D)])
    h = layer(x, key=td.key(0))[0]
    dropped = h[1, :6].T
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    torch.testing.assert_close(h[1, 6:].T, dropped)
    torch.testing.assert_close(h[2, :6].T, dropped @ dropped)
    draws = torch.stack([layer(x, key=key)[0][1, :6].flatten() / 2 for key in td.split(td.key(1), 2000)])
    assert ((draws.mean(0) - 0.5).abs() < 5 * 0.5 / 2000**0.5).all()
    assert ((torch.cov(draws.T) - 0.25 * torch.eye(36, dtype=D)).abs() < 5 * 2**0.5 * 0.25 / 2000**0.5).all()


def test_every_matrix_of_weight_drop_has_its_own_mask():
    layer = td.GRU(3, 4, 2, bidirectional=True, recurrent=td.WeightDrop(0.5))
    layer(torch.randn(5, 2, 3), key=td.key(0))[0].square().sum().backward()
    zeros = [p.grad == 0 for name, p in layer.named_parameters() if name.startswith("weight_hh")]
    assert len(zeros) == 4
    for k, mask in enumerate(zeros):
        assert 8 < mask.sum() < 40, "of 48, half are dropped"
        assert all(not torch.equal(mask, other) for other in zeros[:k])


# --------------------------------------------------------------------------------------------------------------------
# The order.

EVERY = [td.Variational(0.25, 0.25), td.UpdateDropout(0.5), td.Zoneout(cell=0.5, hidden=0.5), td.WeightDrop(0.25)]


def stacked(**options):
    torch.manual_seed(0)
    return td.LSTM(3, 4, 2, dropout=0.5, bidirectional=True, recurrent=EVERY, dtype=D, **options)


@pytest.mark.parametrize("locked", [False, True])
def test_batch_first_or_not(locked):
    x, layer = torch.randn(5, 2, 3, dtype=D), stacked(locked=locked)
    first = stacked(locked=locked, batch_first=True)
    first.load_state_dict(layer.state_dict())
    (y, end), (z, last) = layer(x, key=td.key(0)), first(x.transpose(0, 1), key=td.key(0))
    torch.testing.assert_close(z.transpose(0, 1), y)
    torch.testing.assert_close(last, end)


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("lengths", [[5, 3, 1], [1, 5, 3], [2, 5, 5]])
def test_packing_and_sorting_change_nothing(lengths, locked):
    """A sequence's outputs are those that it has with other padding, and in a batch that was sorted before."""
    layer, x, lengths = stacked(locked=locked), torch.randn(5, 3, 3, dtype=D), torch.tensor(lengths)

    def run(x):
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, end = layer(packed, key=td.key(0))
        assert torch.equal(y.batch_sizes, packed.batch_sizes)
        return pad_packed_sequence(y)[0], end

    y, end = run(x)
    padded = torch.cat([x, torch.full((4, 3, 3), 7.0, dtype=D)])
    torch.testing.assert_close(run(padded), (y, end))
    if sorted(lengths.tolist(), reverse=True) == lengths.tolist():
        z, last = layer(pack_padded_sequence(x, lengths), key=td.key(0))
        torch.testing.assert_close((pad_packed_sequence(z)[0], last), (y, end))
    whole = (lengths == 5).nonzero().flatten()  # a sequence without padding: as in a plain batch
    torch.testing.assert_close(layer(x, key=td.key(0))[0][:, whole], y[:, whole])


@pytest.mark.parametrize("locked", [False, True])
def test_padding_never_changes_a_real_steps_mask(locked):
    """Forward in time, a longer batch begins with the shorter one's outputs."""
    layer = td.LSTM(3, 4, 2, dropout=0.5, locked=locked, recurrent=EVERY, dtype=D)
    x = torch.randn(9, 3, 3, dtype=D)
    torch.testing.assert_close(layer(x, key=td.key(0))[0][:5], layer(x[:5], key=td.key(0))[0])


def test_a_layer_has_the_masks_that_it_has_below_others():
    deep, alone = stacked(), td.LSTM(3, 4, bidirectional=True, recurrent=EVERY, dtype=D)
    alone.load_state_dict({name: p for name, p in deep.state_dict().items() if "_l0" in name})
    x, key = torch.randn(5, 2, 3, dtype=D), td.key(0)
    deep.dropout = 0.0
    _, (h, c) = deep(x, key=key)
    torch.testing.assert_close(alone(x, key=key)[1], (h[:2], c[:2]))
    forward = td.LSTM(3, 4, recurrent=EVERY, dtype=D)
    forward.load_state_dict({name: p for name, p in alone.state_dict().items() if "reverse" not in name})
    torch.testing.assert_close(forward(x, key=key)[0], alone(x, key=key)[0][..., :4])


def test_no_two_masks_of_a_layer_share_their_bits():
    """The keys of parts, layers and directions, and of what else a user may derive, are all different."""
    assert len(set(NUMBER.values())) == len(NUMBER)
    x, key = torch.ones(64, 1, 4, dtype=D), td.key(0)
    a, b = (
        (read(kind, x.transpose(0, 1) if t else x, key) * keep).round()
        for read, kind, keep, t in (
            (updates, td.UpdateDropout(0.5), 0.5, False), (zones, td.Zoneout(hidden=0.5), 1.0, False)
        )
    )  # fmt: skip
    equal = (a == b).double().mean()
    assert 0.5 - 5 * 0.5 / 256**0.5 < equal < 0.5 + 5 * 0.5 / 256**0.5


def test_drawn_keys_follow_the_seed():
    layer, x = stacked(), torch.randn(5, 2, 3, dtype=D)
    with td.keyed(3):
        y = layer(x)[0]
    with td.keyed(3):
        assert torch.equal(layer(x)[0], y)
    assert not torch.equal(layer(x)[0], y)


def test_carried_state_keeps_the_masks_of_sequences_with_the_same_key():
    """Two windows with one key are one long sequence; with another key the second has other masks."""
    kinds = [td.Variational(0.25, 0.25), td.WeightDrop(0.25)]
    kinds_of_cells = [td.CellDropout(0.5)], [td.UpdateDropout(0.5, per="sequence")]
    for more in kinds_of_cells:
        layer = td.LSTM(3, 4, 2, dropout=0.5, locked=True, recurrent=kinds + more, dtype=D)
        x, key = torch.randn(8, 2, 3, dtype=D), td.key(0)
        first, state = layer(x[:3], key=key)
        second, end = layer(x[3:], state, key=key)
        whole, last = layer(x, key=key)
        torch.testing.assert_close(torch.cat([first, second]), whole)
        torch.testing.assert_close(end, last)
        assert not torch.allclose(layer(x[3:], state, key=td.key(1))[0], second)
