"""Pages can be read: nothing overlaps, nothing is cut off, nothing is empty, and each says what it shows."""

from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from drawn import pages, picture, written
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from torchdropout import catalog, plots
from torchdropout.plots import page
from torchdropout.plots.table import ENTRIES, GROUPS

NAMES = catalog.names()


def overlap(one, two):
    """The pixels that two boxes share in the direction in which they share least."""
    return min(one.x1, two.x1) - max(one.x0, two.x0), min(one.y1, two.y1) - max(one.y0, two.y0)


def test_every_method_of_the_catalogue_has_a_picture_and_a_group():
    assert sorted(ENTRIES) == sorted(NAMES)
    assert {entry.group for entry in ENTRIES.values()} == set(GROUPS)


@pytest.mark.parametrize("name", [*NAMES, "all"])
def test_no_two_texts_overlap_and_none_leaves_the_page(name):
    figure, texts = pages(name)
    assert len(texts) >= 7
    for (one, box), (two, other) in combinations(texts, 2):
        assert min(overlap(box, other)) <= 0.5, f"{one!r} and {two!r} overlap"
    for words, box in texts:
        assert min(box.x0, box.y0, figure.bbox.x1 - box.x1, figure.bbox.y1 - box.y1) >= 0, f"{words!r} leaves the page"


@pytest.mark.parametrize(("name", "strength"), [("dropout", 0.999), ("gaussian", 0.9999999), ("locked", 0.999)])
def test_large_numbers_do_not_overlap_either(name, strength):
    figure = page.figure(catalog.get(name), plots.picture(name, strength), name)
    for (one, box), (two, other) in combinations(written(figure), 2):
        assert min(overlap(box, other)) <= 0.5, f"{one!r} and {two!r} overlap"


def test_texts_that_overlap_would_be_found():
    figure = Figure()
    figure.text(0.5, 0.5, "one text")
    figure.text(0.51, 0.51, "another")
    renderer = FigureCanvasAgg(figure).get_renderer()
    assert min(overlap(*(text.get_window_extent(renderer) for text in figure.texts))) > 5


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_it_shows(name):
    figure, texts = pages(name)
    words, row = [text for text, _ in texts], catalog.get(name)
    assert page.caption(row) in words
    assert all(part in page.caption(row) for part in (row.noise, row.shared, row.target, row.test_time))
    first = "without noise" if catalog.get(name).is_kind else "input"
    assert {first, "training, draw 1", "training, draw 2", "test"} <= set(words)
    assert " ".join(ENTRIES[name].note.split()) in [" ".join(text.split()) for text in words]
    for axes in figure.axes:
        assert axes.patches or axes.images or axes.lines or axes.collections


@pytest.mark.parametrize("name", NAMES)
def test_both_draws_are_drawn_in_ink_and_differ(name):
    """Rendered panels: neither empty, nor the same for both keys."""
    figure, _ = pages(name)
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    boxes = [axes.get_window_extent().extents.astype(int) for axes in figure.axes[:4]]
    size = min(int(b[2] - b[0]) for b in boxes), min(int(b[3] - b[1]) for b in boxes)
    parts = [pixels[len(pixels) - b[1] - size[1] : len(pixels) - b[1], b[0] : b[0] + size[0]] for b in boxes]
    for part in parts:
        assert (part < 250).any(-1).mean() > 0.02
    assert (parts[1] != parts[2]).any(-1).mean() > 0.005


def test_the_gallery_names_every_method_and_group_and_is_small(tmp_path):
    figure, texts = pages("all")
    assert {*NAMES, *GROUPS} <= {words for words, _ in texts}
    assert len(figure.axes) == len(NAMES)
    path = page.save(figure, tmp_path / "all.png", dpi=100)
    assert path.stat().st_size < 1.5e6
    assert figure.get_size_inches()[0] * 100 == 1600


def test_the_gallery_of_the_readme_is_of_this_catalogue():
    """Its size in pixels follows from the number of methods in each group."""
    width, height = pages("all")[0].get_size_inches() * 100
    with Image.open(Path(__file__).parents[2] / "docs" / "gallery.png") as drawn:
        assert drawn.size == (int(width), int(height))


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_command_writes_the_same_bytes(tmp_path, suffix):
    one, two = (plots.draw("drop-block1d", tmp_path / f"{n}.{suffix}").read_bytes() for n in (1, 2))
    assert one == two
    assert one.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix])


def test_a_users_own_style_changes_nothing(tmp_path):
    usual = plots.draw("cutout", tmp_path / "usual.png").read_bytes()
    with matplotlib.rc_context({"font.size": 30, "image.cmap": "jet", "figure.facecolor": "black"}):
        assert plots.draw("cutout", tmp_path / "own.png").read_bytes() == usual
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize("name", NAMES)
def test_the_thumbnail_is_a_panel_of_the_picture(name):
    shown = picture(name)
    assert shown.thumbnail in (*shown.panels, shown.density)
