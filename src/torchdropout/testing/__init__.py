"""The conformance suite: what every noise layer owes its users, for the layers of this package and for others'.

Any `torch.nn.Module` that is noisy iff it is in training mode can be checked; five lines adapt what is none:

    class Adapted(torch.nn.Module):
        def __init__(self, rate=0.25):
            super().__init__()
            self.layer = keras.layers.GaussianDropout(rate)
        def forward(self, x):
            return self.layer(x, training=self.training)

    check_layer(Adapted, torch.randn(64, 128), claim=GaussianNoiseClaim(std=3**-0.5), remake=Adapted)
"""

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
