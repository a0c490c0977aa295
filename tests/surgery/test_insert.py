"""Noise inserted into models: where it acts, what stays to the bit, and what undoing restores."""

import copy
import pickle

import pytest
import torch
from models import Reused, Transformer, cases, mlp
from torch import nn

import torchdropout as td

ACTIVATIONS = (nn.ReLU, nn.GELU, nn.Tanh, nn.Linear)
INPUTS = {name: inputs for name, (_, inputs) in cases().items()}


def noise(module, name):
    return td.Dropout(0.5)


def graph(model):
    """Everything that undoing must restore: modules by name and identity, parameters, hooks, instance attributes."""
    return [
        (
            name,
            id(module),
            type(module),
            sorted(set(module.__dict__) - {"_is_torch_compile", "_compile_kwargs"}),
            list(module._modules),
            len(module._forward_hooks),
        )
        for name, module in model.named_modules(remove_duplicate=False)
    ] + [(name, id(p)) for name, p in model.state_dict(keep_vars=True).items()]


@pytest.mark.parametrize("insert", [td.insert_after_, td.insert_before_])
@pytest.mark.parametrize("name", list(cases()))
def test_eval_is_the_same_to_the_bit_training_is_noisy_and_undoing_restores_everything(name, insert):
    torch.manual_seed(0)
    make, inputs = cases()[name]
    model, x = make().eval(), inputs()
    before, keys = graph(model), list(model.state_dict())
    with torch.no_grad():
        expected = model(x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    types = (nn.Linear,) if name in ("resnet", "encoder") else ACTIVATIONS
    names = insert(
        model, lambda module, name: type(module) in types and "out_proj" not in name, noise, example_inputs=x
    )
    assert names
    assert list(model.state_dict()) == keys
    with torch.no_grad():
        assert torch.equal(model(x), expected)
    assert not any(module.training for module in model.modules())
    model.train()
    assert not torch.equal(model(x), model(x))
    model(x).sum().backward()
    optimizer.step()
    assert td.revert_(model.eval()) is model
    assert graph(model) == before


def test_the_noise_is_on_the_output_or_on_the_input_of_the_module_itself():
    key = td.key(3)

    class Keyed(nn.Module):
        def forward(self, x):
            return td.functional.dropout(x, 0.5, key=key)

    model, x = mlp().train(), torch.randn(5, 6)
    td.insert_after_(model, "1", lambda module, name: Keyed())
    td.insert_before_(model, "3", lambda module, name: Keyed())
    h = Keyed()(torch.relu(model[0](x)))
    h = Keyed()(torch.tanh(model[2][0](h)))
    torch.testing.assert_close(model(x), nn.functional.linear(h, model[3].weight, model[3].bias), rtol=0, atol=0)


class Zero(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


def test_noise_on_the_inputs_of_a_whole_model_and_named_arguments():
    model = mlp().train()
    td.insert_before_(model, "", lambda module, name: Zero(), example_inputs=torch.ones(1, 6))
    assert torch.equal(model(torch.randn(4, 6)), mlp_of_zeros(model))
    named = Transformer().eval()
    td.insert_before_(named.layers[0], "", lambda module, name: Zero())
    torch.testing.assert_close(named.layers[0](x=torch.randn(2, 3, 8)), named.layers[0](torch.zeros(2, 3, 8)))


def mlp_of_zeros(model):
    plain = mlp()
    plain.load_state_dict(model.state_dict())
    return plain(torch.zeros(4, 6))


def test_several_insertions_follow_one_another_and_are_undone_one_by_one():
    model = mlp()
    td.insert_after_(model, "1", lambda module, name: nn.Softplus())
    td.insert_after_(model, "1", lambda module, name: nn.Hardtanh())
    x = torch.randn(5, 6)
    h = torch.relu(model[0](x))
    torch.testing.assert_close(model[1](model[0](x)), nn.functional.hardtanh(nn.functional.softplus(h)))
    assert len(model[1].noise_after) == 2
    td.revert_(model)
    assert torch.equal(model[1](model[0](x)), h)
    with pytest.raises(ValueError, match="nothing was inserted"):
        td.revert_(model)


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_noisy_by_themselves_and_can_be_undone(twin):
    model = mlp().train()
    td.insert_after_(model, nn.ReLU, noise)
    other = twin(model)
    with torch.no_grad():
        other[0].weight.zero_()
        other[0].bias.fill_(1.0)
        assert set(other[1](other[0](torch.ones(50, 6))).unique().tolist()) == {0.0, 2.0}
        assert set(model[1](torch.ones(50, 6)).unique().tolist()) == {0.0, 2.0}
    td.revert_(other)
    assert "noise_after" in model[1]._modules
    assert "noise_after" not in other[1]._modules
    assert "forward" not in other[1].__dict__


def test_hooks_and_a_forward_of_the_modules_own_stay():
    model, seen = mlp(), []
    model[1].register_forward_hook(lambda module, args, y: seen.append(y))
    model[3].forward = lambda x: x + 1.0
    td.insert_after_(model, lambda module, name: name in ("1", "3"), lambda module, name: nn.Hardtanh(0.0, 0.5))
    y = model(torch.randn(5, 6))
    assert seen[0].max() <= 0.5
    assert y.max() <= 0.5
    td.revert_(model)
    assert torch.equal(model[3](torch.zeros(2)), torch.ones(2))


def test_compiled_after_insertion_it_has_the_same_numbers():
    model, x = mlp().train(), torch.randn(5, 6)
    td.insert_after_(model, (nn.ReLU, nn.Tanh), noise)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    results = []
    for run in (model, compiled):
        torch.manual_seed(0)
        loss = run(x).square().sum()
        results.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    torch.testing.assert_close(*results)


def test_a_reused_module_is_an_error_unless_every_call_is_meant():
    for inputs in (None, torch.ones(2, 4)):  # traced, and run
        model = Reused()
        before = graph(model)
        with pytest.raises(ValueError, match="relu must be called once, a forward pass calls it 2 times"):
            td.insert_after_(model, "relu", noise, example_inputs=inputs)
        with pytest.raises(ValueError, match="a must be called once, a forward pass calls it 2 times"):
            td.insert_after_(model, nn.Linear, noise, example_inputs=inputs)
        assert graph(model) == before
    assert td.insert_after_(model, nn.Linear, noise, every_call=True) == ["a", "b"]
    assert model.again is model.a


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(x) if x.sum() > 0 else self.relu(self.relu(x))


def test_a_model_that_cannot_be_traced_needs_inputs():
    model = Untraceable()
    with pytest.raises(ValueError, match="the model cannot be traced: give `example_inputs`"):
        td.insert_after_(model, "relu", noise)
    assert td.insert_after_(model, "relu", noise, example_inputs=torch.ones(2)) == ["relu"]
    with pytest.raises(ValueError, match="calls it 2 times"):
        td.insert_after_(Untraceable(), "relu", noise, example_inputs=-torch.ones(2))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def shared_noise():
    layer = td.Dropout(0.5)
    return lambda module, name: layer


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m: td.insert_after_(m, "4", noise),
            ValueError,
            r"insert_after_: the pattern '4' must match a module, it matches none\.",
        ),
        (
            lambda m: td.insert_before_(m, "2.2", noise),
            ValueError,
            r"insert_before_: the pattern '2.2' must match a module, it matches none; near it are 2\.[01], 2\.[01]",
        ),
        (
            lambda m: td.insert_after_(m, nn.GELU, noise),
            ValueError,
            r"insert_after_: the type GELU must match a module, it matches none\.",
        ),
        (
            lambda m: td.insert_after_(m, nn.Module, noise),
            ValueError,
            "the type Module must match a module, it matches none of exactly that type;  is a Sequential, 0 is a Lin",
        ),
        (
            lambda m: td.insert_after_(m, lambda module, name: False, noise),
            ValueError,
            r"insert_after_: the filter must match a module, it matches none\.",
        ),
        (
            lambda m: td.insert_after_(m, "1", lambda module, name: 0.5),
            TypeError,
            r"insert_after_: `factory` must return a torch.nn.Module, got float for 1\.",
        ),
        (
            lambda m: td.insert_after_(m, nn.Linear, shared_noise()),
            TypeError,
            r"insert_after_: `factory` must make a new module for each place, got the same Dropout\(p=0.5",
        ),
        (
            lambda m: td.insert_after_(torch.compile(m), "1", noise),
            ValueError,
            "insert_after_: `model` must be changed before it is wrapped, got a compiled model.",
        ),
        (
            lambda m: td.insert_after_(nn.DataParallel(m), "1", noise),
            ValueError,
            "insert_after_: `model` must be changed before it is wrapped, got DataParallel.",
        ),
        (
            lambda m: td.insert_after_(nn.ModuleList([m]), "", noise),
            ValueError,
            "insert_after_: the model itself must be called in a forward pass, a ModuleList never is.",
        ),
        (
            lambda m: td.insert_after_(nn.Sequential(nn.Sequential()), "0", noise),
            ValueError,
            "insert_after_: 0 must have children, this nn.Sequential is empty.",
        ),
        (
            lambda m: td.insert_after_(
                nn.MultiheadAttention(4, 2), "out_proj", noise, example_inputs=[torch.ones(1, 4)] * 3
            ),
            ValueError,
            "insert_after_: out_proj must be called in a forward pass, it never is.",
        ),
        (td.revert_, ValueError, "revert_: `model` must have been changed"),
    ],
)  # fmt: skip
def test_errors_leave_the_model_as_it_was(call, error, message):
    model = mlp()
    before = graph(model)
    with pytest.raises(error, match=message):
        call(model)
    assert graph(model) == before


def test_noise_after_what_returns_no_tensor_is_an_error():
    model = nn.Sequential(Pair())
    td.insert_after_(model, Pair, noise)
    with pytest.raises(TypeError, match="insert_after_: a Pair must return a tensor to have noise after it, got tuple"):
        model(torch.ones(2))
