"""The catalogue and the docstrings agree, and docstrings have the sections that the design asks for."""

import inspect
import re

import pytest

import torchdropout as td
from torchdropout import catalog
from torchdropout.recurrent import kinds

FUNCTIONS = [row for row in catalog.METHODS if not row.is_kind]


@pytest.mark.parametrize("row", catalog.METHODS, ids=catalog.names())
def test_the_docstring_has_its_sections_and_the_catalogues_words(row):
    layer = getattr(td, row.layer)
    text = inspect.getdoc(layer)
    shape = () if row.is_kind else ("Shape:",)  # a kind's is that of the layer that it is given to
    for section in ("Args:", *shape, "Raises:", "Example:", "Reference:", "Deviation:"):
        assert section in text, section
    assert "key=td.key(" in text
    flat = re.sub(r"\s+", " ", text)
    line = f"Noise | Shared | Target | At test time: {row.noise} | {row.shared} | {row.target} | {row.test_time}"
    assert line in flat
    assert re.search(r"\b(19|20)\d\d\b", text), "the reference has a year"


def test_every_kind_of_recurrent_dropout_has_a_row_and_shows_how_it_is_given():
    rows = [row for row in catalog.METHODS if row.is_kind]
    assert [getattr(td, row.layer) for row in rows] == list(kinds.KINDS)
    for row in rows:
        names = {name: getattr(td, name) for name in ("LSTM", row.layer)}
        layer = eval(row.usage.replace("LSTM(", "LSTM(1, 1, ").replace("...", ""), names)
        assert isinstance(layer.recurrent[0], getattr(td, row.layer))
        assert row.usage in catalog.as_markdown()


def test_every_row_has_a_place_in_a_built_in_model():
    for row in catalog.METHODS:
        assert row.models, row.name
        assert row.dims in (None, *catalog.RANKS)
    used = {row.place for row in catalog.METHODS}
    assert used == set(catalog.PLACES)


def test_the_forms_of_a_method_differ_by_their_axes_alone():
    assert {dims: row.name for dims, row in catalog.forms(catalog.get("drop-block1d")).items()} == {
        1: "drop-block1d",
        2: "drop-block2d",
    }
    for row in catalog.METHODS:
        for dims, form in catalog.forms(row).items():
            assert row.dims is None or form.place == row.place
            assert form.name == f"{row.family}{dims}d" or form is row
            spatial = len(form.input_shape) - 2
            assert spatial == dims


@pytest.mark.parametrize("row", FUNCTIONS, ids=lambda row: row.name)
def test_the_function_has_its_sections(row):
    text = inspect.getdoc(getattr(td.functional, row.function))
    for section in ("Args:", "Raises:", "Example:"):
        assert section in text, section
    assert "key=td.key(" in text


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="no method is called 'drop_path'. Did you mean 'drop-path'?"):
        catalog.get("drop_path")
    with pytest.raises(ValueError, match=r"no method is called 'zzz'\. Known: dropout, "):
        catalog.get("zzz")
