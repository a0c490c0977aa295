"""What holds for `torch.nn`'s dropout classes holds for ours: every test runs on both."""

import inspect
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchdropout as td

INPUTS = {
    "Dropout": (20, 10),
    "Dropout1d": (20, 10, 4),
    "Dropout2d": (20, 10, 4, 4),
    "Dropout3d": (20, 10, 2, 2, 2),
    "AlphaDropout": (20, 10),
    "FeatureAlphaDropout": (20, 10, 4),
}
FUNCTIONS = ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"]
both = pytest.mark.parametrize("package", [nn, td], ids=["torch.nn", "torchdropout"])
every = pytest.mark.parametrize("name", INPUTS)


def outcome(call):
    """The value, or the error's type and words, and the words of all warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call()
        except Exception as error:
            result = (type(error), str(error))
    return result, [str(w.message) for w in caught]


@every
def test_the_constructor_has_pytorchs_arguments(name):
    theirs = inspect.signature(getattr(nn, name).__init__).parameters.values()
    ours = list(inspect.signature(getattr(td, name).__init__).parameters.values())
    assert [(p.name, p.default) for p in theirs] == [(p.name, p.default) for p in ours[: len(theirs)]]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_function_has_pytorchs_arguments(name):
    theirs = inspect.signature(getattr(F, name)).parameters.values()
    ours = list(inspect.signature(getattr(td.functional, name)).parameters.values())
    assert [(p.name, p.default) for p in theirs] == [(p.name, p.default) for p in ours[: len(theirs)]]
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])


@every
@pytest.mark.parametrize("arguments", [(), (0.3,), (0,), (1,), (0.25, True)])
def test_representation(name, arguments):
    assert repr(getattr(td, name)(*arguments)) == repr(getattr(nn, name)(*arguments))


@every
@pytest.mark.parametrize("p", [-0.1, 1.1, 2, float("inf"), "a", None])
def test_refused_probability(name, p):
    assert outcome(lambda: getattr(td, name)(p)) == outcome(lambda: getattr(nn, name)(p))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_refused_probability_of_the_function(name, p):
    x = torch.ones(2, 3, 4, 4)
    assert outcome(lambda: getattr(td.functional, name)(x, p)) == outcome(lambda: getattr(F, name)(x, p))


@every
def test_nan_is_refused_in_the_same_words(name):
    with pytest.raises(ValueError, match="^dropout probability has to be between 0 and 1, but got nan$"):
        getattr(td, name)(float("nan"))


@every
@pytest.mark.parametrize("rank", range(7))
def test_ranks_give_the_same_warnings_and_errors(name, rank):
    x = torch.ones([3] * rank)

    def shape_of(package):
        return outcome(lambda: getattr(package, name)(0.5)(x).shape)

    assert shape_of(td) == shape_of(nn)


INTEGERS = [(name, dtype) for name in INPUTS for dtype in (torch.int64, torch.uint8, torch.int32)]
# For the alpha classes PyTorch's words name Long instead, the type of an intermediate result.
INTEGERS += [(name, torch.bool) for name in INPUTS if "Alpha" not in name]


@pytest.mark.parametrize(("name", "dtype"), INTEGERS)
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_integers(name, dtype, p):
    x = torch.ones(INPUTS[name]).to(dtype)

    def described(package):
        def call():
            y = getattr(package, name)(p)(x)
            return y.dtype, y.sum().item()

        return outcome(call)

    assert described(td) == described(nn)


@every
@pytest.mark.parametrize(("training", "p"), [(True, 0.0), (True, 1.0), (False, 0.0), (False, 0.5), (False, 1.0)])
def test_settled_cases_give_pytorchs_values(name, training, p):
    x = torch.randn(INPUTS[name])
    x.view(-1)[:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    theirs, ours = (getattr(package, name)(p).train(training)(x) for package in (nn, td))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


@both
@every
def test_inplace_writes_to_the_input_and_has_the_same_gradient(package, name):
    layer = getattr(package, name)(0.5, inplace=True)
    leaf = torch.randn(INPUTS[name]).requires_grad_()
    x = leaf * 1.0
    before = x.detach().clone()
    y = layer(x)
    ignored = "Alpha" in name  # by PyTorch's modules, not by its functions
    assert (y.data_ptr() == x.data_ptr()) != ignored
    assert torch.equal(before, x.detach()) == ignored
    y.sum().backward()
    assert leaf.grad.unique().numel() == 2


@both
@pytest.mark.parametrize("name", FUNCTIONS)
def test_inplace_function(package, name):
    function = getattr(F if package is nn else td.functional, name)
    leaf = torch.randn(dict(zip(FUNCTIONS, INPUTS.values(), strict=True))[name]).requires_grad_()
    x = leaf * 1.0
    y = function(x, 0.5, True, True)
    assert y.data_ptr() == x.data_ptr()
    y.sum().backward()
    assert leaf.grad.unique().numel() == 2


@both
@pytest.mark.parametrize("name", ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d"])
def test_inplace_on_a_leaf_that_needs_a_gradient_is_refused(package, name):
    layer = getattr(package, name)(0.5, inplace=True)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        layer(torch.randn(INPUTS[name], requires_grad=True))


@both
@every
def test_empty_state_dict_loads_both_ways(package, name):
    layer = getattr(package, name)(0.3)
    assert layer.state_dict() == {}
    other = getattr(td if package is nn else nn, name)(0.1)
    assert other.load_state_dict(layer.state_dict(), strict=True).missing_keys == []


@both
@pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
def test_mean_and_zeros_of_a_large_input(package, p):
    torch.manual_seed(0)
    x = torch.full((1000, 100), 1.0 - p, requires_grad=True)
    y = package.Dropout(p)(x)
    assert abs(y.mean() - (1 - p)) < 0.02
    (y * y).sum().backward()
    assert abs((y == 0).float().mean() - p) < 0.02
    torch.testing.assert_close((x.grad == 0), (y == 0))


@both
def test_discontiguous_input_keeps_its_expectation(package):
    torch.manual_seed(0)
    x = torch.ones(100, 100)
    strided = x.as_strided((50, 40), (200, 2))
    assert abs(package.Dropout(0.3)(strided).mean() - 1.0) < 0.1
    assert torch.equal(x, torch.ones(100, 100))


@both
@pytest.mark.parametrize("name", ["Dropout2d", "Dropout3d"])
def test_whole_channels_are_dropped_or_kept(package, name):
    y = getattr(package, name)(0.5)(torch.ones(INPUTS[name]))
    per_channel = y.flatten(2)
    assert torch.equal(per_channel.amin(2), per_channel.amax(2))
    assert set(per_channel.unique().tolist()) == {0.0, 2.0}


@both
@pytest.mark.parametrize("name", ["AlphaDropout", "FeatureAlphaDropout"])
@pytest.mark.parametrize("p", [0.2, 0.5])
def test_alpha_dropout_keeps_mean_and_standard_deviation(package, name, p):
    torch.manual_seed(0)
    x = torch.randn(500, 400)
    y = getattr(package, name)(p)(x)
    assert abs(y.mean() - x.mean()) < 0.02
    assert abs(y.std() - x.std()) < 0.02


@both
@pytest.mark.parametrize("p", [0.25, 0.5])
def test_alpha_dropout_takes_the_same_two_values(package, p):
    torch.manual_seed(0)
    values = package.AlphaDropout(p)(torch.ones(1000, dtype=torch.float64)).unique()
    torch.manual_seed(0)
    expected = nn.AlphaDropout(p)(torch.ones(1000, dtype=torch.float64)).unique()
    torch.testing.assert_close(values, expected)


@both
def test_the_layer_is_seeded_by_manual_seed(package):
    x, layer = torch.ones(100), package.Dropout(0.5)
    outputs = []
    for _ in range(2):
        torch.manual_seed(3)
        outputs.append(layer(x))
    assert torch.equal(*outputs)
