"""Noise in models that exist: inserted, put in the place of layers, listed, and taken out again."""

from torchdropout.surgery._log import revert_
from torchdropout.surgery.insert import insert_after_, insert_before_
from torchdropout.surgery.replace import replace_
from torchdropout.surgery.sources import NoiseSource, noise_sources

__all__ = ["NoiseSource", "insert_after_", "insert_before_", "noise_sources", "replace_", "revert_"]
