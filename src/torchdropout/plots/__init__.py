"""Pictures of what each method does, made by running the real layers. They need matplotlib and scikit-learn."""

from torchdropout.plots.draw import draw, draw_gallery, picture

__all__ = ["draw", "draw_gallery", "picture"]
