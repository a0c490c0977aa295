"""The conformance suite over kinds of recurrent dropout in the other layers; the catalogue's rows are of the LSTM."""

import functools

import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout.testing import CHECKS, Case, Twin, run_check
from torchdropout.testing.declared._lstm import Noisy, Outputs

KINDS = {
    "variational": lambda p: td.Variational(p, p),
    "tied": lambda p: td.Variational(p, p, tied=True),
    "update": td.UpdateDropout,
    "zoneout": lambda p: td.Zoneout(hidden=p),
    "weights": td.WeightDrop,
}
PAIRS = [("GRU", kind) for kind in KINDS] + [("RNN", kind) for kind in KINDS if kind != "update"]
PAIRS += [("LSTM", "tied")]
ELSEWHERE = {"compile", "statistics", "sharing", "moments", "test_rule", "extremes"}  # in tests/recurrent, mask by mask
NOT_APPLICABLE = {"huge", "gradient", "divergence"}


class Only(Noisy):
    """A zoneout of hidden states alone, which is all that a layer without cell states has."""

    @Noisy.p.setter
    def p(self, value):
        self.kind = td.Zoneout(hidden=value)


@functools.cache
def case(name, kind):
    def layer(p=0.25):
        return (Only if kind == "zoneout" else Noisy)(KINDS[kind](p), 6, 4, name=name)

    def plain():
        return Outputs(getattr(nn, name)(6, 4, batch_first=True))

    torch.manual_seed(0)
    x = torch.randn(8, 3, 6)
    return Case(layer, x, elementwise=False, recurrent=True, remake=layer, twin=Twin(plain, lambda: layer(0.0)))


@pytest.mark.parametrize("check", [name for name in CHECKS if name not in NOT_APPLICABLE | ELSEWHERE])
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_the_kind_conforms_in_the_layer(name, kind, check):
    status, detail = run_check(check, case(name, kind))
    assert status == "pass", detail
