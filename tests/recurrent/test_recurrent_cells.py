"""A loop over a cell is the layer, for every kind and with the layer's key."""

import copy
import pickle

import pytest
import torch

import torchdropout as td

D = torch.float64
ANY = {
    "untied": td.Variational(0.25, 0.5),
    "tied": td.Variational(0.5, 0.25, tied=True),
    "update": td.UpdateDropout(0.5),
    "update-sequence": td.UpdateDropout(0.5, per="sequence"),
    "zoneout-h": td.Zoneout(hidden=0.5),
    "weights": td.WeightDrop(0.5),
}
LSTM = {
    "cell": td.CellDropout(0.25),
    "many": [td.Variational(0.5, 0.5), td.UpdateDropout(0.5), td.Zoneout(cell=0.5, hidden=0.25), td.WeightDrop(0.5)],
}
CASES = [("LSTM", kind) for kind in ANY | LSTM] + [("GRU", kind) for kind in ANY]
each = pytest.mark.parametrize(("name", "kind"), CASES)


def pair(name, kind):
    torch.manual_seed(0)
    kinds = (ANY | LSTM)[kind]
    layer = getattr(td, name)(3, 4, recurrent=kinds, dtype=D)
    cell = getattr(td, f"{name}Cell")(3, 4, recurrent=kinds, dtype=D)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    return layer, cell


def loop(cell, x, masks, state=None):
    outputs = []
    for t, step in enumerate(x):
        state = cell(step, state, masks=masks, step=t)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs), state


def as_layer(state):
    return tuple(s.unsqueeze(0) for s in state) if isinstance(state, tuple) else state.unsqueeze(0)


@pytest.mark.parametrize("training", [True, False])
@each
def test_a_loop_over_the_cell_is_the_layer(name, kind, training):
    layer, cell = pair(name, kind)
    layer.train(training), cell.train(training)
    x, key = torch.randn(6, 2, 3, dtype=D), td.key(3)
    expected, end = layer(x, key=key)
    y, state = loop(cell, x, cell.draw_masks(2, key=key))
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(as_layer(state), end)
    loss, other = y.square().sum(), expected.square().sum()
    grads = [torch.autograd.grad(v, list(m.parameters())) for v, m in ((loss, cell), (other, layer))]
    torch.testing.assert_close(*grads)


@each
def test_a_cell_may_stand_for_any_layer_of_a_stack(name, kind):
    torch.manual_seed(0)
    kinds, given, key = (ANY | LSTM)[kind], torch.randn(4, 2, 3, dtype=D), td.key(3)
    x, deep = given, getattr(td, name)(3, 4, 2, recurrent=kinds, dtype=D)
    for number in range(2):
        cell = getattr(td, f"{name}Cell")(x.shape[-1], 4, recurrent=kinds, dtype=D)
        cell.load_state_dict({k[:-3]: v for k, v in deep.state_dict().items() if k.endswith(f"_l{number}")})
        x = loop(cell, x, cell.draw_masks(2, key=key, index=number))[0]
    torch.testing.assert_close(x, deep(given, key=key)[0])


@pytest.mark.parametrize("kind", ["update", "zoneout-h"])
def test_steps_may_be_asked_for_in_any_order(kind):
    _, cell = pair("GRU", kind)
    one, other = (cell.draw_masks(2, key=td.key(0)) for _ in range(2))
    forwards = [one.at(t) for t in range(9)]
    backwards = [other.at(t) for t in reversed(range(9))][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        for u, v in zip(a, b, strict=True):
            assert (u is None and v is None) or torch.equal(u, v)
    name = "update" if kind == "update" else "zone_hidden"
    assert len(torch.stack([getattr(m, name) for m in forwards]).flatten(1).unique(dim=0)) == 9


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_without_masks_in_eval_mode_the_test_rule_applies(name):
    layer, cell = pair(name, "zoneout-h")
    layer.eval(), cell.eval()
    x = torch.randn(3, 2, 3, dtype=D)
    torch.testing.assert_close(loop(cell, x, None)[0], layer(x)[0])
    alone = cell(x[0, 0])
    torch.testing.assert_close(alone[0] if name == "LSTM" else alone, layer(x)[0][0, 0])


def test_masks_drawn_without_a_key_are_those_of_the_seed():
    _, cell = pair("LSTM", "many")
    x, results = torch.randn(3, 2, 3, dtype=D), []
    for _ in range(2):
        with td.keyed(3):
            results.append(loop(cell, x, cell.draw_masks(2))[0])
    assert torch.equal(*results)
    assert not torch.equal(loop(cell, x, cell.draw_masks(2))[0], results[0])


@each
def test_copies(name, kind):
    _, cell = pair(name, kind)
    masks, x = cell.draw_masks(2, key=td.key(0)), torch.randn(3, 2, 3, dtype=D)
    y = loop(cell, x, masks)[0]
    for twin, drawn in ((copy.deepcopy(cell), copy.deepcopy(masks)), pickle.loads(pickle.dumps((cell, masks)))):
        assert torch.equal(loop(twin, x, drawn)[0], y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda cell: cell(torch.ones(3, 3), masks=cell.draw_masks(2), step=0),
            "GRUCell: `masks` must be for 3 sequences, got masks for 2.",
        ),
        (
            lambda cell: cell(torch.ones(2, 3), masks=cell.draw_masks(2)),
            "GRUCell: `step` must be given, since a step has masks of its own.",
        ),
        (
            lambda cell: cell(torch.ones(2, 3)),
            "GRUCell: `masks` must be given in training: call `draw_masks` once a sequence.",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match="^GRUCell") as caught:
        call(td.GRUCell(3, 4, recurrent=td.UpdateDropout(0.5)))
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell"])
def test_wrong_shapes_have_pytorchs_words(name):
    ours, theirs = getattr(td, name)(3, 4, recurrent=td.WeightDrop(0.5)), getattr(torch.nn, name)(3, 4)
    masks, s = ours.draw_masks(2), torch.zeros

    def state(*shape):
        return (s(shape), s(shape)) if name == "LSTMCell" else s(shape)

    for arguments in (
        (s(2, 4),),
        (s(2, 3, 1),),
        (s(2, 3), state(2, 5)),
        (s(2, 3), state(3, 4)),
        (s(2, 3), state(2, 4, 1)),
    ):
        with pytest.raises((ValueError, RuntimeError)) as expected:
            theirs(*arguments)
        with pytest.raises((ValueError, RuntimeError)) as caught:
            ours(*arguments, masks=masks, step=0)
        assert str(caught.value) == str(expected.value)


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_a_compiled_loop_has_the_same_numbers(name):
    _, cell = pair(name, "many" if name == "LSTM" else "zoneout-h")
    x, masks = torch.randn(4, 2, 3, dtype=D), cell.draw_masks(2, key=td.key(0))
    compiled = torch.compile(lambda x, masks: loop(cell, x, masks)[0], fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, masks), loop(cell, x, masks)[0])
