"""Pictures and their pages, each made once."""

import functools
import warnings

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from torchdropout import catalog, plots
from torchdropout.plots import gallery, page
from torchdropout.plots.table import ENTRIES


@functools.cache
def picture(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return plots.picture(name)


@functools.cache
def pages(name):
    """The page of a method, or of all of them, and what was written on it: (words, box in pixels)."""
    with warnings.catch_warnings(), page.style():
        warnings.simplefilter("error")
        if name == "all":
            figure = gallery.figure({each: picture(each) for each in ENTRIES})
        else:
            figure = page.figure(catalog.get(name), picture(name), name)
        return figure, written(figure)


def written(figure):
    """The texts that are really drawn: axes hold more than they show."""
    found, draw = [], Text.draw

    def recording(text, renderer, *others, **options):
        if text.get_visible() and text.get_text().strip():
            found.append((text.get_text(), text.get_window_extent(renderer)))
        return draw(text, renderer, *others, **options)

    Text.draw = recording
    try:
        FigureCanvasAgg(figure).draw()
    finally:
        Text.draw = draw
    return found
