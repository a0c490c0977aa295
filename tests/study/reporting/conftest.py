import pytest
import synthetic
from page import Page

from torchdropout.study.reporting import render


@pytest.fixture
def page():
    """Renders a synthetic study, after whatever `change` does to it."""

    def of(change=lambda stored: None, **settings):
        stored = synthetic.stored(**settings)
        change(stored)
        return Page(render(stored))

    return of
