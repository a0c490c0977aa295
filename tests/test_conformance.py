"""The conformance suite over the whole catalogue: every check of every method."""

import functools

import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout import catalog
from torchdropout.testing import CHECKS, Case, TwoPointClaim, check_layer, check_method, run_check, run_checks
from torchdropout.testing.declared import DECLARATIONS, declared

BAYESIAN = {
    *("variational-dropout", "variational", "variational1d", "variational2d", "log-normal"),
    *("sparse-variational", "sparse-variational1d", "sparse-variational2d", "concrete", "concrete1d", "concrete2d"),
}
ELEMENTWISE = {
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha", "feature-alpha", "gaussian", "gaussian-noise"),
    *("drop-path", "locked", "stochastic-rate", "cutout", "max-drop", "drop-block1d", "drop-block2d"),
    *("variational-dropout", "log-normal"),
}
WORDS = {"embedding-dropout", "word-dropout"}
RECURRENT = {row.name for row in catalog.METHODS if row.is_kind}
ALL = set(catalog.names())

# To which methods a check applies, where it does not apply to all.
ONLY = {
    "huge": ELEMENTWISE,
    "gradient": ELEMENTWISE,
    "gradcheck": ALL - {"word-dropout"},
    "checkpoint": ALL - {"word-dropout"},
    "autocast": ALL - WORDS,
    "extremes_of_p": ALL - BAYESIAN - {"gaussian-noise", "standout", "cutout", "stochastic-rate"},
    "extremes": BAYESIAN | RECURRENT | {"standout"},
    "divergence": BAYESIAN,
}

of_row = functools.cache(declared)


def test_every_method_of_the_catalogue_declares_itself():
    assert set(DECLARATIONS) == ALL


def test_whatever_has_a_divergence_is_checked_for_it():
    assert {name for name in ALL if hasattr(of_row(name).factory(), "kl")} == BAYESIAN


@pytest.mark.parametrize("name", catalog.names())
def test_the_declared_layer_and_input_are_the_rows(name):
    case, row = of_row(name), catalog.get(name)
    made = list(case.factory().modules())
    made += [kind for module in made if isinstance(module, td.LSTM) for kind in module.recurrent]
    assert getattr(td, row.layer) in map(type, made)
    assert case.input.dim() == len(row.input_shape)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", catalog.names())
def test_method_conforms(name, check):
    status, detail = run_check(check, of_row(name))
    assert status == ("pass" if name in ONLY.get(check, ALL) else "n/a"), detail


def scaled(p, shared_dims=()):
    return TwoPointClaim(1 - p, 0.0, 1 / (1 - p), shared_dims)


def test_paper_rules_conform():
    x = torch.randn(64, 32)
    claim = TwoPointClaim(0.75, 0.0, 1.0, eval_scale=0.75)
    check_layer(lambda: td.Dropout(0.25, rule="paper"), x, claim=claim)
    claim = TwoPointClaim(0.75, 0.0, 1.0, shared_dims=(1,), eval_scale=0.75)
    check_layer(lambda: td.DropPath(0.25, rule="paper"), x, claim=claim)


@pytest.mark.parametrize(
    ("layer", "shape", "dims"),
    [(nn.Dropout, (64, 32), ()), (nn.Dropout1d, (32, 64, 8), (2,)), (nn.Dropout2d, (32, 64, 4, 4), (2, 3))],
)
def test_pytorchs_own_layers_conform_except_where_they_accept_nan(layer, shape, dims):
    outcomes = run_checks(Case(lambda: layer(0.25), torch.randn(shape), scaled(0.25, dims)))
    failures = {name: detail for name, (status, detail) in outcomes.items() if status == "fail"}
    assert failures == {"errors": "p = nan was accepted."}


def test_a_check_that_does_not_apply_says_why():
    outcomes = run_checks(Case(nn.Identity, torch.randn(8, 4), backend=None))
    reasons = {name: detail for name, (status, detail) in outcomes.items() if status == "n/a"}
    assert reasons["statistics"] == "no claim"
    assert reasons["compile"] == "no backend named"
    assert all(reasons.values())
    assert outcomes["train_is_noisy"].status == "fail"


def test_a_method_is_checked_by_its_name():
    assert {name: status for name, (status, _) in check_method("gaussian", ["eval", "extremes"]).items()} == {
        "eval": "pass",
        "extremes": "n/a",
    }
    with pytest.raises(ValueError, match="Did you mean 'gaussian'"):
        check_method("gausian")


def test_the_generator_is_left_as_it_was():
    before = torch.get_rng_state()
    check_layer(lambda: td.Dropout(0.25), torch.randn(8, 4), backend=None)
    torch.set_rng_state(before)
    x = torch.randn(8, 4)
    state = torch.get_rng_state()
    check_layer(lambda: td.Dropout(0.25), x, backend=None)
    assert torch.equal(state, torch.get_rng_state())
