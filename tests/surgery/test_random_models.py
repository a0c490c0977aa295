"""Surgery on models drawn at random: reused and shared modules, ties, parametrizations, functions, nesting."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_insert import graph
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

import torchdropout as td

WIDTH = 4
PIECES = ("linear", "parametrized", "relu", "function", "norm", "residual", "tied", "again", "dropout")


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Network(nn.Module):
    """Pieces in the order of a plan; a list in a plan is a nested container."""

    def __init__(self, plan):
        super().__init__()
        self.relu, self.pieces, self.steps = nn.ReLU(), nn.ModuleDict(), []
        self._build(plan)

    def _build(self, plan):
        linears = []
        for number, piece in enumerate(plan):
            name = f"{piece if isinstance(piece, str) else 'nested'}{number}"
            if isinstance(piece, list):
                self.pieces[name] = nn.Sequential(*[self._plain(one) for one in piece])
            elif piece in ("relu", "function"):
                name = piece  # one ReLU for all of the places
            elif piece == "again" and linears:
                name = linears[0]  # the same layer once more
            elif piece == "tied" and linears:
                self.pieces[name] = nn.Linear(WIDTH, WIDTH)
                self.pieces[name].weight = self.pieces[linears[0]].weight
            else:
                self.pieces[name] = self._plain(piece)
                if piece == "linear":
                    linears.append(name)
            self.steps.append(name)

    @staticmethod
    def _plain(piece):
        return {
            "parametrized": lambda: weight_norm(nn.Linear(WIDTH, WIDTH)),
            "norm": lambda: nn.LayerNorm(WIDTH),
            "residual": lambda: Residual(nn.Linear(WIDTH, WIDTH)),
            "dropout": lambda: nn.Dropout(0.5),
            "relu": nn.ReLU,
        }.get(piece, lambda: nn.Linear(WIDTH, WIDTH))()

    def forward(self, x):
        for name in self.steps:
            if name == "function":
                x = F.dropout(F.silu(x), 0.25, self.training)
            else:
                x = self.relu(x) if name == "relu" else self.pieces[name](x)
        return x


pieces = st.sampled_from(PIECES)
plans = st.lists(pieces | st.lists(pieces, min_size=1, max_size=3), min_size=1, max_size=7).filter(
    lambda plan: any("linear" in one for piece in plan for one in ([piece] if isinstance(piece, str) else piece))
)


def drawn(plan, seed):
    torch.manual_seed(seed)
    return Network(plan).eval(), torch.randn(3, WIDTH)


@settings(max_examples=60, deadline=None)
@given(plans, st.integers(0, 99), st.booleans())
def test_inserted_noise_changes_no_bit_in_eval_and_is_undone(plan, seed, after):
    model, x = drawn(plan, seed)
    linears = {id(m) for m in model.modules() if isinstance(m, nn.Linear)}
    before, keys, expected = graph(model), list(model.state_dict()), model(x)
    insert = td.insert_after_ if after else td.insert_before_
    known = td.noise_sources(model, x)
    insert(model, lambda m, name: isinstance(m, nn.Linear), lambda m, name: td.Dropout(0.5), every_call=True)
    assert torch.equal(model(x), expected)
    assert list(model.state_dict()) == keys
    found = td.noise_sources(model, x)
    assert len(found) == len(known) + len(linears)
    td.revert_(model)
    assert graph(model) == before
    assert torch.equal(model(x), expected)


@settings(max_examples=60, deadline=None)
@given(plans, st.integers(0, 99))
def test_replaced_layers_without_noise_compute_the_same_with_the_same_parameters(plan, seed):
    model, x = drawn(plan, seed)
    parameters = {name: id(p) for name, p in model.named_parameters(remove_duplicate=False)}
    before, expected = graph(model), model(x)
    td.replace_(model, {nn.Linear: lambda m, name: td.DropConnectLinear.from_linear(m, p=0.0, inference="scale")})
    assert not any(type(m) is nn.Linear for m in model.modules())
    assert {name: id(p) for name, p in model.named_parameters(remove_duplicate=False)} == parameters
    torch.testing.assert_close(model(x), expected)
    td.revert_(model)
    assert graph(model) == before
    assert torch.equal(model(x), expected)


@settings(max_examples=60, deadline=None)
@given(plans, st.integers(0, 99))
def test_what_is_called_more_than_once_is_refused_and_only_that(plan, seed):
    model, x = drawn(plan, seed)
    calls = {}
    for module in model.modules():
        module.register_forward_pre_hook(lambda module, args: calls.update({id(module): calls.get(id(module), 0) + 1}))
    model(x)
    once = {id(m) for m in model.modules() if isinstance(m, nn.Linear) and calls[id(m)] == 1}
    often = [m for m in model.modules() if isinstance(m, nn.Linear) and calls[id(m)] > 1]
    for inputs in (None, x):
        try:
            td.insert_after_(
                model, lambda m, name: isinstance(m, nn.Linear), lambda m, name: td.Dropout(0.5), example_inputs=inputs
            )
        except ValueError as error:
            assert often
            assert "must be called once" in str(error)  # noqa: PT017
        else:
            assert not often
            assert {id(m) for m in model.modules() if "noise_after" in m._modules} == once
            td.revert_(model)
