"""Pictures of recurrent dropout: what is drawn is what layers did, compared with masks for the keys and with LSTMs."""

import numpy as np
import pytest
import torch
from drawn import pages, picture
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, FancyArrowPatch
from torch import nn

import torchdropout as td
from torchdropout import laws
from torchdropout.plots import subjects
from torchdropout.plots.picture import BLUE, ORANGE, PALE
from torchdropout.plots.table import ENTRIES

P, T, UNITS = 0.4, 6, 4
KEEP = float(laws.keep(P))
KINDS = {
    "rnn-drop": td.CellDropout(P),
    "recurrent-dropout": td.UpdateDropout(P),
    "zoneout": td.Zoneout(cell=P, hidden=P),
}
INPUT, HIDDEN, CELL, UPDATE, ZONE_CELL, ZONE_HIDDEN, WEIGHT = range(7)  # docs/random-bits.md


def data(name, panel):
    return {key: torch.tensor(value) for key, value in picture(name).panels[panel].data.items()}


def draws(name):
    return [(td.key(ENTRIES[name].seed + n), data(name, 1 + n)) for n in (0, 1)]


def kept(key, number, *shape, p=P):
    return td.functional.dropout_mask(shape, p, key=td.fold_in(td.fold_in(key, 0), number)).double()


def bands(drawn, what):
    return torch.stack([drawn[f"{what} {n}"] for n in (0, 1)], 1)


def filled(layer):
    """A layer of one direction with the weights of the picture."""
    weights = {"weight_ih_l0": subjects.weights(16, 4, 11), "weight_hh_l0": subjects.weights(16, 4, 12)}
    layer.load_state_dict(weights | {"bias_ih_l0": torch.full((16,), 0.25), "bias_hh_l0": torch.zeros(16)})
    return layer.double()


def run(layer, sequences, steps, **options):
    """The last state after so many steps of the picture's inputs."""
    x = subjects.waves(4 * sequences, T).double().T.reshape(T, sequences, 4)[:steps]
    state = tuple(subjects.weights(sequences, UNITS, seed).double()[None] / 2 for seed in (13, 14))
    return [s[0] for s in layer(x, state, **options)[1]]


@pytest.mark.parametrize("name", KINDS)
def test_states_are_those_of_the_layer_for_the_key(name):
    sequences = 1 if name == "zoneout" else 2
    layer, plain = filled(td.LSTM(4, UNITS, recurrent=KINDS[name])), filled(nn.LSTM(4, UNITS))
    runs = [(plain, {}), *((layer, {"key": key}) for key, _ in draws(name)), (layer, {})]
    for panel, (of, options) in enumerate(runs):
        of.train(panel < 3)
        for step in range(T):
            h, c = run(of, sequences, step + 1, **options)
            expected = torch.cat([c, h]) if name == "zoneout" else c
            torch.testing.assert_close(bands(data(name, panel), "values")[step], expected)


def test_rnn_drop_crosses_the_same_units_at_all_steps_and_scales_at_test():
    for key, drawn in draws("rnn-drop"):
        mask = kept(key, CELL, 2, UNITS).expand(T, 2, UNITS)
        assert torch.equal(bands(drawn, "old"), mask)
        assert torch.equal(bands(drawn, "new"), mask)
        assert torch.equal(bands(drawn, "values") != 0, mask != 0)
        assert not torch.equal(mask[0, 0], mask[0, 1])
    assert [text for text, _ in pages("rnn-drop")[1] if text.startswith("time")].count("time (outputs × 0.6)") == 1


def test_recurrent_dropout_drops_what_is_new_at_each_step_and_never_what_stays():
    for key, drawn in draws("recurrent-dropout"):
        mask = kept(key, UPDATE, T, 2, UNITS)
        torch.testing.assert_close(bands(drawn, "new"), mask / KEEP, rtol=1e-8, atol=0)
        assert (bands(drawn, "old") == 1).all()
        assert len(mask.flatten(1).unique(dim=0)) == T


def test_zoneout_carries_old_states_over_as_they_are_and_takes_their_mean_at_test():
    first = torch.stack([subjects.weights(1, UNITS, seed).double() / 2 for seed in (14, 13)], 1)
    for key, drawn in draws("zoneout"):
        old = 1 - torch.cat([kept(key, number, T, 1, UNITS) for number in (ZONE_CELL, ZONE_HIDDEN)], 1)
        assert torch.equal(bands(drawn, "old"), old)
        assert torch.equal(bands(drawn, "new"), 1 - old)
        values = torch.cat([first, bands(drawn, "values")])
        assert torch.equal(values[1:][old == 1], values[:-1][old == 1])
        assert (values[1:][old == 0] != values[:-1][old == 0]).all()
    torch.testing.assert_close(bands(data("zoneout", 3), "old"), torch.full((T, 2, UNITS), 1 - KEEP).double())


def test_variational_masks_of_gates_are_those_of_the_key_at_every_step():
    x = subjects.waves(4, 4).double().T
    for key, drawn in draws("variational-rnn"):
        of_input, of_state = (kept(key, number, 4, 4).T for number in (INPUT, HIDDEN))  # one sequence; unit by gate
        torch.testing.assert_close(drawn["inputs"], x[:, :, None] * of_input / KEEP, rtol=1e-7, atol=1e-9)
        for step in range(4):
            assert torch.equal(drawn["dropped inputs"][step], of_input == 0)
            assert torch.equal(drawn["dropped state"][step], of_state == 0)
    first = subjects.weights(1, UNITS, 13)[0].double() / 2
    torch.testing.assert_close(drawn["state"][0], first[:, None] * of_state / KEEP, rtol=1e-7, atol=1e-9)


def test_dropped_weights_are_those_of_the_key_at_all_steps_of_all_sequences():
    weight = subjects.weights(16, 4, 12).double()
    for key, drawn in draws("weight-drop"):
        expected = (weight * kept(key, WEIGHT, 16, 4, p=0.5) * 2).view(4, UNITS, UNITS)
        torch.testing.assert_close(drawn["values"], expected.expand(2, 2, -1, -1, -1), rtol=1e-7, atol=1e-9)
        assert torch.equal(drawn["dropped"], (expected == 0).expand(2, 2, -1, -1, -1))
    for panel in (0, 3):
        torch.testing.assert_close(data("weight-drop", panel)["values"][1, 1], weight.view(4, UNITS, UNITS))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("panel", range(4))
def test_crosses_and_arrows_on_the_page_are_those_of_the_data(name, panel):
    axes, drawn = pages(name)[0].axes[panel], data(name, panel)
    old, new = (bands(drawn, what).transpose(0, 1).flatten().numpy() for what in ("old", "new"))
    discs = [patch for patch in axes.patches if isinstance(patch, Circle)]
    assert [to_hex(disc.get_facecolor()).upper() == PALE for disc in discs] == list((old == 0) & (new == 0))
    tips = {BLUE: [], ORANGE: []}
    for patch in axes.patches:
        if isinstance(patch, FancyArrowPatch):
            tips[to_hex(patch.get_edgecolor()).upper()].append(patch._posA_posB[1])
    for colour, share in ((BLUE, old), (ORANGE, new)):
        ends = np.array(tips[colour]).reshape(-1, 1, 2)
        pointed = [bool((np.abs(ends - disc.center).max(-1) < 0.05).any()) for disc in discs]
        assert pointed == list(share > 0)


@pytest.mark.parametrize(("name", "keys"), [("variational-rnn", ("dropped state", "dropped inputs"))])
def test_hatched_tiles_are_what_is_dropped(name, keys):
    axes, drawn = pages(name)[0].axes[1], data(name, 1)
    dropped = torch.cat([drawn[key] for key in keys]).numpy()
    assert len(axes.images) == len(axes.collections) == len(dropped)
    for image, hatched, expected in zip(axes.images, axes.collections, dropped, strict=True):
        left, right, bottom, top = image.get_extent()
        found = np.zeros_like(expected)
        for path in hatched.get_paths():
            (x0, y0), (x1, y1) = path.get_extents().min, path.get_extents().max
            columns = [round((x - left) / (right - left) * 4) for x in (x0, x1)]
            rows = [round((y - top) / (bottom - top) * 4) for y in (y0, y1)]
            found[rows[0] : rows[1], columns[0] : columns[1]] = True
        np.testing.assert_array_equal(found, expected)
