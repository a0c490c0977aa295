"""Against `torch.nn`: outputs in eval mode, checkpoints, training without noise, and PyTorch's own errors."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import torchdropout as td

NAMES = ["LSTM", "GRU", "RNN"]
DEAD = [td.Variational(0.5, 0.5), td.WeightDrop(0.5)]  # what does nothing in eval mode
OPTIONS = [
    dict(zip(("num_layers", "bias", "batch_first", "bidirectional"), values, strict=True))
    for values in itertools.product((1, 2), (True, False), (False, True), (False, True))
]


def pair(name, recurrent=DEAD, **options):
    """PyTorch's layer and ours with its parameters."""
    torch.manual_seed(0)
    theirs = getattr(nn, name)(3, 4, **options)
    ours = getattr(td, name)(3, 4, recurrent=recurrent, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def state_for(layer, batch):
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = [layer.proj_size or 4, 4][: 2 if isinstance(layer, nn.LSTM) else 1]
    shape = (count, batch) if batch else (count,)
    state = tuple(torch.randn(*shape, size) for size in sizes)
    return state if len(state) > 1 else state[0]


def compare(theirs, ours, x, hx=None):
    a, b = theirs(x, hx), ours(x, hx)
    for u, v in zip(torch.utils._pytree.tree_leaves(a), torch.utils._pytree.tree_leaves(b), strict=True):
        if u is None and v is None:  # a sorted packed sequence has no indices
            continue
        assert u.shape == v.shape
        assert u.dtype == v.dtype
        torch.testing.assert_close(v, u, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_the_constructor(name, live):
    """In eval mode; and in our own loop, whose noise is all but surely the identity at p = 1e-9."""
    extra = [{"dropout": 0.5, "num_layers": 2}]
    extra += [{"proj_size": 2, "bidirectional": b, "num_layers": 2} for b in (False, True)] if name == "LSTM" else []
    extra += [{"nonlinearity": "relu"}] if name == "RNN" else []
    for options in [*OPTIONS, *extra]:
        kinds = [td.Variational(1e-9, 1e-9), td.Zoneout(hidden=1e-9), td.WeightDrop(1e-9)] if live else DEAD
        theirs, ours = pair(name, kinds, **options)
        ours.train(live).dropout = 0.0 if live else ours.dropout
        theirs.eval()
        first = options.get("batch_first", False)
        x = torch.randn(2, 5, 3) if first else torch.randn(5, 2, 3)
        compare(theirs, ours, x)
        compare(theirs, ours, x, state_for(ours, 2))
        compare(theirs, ours, x.transpose(0, 1).contiguous().transpose(0, 1))
        compare(theirs, ours, torch.randn(5, 3))
        compare(theirs, ours, torch.randn(5, 3), state_for(ours, None))
        lengths = torch.tensor([3, 5])
        for ordered in (False, True):
            given = lengths.flip(0) if ordered else lengths
            packed = pack_padded_sequence(x, given, batch_first=first, enforce_sorted=ordered)
            compare(theirs, ours, packed)
            compare(theirs, ours, packed, state_for(ours, 2))


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_cells_are_pytorchs_in_eval_mode(name):
    theirs, ours = getattr(nn, f"{name}Cell")(3, 4), getattr(td, f"{name}Cell")(3, 4, recurrent=DEAD).eval()
    theirs.load_state_dict(ours.state_dict())
    state = (torch.randn(2, 4), torch.randn(2, 4)) if name == "LSTM" else torch.randn(2, 4)
    compare(theirs, ours, torch.randn(2, 3))
    compare(theirs, ours, torch.randn(2, 3), state)
    compare(theirs, ours, torch.randn(3))


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_load_both_ways(name):
    theirs, ours = pair(name, num_layers=2, bidirectional=True)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert isinstance(ours, type(theirs))


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in NAMES for kind in ("variational", "zoneout", "weights", "between")]
    + [("LSTM", "cell"), ("LSTM", "update"), ("GRU", "update")],
)
def test_training_without_noise_is_pytorchs_and_with_noise_is_not(name, kind):
    gaps = []
    for p in (0.0, 1e-9, 0.5):
        kinds = {
            "variational": td.Variational(p, p), "zoneout": td.Zoneout(hidden=p), "weights": td.WeightDrop(p),
            "cell": td.CellDropout(p), "update": td.UpdateDropout(p), "between": (),
        }  # fmt: skip
        torch.manual_seed(1)
        x, target, curves = torch.randn(6, 4, 3), torch.randn(6, 4, 4), []
        theirs, ours = pair(name, kinds[kind], num_layers=2)
        ours.dropout = p if kind == "between" else 0.0
        for layer in (theirs, ours):
            optimizer, losses = torch.optim.SGD(layer.parameters(), lr=0.5), []
            for _ in range(20):
                optimizer.zero_grad()
                loss = (layer(x)[0] - target).square().mean()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            curves.append(torch.tensor(losses))
        gaps.append((curves[0] - curves[1]).abs().max())
    assert gaps[0] < 1e-5
    assert gaps[1] < 1e-5
    assert gaps[2] > 1e-3


def message(call):
    with pytest.raises((ValueError, RuntimeError)) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_have_pytorchs_words(name):
    """Noisy or not, the message is that of PyTorch's layer."""

    def state(*shape):
        s = torch.zeros(*shape)
        return (s, s) if name == "LSTM" else s

    calls = [
        (torch.zeros(5, 2, 4),),
        (torch.zeros(5),),
        (torch.zeros(5, 2, 3, 1),),
        (torch.zeros(5, 2, 3).double(),),
        (torch.zeros(0, 2, 3),),
        (torch.zeros(0, 3),),
        (torch.zeros(5, 2, 3), state(2, 2, 5)),
        (torch.zeros(5, 2, 3), state(2, 3, 4)),
        (torch.zeros(5, 2, 3), state(1, 2, 4)),
        (torch.zeros(5, 2, 3), state(2, 4)),
        (torch.zeros(5, 3), state(2, 1, 4)),
    ]
    if name != "LSTM":  # PyTorch's does not look before the product
        calls.append((pack_padded_sequence(torch.zeros(5, 2, 4), torch.tensor([5, 3])),))
    theirs, ours = pair(name, num_layers=2)
    for arguments in calls:
        expected = message(lambda arguments=arguments: theirs(*arguments))
        assert message(lambda arguments=arguments: ours(*arguments)) == expected
        assert message(lambda arguments=arguments: ours.eval()(*arguments)) == expected
        ours.train()


@pytest.mark.parametrize("name", NAMES)
def test_a_packed_batchs_state_is_checked(name):
    _, ours = pair(name)
    state = torch.zeros(1, 3, 4)
    packed = pack_padded_sequence(torch.zeros(5, 2, 3), torch.tensor([5, 3]))
    with pytest.raises(RuntimeError, match=r"^Expected hidden(\[0\])? size \(1, 2, 4\), got \[1, 3, 4\]$"):
        ours(packed, (state, state) if name == "LSTM" else state)


@pytest.mark.parametrize("name", NAMES)
def test_options_have_pytorchs_words(name):
    for options in ({"dropout": 1.5}, {"dropout": True}, {"num_layers": 0}, {"hidden_size": 0}):
        arguments = {"input_size": 3, "hidden_size": 4} | options
        expected = message(lambda arguments=arguments: getattr(nn, name)(**arguments))
        assert message(lambda arguments=arguments: getattr(td, name)(**arguments)) == expected
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        getattr(td, name)(3, 4, dropout=0.5)


def test_the_loops_agree_with_pytorchs_packed_gradients():
    theirs, ours = pair("LSTM", [td.Zoneout(cell=1e-9)], num_layers=2, bidirectional=True)
    x, lengths, grads = torch.randn(5, 3, 3), torch.tensor([2, 5, 3]), []
    for layer in (theirs, ours):
        x = x.detach().requires_grad_()
        y, (h, c) = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
        loss = pad_packed_sequence(y)[0].square().sum() + h.sum() + c.sum()
        grads.append(torch.autograd.grad(loss, [x, *layer.parameters()]))
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-5, atol=1e-5)
