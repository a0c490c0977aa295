"""Pages from templates: one HTML file each, which needs nothing besides itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from torchdropout.study.errors import StudyError


def render(template: str, content: dict[str, Any], figures: list[Any]) -> str:
    """The page as text, with Plotly's code inside, once."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("torchdropout.study.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    more = {"figures": _embedded(figures), "plotly": Markup(get_plotlyjs())}
    return environment.get_template(template).render(content | more)


def save(path: Path, text: str) -> Path:
    """Write a page, and return its path.

    Raises:
        StudyError: The file cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(f"{path}: the report must be writable, found: {error.strerror or error}.") from error
    return path


def _embedded(figures: list[Any]) -> Markup:
    """Figures as JSON that no text inside them can end: the page's script reads it from a data block."""
    text = json.dumps([json.loads(figure.to_json()) for figure in figures], ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
