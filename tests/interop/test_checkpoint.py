import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import torchdropout as td

LAYERS = {
    "dropout": lambda: td.Dropout(0.5),
    "gaussian": lambda: td.GaussianDropout(0.5),
    "drop_path": lambda: td.DropPath(0.5),
    "locked": lambda: td.LockedDropout(0.5),
    "noise": lambda: td.GaussianNoise(0.5),
    "alpha": lambda: td.AlphaDropout(0.5),
}


def gradients(run, model, x):
    """The output, all gradients, and the state that the generator is left in."""
    torch.manual_seed(11)
    model.zero_grad()
    x = x.clone().requires_grad_()
    y = run(x)
    state = torch.get_rng_state()
    y.pow(2).sum().backward()
    return [y, x.grad, *(parameter.grad for parameter in model.parameters()), state]


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
def test_recomputed_masks_are_those_of_the_forward_pass(layer, reentrant):
    model = nn.Sequential(nn.Linear(8, 32), layer(), nn.Tanh(), layer(), nn.Linear(32, 1))
    x = torch.randn(6, 5, 8)
    plain = gradients(model, model, x)
    recomputed = gradients(lambda x: checkpoint(model, x, use_reentrant=reentrant), model, x)
    for a, b in zip(plain, recomputed, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("reentrant", [True, False])
def test_segments_and_noise_after_them(reentrant):
    model = nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), td.Dropout(0.5), nn.Tanh()) for _ in range(4)])

    def run(x):
        return td.functional.dropout(checkpoint_sequential(model, 2, x, use_reentrant=reentrant), 0.3)

    x = torch.randn(6, 8)
    plain = gradients(lambda x: td.functional.dropout(model(x), 0.3), model, x)
    for a, b in zip(plain, gradients(run, model, x), strict=True):
        assert torch.equal(a, b)


def test_without_the_generators_state_the_masks_would_differ():
    """The test above can fail: it does when the state is not kept."""
    model = nn.Sequential(nn.Linear(8, 32), td.Dropout(0.5), nn.Linear(32, 1))
    x = torch.randn(6, 8)

    def run(x):
        return checkpoint(model, x, use_reentrant=False, preserve_rng_state=False)

    plain, recomputed = gradients(model, model, x), gradients(run, model, x)
    assert torch.equal(plain[0], recomputed[0])
    assert not torch.equal(plain[4], recomputed[4])  # of the last layer, from recomputed activations


@pytest.mark.parametrize("reentrant", [True, False])
def test_with_an_explicit_key(reentrant):
    linear = nn.Linear(8, 8)

    def block(x, key):
        return td.functional.dropout(linear(x), 0.5, key=key).tanh()

    x = torch.randn(6, 8)
    plain = gradients(lambda x: block(x, td.key(1)), linear, x)
    again = gradients(lambda x: checkpoint(block, x, td.key(1), use_reentrant=reentrant), linear, x)
    for a, b in zip(plain, again, strict=True):
        assert torch.equal(a, b)
