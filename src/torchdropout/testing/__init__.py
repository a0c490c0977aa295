"""The conformance suite: what every noise layer owes its users, for the layers of this package and for others'."""

from torchdropout.testing.bounds import ERROR_RATE
from torchdropout.testing.case import Case, GaussianNoiseClaim, TwoPointClaim
from torchdropout.testing.suite import CHECKS, check_layer

__all__ = ["CHECKS", "ERROR_RATE", "Case", "GaussianNoiseClaim", "TwoPointClaim", "check_layer"]
