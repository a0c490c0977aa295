"""What is said where a framework is not installed."""

from __future__ import annotations


def missing(framework: str) -> ImportError:
    """One sentence: what to install."""
    return ImportError(
        f"torchdropout.integrations.{framework}: the package {framework} must be installed, found none; "
        f"pip install 'torchdropout[{framework}]'."
    )
