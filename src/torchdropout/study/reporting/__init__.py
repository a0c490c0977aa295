"""The report of a stored study: one HTML page that needs nothing besides itself."""

from torchdropout.study.reporting.report import render, write
from torchdropout.study.reporting.summary import Figure, Summary, summarise

__all__ = ["Figure", "Summary", "render", "summarise", "write"]
