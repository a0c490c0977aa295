"""The conformance suite over the whole catalogue, and over layers that are wrong in known ways."""

import math

import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout import catalog
from torchdropout.testing import CHECKS, Case, GaussianNoiseClaim, TwoPointClaim, check_layer

LIMIT = -1.7580993408473766  # of SELU, Klambauer et al. 2017


def alpha_claim(p, shared_dims=()):
    a = ((1 - p) * (1 + p * LIMIT**2)) ** -0.5
    b = -a * p * LIMIT
    return TwoPointClaim(1 - p, a * LIMIT + b, a + b, shared_dims)


def scaled(p, shared_dims=()):
    return TwoPointClaim(1 - p, 0.0, 1 / (1 - p), shared_dims)


# Strengths are multiples of 1/256, which are realised exactly.
CLAIMS = {
    "dropout": (0.25, scaled(0.25)),
    "dropout1d": (0.25, scaled(0.25, (2,))),
    "dropout2d": (0.25, scaled(0.25, (2, 3))),
    "dropout3d": (0.25, scaled(0.25, (2, 3, 4))),
    "alpha": (0.125, alpha_claim(0.125)),
    "feature-alpha": (0.125, alpha_claim(0.125, (2, 3))),
    "gaussian": (0.25, GaussianNoiseClaim(math.sqrt(1 / 3))),
    "gaussian-noise": (0.2, GaussianNoiseClaim(0.2)),
    "drop-path": (0.25, scaled(0.25, (1, 2))),
    "locked": (0.25, scaled(0.25, (0,))),
}


def make_case(name):
    row = catalog.get(name)
    strength, claim = CLAIMS[name]
    torch.manual_seed(0)
    return Case(lambda: getattr(td, row.layer)(strength), torch.randn(row.input_shape), claim)


def test_every_method_of_the_catalogue_has_a_claim():
    assert list(CLAIMS) == catalog.names()


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", catalog.names())
def test_method_conforms(name, check):
    CHECKS[check](make_case(name))


def test_paper_rules_conform():
    x = torch.randn(64, 32)
    claim = TwoPointClaim(0.75, 0.0, 1.0, eval_scale=0.75)
    check_layer(lambda: td.Dropout(0.25, rule="paper"), x, claim=claim)
    claim = TwoPointClaim(0.75, 0.0, 1.0, shared_dims=(1,), eval_scale=0.75)
    check_layer(lambda: td.DropPath(0.25, rule="paper"), x, claim=claim)


def test_pytorchs_own_layer_conforms_except_where_it_accepts_nan():
    case = Case(lambda: nn.Dropout(0.25), torch.randn(64, 32), scaled(0.25))
    failures = []
    for name, check in CHECKS.items():
        try:
            check(case)
        except AssertionError as error:
            failures.append((name, str(error)))
    assert failures == [("errors", "p = nan was accepted.")]


class Wrong(nn.Module):
    """Dropout with a defect that was seen in published code."""

    def __init__(self, p=0.25):
        super().__init__()
        self.p = p

    def forward(self, x):
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p) if self.training else x


class NoisyInEval(Wrong):
    def forward(self, x):
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


class Unscaled(Wrong):
    def forward(self, x):
        return x * (torch.rand_like(x) >= self.p) if self.training else x


class KeepForDrop(Wrong):
    def forward(self, x):
        return x * (torch.rand_like(x) < self.p) / (1 - self.p) if self.training else x


class OneMaskForTheBatch(Wrong):
    def forward(self, x):
        return x * (torch.rand_like(x[:1]) >= self.p) / (1 - self.p) if self.training else x


class WritesToItsInput(Wrong):
    def forward(self, x):
        return x.mul_(torch.rand_like(x) >= self.p).div_(1 - self.p) if self.training else x


class FixedSeed(Wrong):
    def forward(self, x):
        generator = torch.Generator().manual_seed(0)
        return x * (torch.rand(x.shape, generator=generator) >= self.p) / (1 - self.p) if self.training else x


class SelectsInsteadOfMultiplying(Wrong):
    def forward(self, x):
        return torch.where(torch.rand_like(x) >= self.p, x / (1 - self.p), torch.zeros_like(x)) if self.training else x


class OwnGenerator(Wrong):
    """Checkpointing cannot restore a generator that it does not know."""

    def __init__(self, p=0.25):
        super().__init__(p)
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x):
        return x * (torch.rand(x.shape, generator=self.generator) >= self.p) / (1 - self.p) if self.training else x


class StdForVariance(Wrong):
    def forward(self, x):
        return x * (1 + torch.randn_like(x) * self.p / (1 - self.p)) if self.training else x


@pytest.mark.parametrize(
    ("layer", "check", "claim"),
    [
        (NoisyInEval, "eval", scaled(0.25)),
        (Unscaled, "statistics", scaled(0.25)),
        (KeepForDrop, "statistics", scaled(0.25)),
        (OneMaskForTheBatch, "statistics", scaled(0.25)),
        (WritesToItsInput, "input_unchanged", None),
        (FixedSeed, "train_is_noisy", None),
        (FixedSeed, "reproducible", None),
        (SelectsInsteadOfMultiplying, "odd_inputs", None),
        (SelectsInsteadOfMultiplying, "extremes_of_p", None),
        (OwnGenerator, "checkpoint", None),
        (OwnGenerator, "reproducible", None),
        (StdForVariance, "statistics", GaussianNoiseClaim(math.sqrt(1 / 3))),
        (Wrong, "errors", None),
    ],
)
def test_the_suite_finds_the_defect(layer, check, claim):
    with pytest.raises(AssertionError):
        CHECKS[check](Case(layer, torch.randn(64, 32), claim))


def test_check_layer_names_the_check_that_failed():
    with pytest.raises(AssertionError, match=r"^eval: "):
        check_layer(NoisyInEval, torch.randn(8, 16), backend=None)
