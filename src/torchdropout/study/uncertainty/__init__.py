"""How far a study's model can be believed: `torchdropout uncertainty`, its table and its page."""

from torchdropout.study.uncertainty.assessment import Assessment, assess
from torchdropout.study.uncertainty.measures import Measure
from torchdropout.study.uncertainty.page import write

__all__ = ["Assessment", "Measure", "assess", "write"]
