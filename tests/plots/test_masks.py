"""What is drawn is what the layers did: compared with the public functions for the same keys, or with arithmetic."""

import numpy as np
import pytest
import torch
from drawn import pages, picture
from matplotlib.patches import Circle
from torch.nn import functional as F

import torchdropout as td
from torchdropout import catalog, plots
from torchdropout.plots import subjects
from torchdropout.plots.table import ENTRIES

f = td.functional
NAMES = catalog.names()


def data(name, panel):
    return {key: torch.tensor(value) for key, value in picture(name).panels[panel].data.items()}


def draws(name):
    """Each draw's key and data, and the input's."""
    seed = ENTRIES[name].seed
    return [(td.key(seed + n), data(name, 1 + n), data(name, 0)) for n in (0, 1)]


FUNCTIONS = {
    "dropout1d": lambda x, key: f.dropout1d(x, 0.5, key=key),
    "dropout2d": lambda x, key: f.dropout2d(x, 0.5, key=key),
    "drop-block1d": lambda x, key: f.drop_block1d(x, 0.2, 5, key=key),
    "drop-block2d": lambda x, key: f.drop_block2d(x, 0.1, 7, key=key),
    "max-drop": lambda x, key: f.max_drop(x, 0.5, window=5, key=key),
    "cutout": lambda x, key: f.cutout(x, 0.5, key=key),
    "gaussian-noise": lambda x, key: f.gaussian_noise(x, 0.2, key=key),
    "feature-alpha": lambda x, key: f.feature_alpha_dropout(x, 0.3, True, key=key),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_those_of_the_function_for_the_key(name):
    for key, drawn, given in draws(name):
        assert torch.equal(drawn["values"], FUNCTIONS[name](given["values"], key))


@pytest.mark.parametrize("name", ["dropout1d", "dropout2d", "drop-block1d", "drop-block2d", "max-drop", "cutout"])
def test_what_is_hatched_is_zero_and_what_is_not_is_the_input_times_one_scale(name):
    for _, drawn, given in draws(name):
        x, y, dropped = given["values"], drawn["values"], drawn["dropped"]
        assert 0 < dropped.sum() < dropped.numel()
        assert (y[dropped] == 0).all()
        ratio = (y / x)[~dropped & (x > 1e-3)]
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-5, atol=0)


def test_the_tiles_on_the_page_hold_the_values_and_hatch_the_dropped_pixels():
    axes = pages("drop-block2d")[0].axes[1]
    drawn = data("drop-block2d", 1)
    for n, image in enumerate(axes.images):
        np.testing.assert_array_equal(image.get_array(), drawn["values"][0, n])
        hatched = np.zeros((40, 40), dtype=bool)
        left, right, bottom, top = image.get_extent()
        for path in axes.collections[n].get_paths():
            (x0, y0), (x1, y1) = path.get_extents().min, path.get_extents().max
            columns = [round((x - left) / (right - left) * 40) for x in (x0, x1)]
            rows = [round((y - top) / (bottom - top) * 40) for y in (y0, y1)]
            hatched[rows[0] : rows[1], columns[0] : columns[1]] = True
        np.testing.assert_array_equal(hatched, drawn["dropped"][0, n])


def test_dropout_crosses_the_units_of_its_mask():
    for key, drawn, _ in draws("dropout"):
        for layer, size in ((1, 6), (2, 5)):
            mask = f.dropout_mask((1, size), 0.5, key=td.fold_in(key, layer - 1))[0]
            assert torch.equal(drawn[f"dropped {layer}"], mask == 0)
            before = torch.sigmoid(drawn[f"weights {layer - 1}"] @ drawn[f"units {layer - 1}"])
            torch.testing.assert_close(drawn[f"units {layer}"], before * mask * 2)
        assert not torch.cat([drawn["dropped 0"], drawn["dropped 3"]]).any()


def test_crosses_on_the_page_are_on_the_dropped_units():
    axes, drawn = pages("dropout")[0].axes[1], data("dropout", 1)
    circles = [patch for patch in axes.patches if isinstance(patch, Circle)]
    dropped = torch.cat([drawn[f"dropped {n}"] for n in range(4)])
    centres = {tuple(np.round(line.get_xydata().mean(0), 6)) for line in axes.lines if line.get_color() == "#333333"}
    assert [tuple(np.round(circle.center, 6)) in centres for circle in circles] == dropped.tolist()


def test_alpha_units_that_are_crossed_have_the_low_value():
    p, low = 0.2, -1.7580993408473766
    a = ((1 - p) * (1 + p * low**2)) ** -0.5
    for _, drawn, _ in draws("alpha"):
        crossed = drawn["units 1"][drawn["dropped 1"]]
        torch.testing.assert_close(crossed, torch.full_like(crossed, a * low - a * p * low))
    assert sum(int(drawn["dropped 1"].sum() + drawn["dropped 2"].sum()) for _, drawn, _ in draws("alpha"))


def test_dropconnect_cuts_exactly_what_its_outputs_do_without():
    for _, drawn, given in draws("dropconnect"):
        kept = given["weights 0"] * ~drawn["cut 0"]
        torch.testing.assert_close(drawn["units 1"], kept @ given["units 0"])
        assert 0.2 < drawn["cut 0"].float().mean() < 0.8
    torch.testing.assert_close(data("dropconnect", 3)["units 1"], given["units 1"] / 2)


def test_mixout_greys_the_columns_that_are_the_targets():
    target = subjects.weights(4, 5, 8)
    for key, drawn, given in draws("mixout"):
        mask = f.dropout_mask((1, 5), 0.5, key=key)
        assert torch.equal(drawn["replaced 0"], ~mask.expand(4, 5))
        torch.testing.assert_close(drawn["weights 0"], torch.where(mask, 2 * given["weights 0"] - target, target))
        torch.testing.assert_close(drawn["units 1"], drawn["weights 0"] @ drawn["units 0"])
    assert torch.equal(data("mixout", 3)["weights 0"], data("mixout", 0)["weights 0"])


@pytest.mark.parametrize("name", ["dropconnect1d", "dropconnect2d"])
def test_kernels_without_the_hatched_weights_give_the_maps(name):
    if name.endswith("1d"):
        x, convolve = subjects.signal(72), lambda x, w: F.conv1d(x, w, padding=2)
        weight = torch.tensor([[[0.05, 0.25, 0.4, 0.25, 0.05]], [[-0.5, -0.25, 0.03, 0.25, 0.5]]])
    else:
        x, convolve = subjects.photograph("china", 42).mean(0)[None, None], F.conv2d
        weight = subjects.filters()[[1, 2, 3]]
    for _, drawn, given in draws(name):
        torch.testing.assert_close(given["values"], convolve(x, weight))
        torch.testing.assert_close(drawn["values"], convolve(x, weight * ~drawn["dropped"]), atol=1e-5, rtol=1e-5)


POOLS = {"max-pool1d": F.max_pool1d, "max-pool2d": F.max_pool2d, "avg-pool1d": F.avg_pool1d, "avg-pool2d": F.avg_pool2d}


@pytest.mark.parametrize("name", POOLS)
def test_pooling_without_the_hatched_elements_gives_what_came_out(name):
    x = subjects.digit() if name.endswith("2d") else (subjects.waves(3, 12)[2] ** 2)[None, None]
    for _, drawn, given in draws(name):
        torch.testing.assert_close(drawn["values"], POOLS[name](x * ~drawn["dropped"], 2))
        torch.testing.assert_close(given["values"], POOLS[name](x, 2))


def test_standout_keeps_or_drops_and_test_multiplies_by_the_likelihood_on_the_labels():
    before, after = data("standout", 0), data("standout", 3)
    pi = after["units 1"] / before["units 1"]
    labels = [words for words, _ in pages("standout")[1] if words.startswith("kept")]
    assert labels == [f"kept {100 * value:.0f} %" for value in pi] * 4
    for _, drawn, _ in draws("standout"):
        torch.testing.assert_close(drawn["units 1"], before["units 1"] * ~drawn["dropped 1"])


def test_a_dropped_volume_loses_all_its_slices():
    for _, drawn, _ in draws("dropout3d"):
        rows = drawn["dropped"].reshape(3, 3, -1)
        assert rows.any(-1).any(-1).tolist() == rows.all(-1).all(-1).tolist()
        assert 0 < rows.sum() < rows.numel()


def test_locked_features_go_for_all_steps_and_sequences_differ():
    for key, drawn, given in draws("locked"):
        expected = f.locked_dropout(given["values"].swapaxes(1, 2), 0.5, batch_first=True, key=key)
        assert torch.equal(drawn["values"].swapaxes(1, 2), expected)
        assert torch.equal(drawn["dropped"].any(-1), drawn["dropped"].all(-1))
        assert not torch.equal(*drawn["dropped"])


def test_words_that_are_equal_go_together_in_embedding_dropout_alone():
    the = [n for n, word in enumerate(subjects.SENTENCE) if word == "the"]
    seen = set()
    for _, drawn, given in draws("embedding-dropout"):
        gone = drawn["dropped"]
        assert len(set(gone[the].tolist())) == 1
        seen.add(bool(gone[the[0]]))
        torch.testing.assert_close(drawn["values"], given["values"] * ~gone[:, None] / 0.7, atol=0, rtol=0.01)
    assert seen == {True, False}
    assert any(len(set(drawn["dropped"][the].tolist())) == 2 for _, drawn, _ in draws("word-dropout"))
    for key, drawn, given in draws("word-dropout"):
        assert torch.equal(drawn["values"], f.word_dropout(given["values"], 0.3, token=0, key=key))


def test_patches_that_are_kept_are_in_the_sequence_and_no_others():
    for _, drawn, given in draws("patch-dropout"):
        assert len(drawn["kept"]) == 18
        assert torch.equal(drawn["values"], given["values"][drawn["kept"]])
    assert len(data("patch-dropout", 3)["kept"]) == 36


def test_attention_rows_sum_to_one_and_crossed_keys_weigh_nothing():
    for key, drawn, given in draws("drop-key"):
        assert torch.equal(drawn["dropped"], f.drop_key(given["values"].shape, 0.3, key=key) < 0)
        assert torch.equal(drawn["values"][~drawn["dropped"]], given["values"][~drawn["dropped"]])
        torch.testing.assert_close(drawn["weights"].sum(-1), torch.ones(6))
        assert torch.equal(drawn["weights"] == 0, drawn["dropped"][0, 0])


def test_branches_and_layers_are_those_of_the_keys():
    for key, drawn, _ in draws("drop-path"):
        expected = [f.drop_path(torch.ones(3, 1), 0.4, key=td.fold_in(key, n))[:, 0] for n in range(4)]
        assert torch.equal(drawn["values"], torch.stack(expected))
    for key, drawn, _ in draws("layer-drop"):
        ran = [f.layer_drop(torch.neg, torch.ones(1), 0.4, key=td.fold_in(key, n)) == -1 for n in range(5)]
        assert torch.equal(drawn["values"] == 1, torch.cat(ran))


def test_removed_weights_and_maps_are_zero_at_test():
    for name in ("sparse-variational1d", "sparse-variational2d"):
        assert 0 < data(name, 3)["dropped"].sum() < data(name, 3)["dropped"].numel()
    cut, before, after = (
        data("sparse-variational", 3)["cut 0"],
        data("sparse-variational", 0),
        data("sparse-variational", 3),
    )
    torch.testing.assert_close(after["units 1"], (before["weights 0"] * ~cut) @ before["units 0"])
    assert 0 < cut.sum() < cut.numel()
    assert data("log-normal", 3)["dropped"].all(-1).all(-1).tolist() == [[False] * 5 + [True]]


@pytest.mark.parametrize("name", [row.name for row in catalog.METHODS if row.test_time == "identity"])
def test_where_test_is_the_identity_its_panel_has_the_inputs_data(name):
    given, tested = data(name, 0), data(name, 3)
    for key in given.keys() - {"dropped"}:
        assert torch.equal(given[key], tested[key])


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_have_the_same_data_and_two_draws_have_not(name):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = plots.picture(name)
    assert torch.equal(torch.get_rng_state(), state)
    for one, two in zip(picture(name).panels, again.panels, strict=True):
        assert one.data.keys() == two.data.keys()
        assert all(np.array_equal(one.data[key], two.data[key]) for key in one.data)
    first, second = (again.panels[n].data for n in (1, 2))
    assert any(not np.array_equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", [row.name for row in catalog.METHODS if row.argument])
def test_the_strength_changes_the_picture(name):
    row = catalog.get(name)
    other = plots.picture(name, {"beta": 2.0, "size": 12}.get(row.argument, 0.25)).panels[1].data
    usual = picture(name).panels[1].data
    assert any(other[key].shape != usual[key].shape or not np.array_equal(other[key], usual[key]) for key in usual)
