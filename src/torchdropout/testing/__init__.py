"""The conformance suite: what every noise layer owes its users, for the layers of this package and for others'."""

from torchdropout.testing.bounds import ERROR_RATE
from torchdropout.testing.case import Case, Divergence, Expectation, Twin
from torchdropout.testing.claims import GaussianNoiseClaim, QuantileClaim, TwoPointClaim
from torchdropout.testing.suite import CHECKS, Outcome, check_layer, check_method, run_check, run_checks

__all__ = [
    "CHECKS",
    "ERROR_RATE",
    "Case",
    "Divergence",
    "Expectation",
    "GaussianNoiseClaim",
    "Outcome",
    "QuantileClaim",
    "Twin",
    "TwoPointClaim",
    "check_layer",
    "check_method",
    "run_check",
    "run_checks",
]
