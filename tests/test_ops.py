import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

import torchdropout as td
from torchdropout import laws, ops

F = td.functional
ELEMENTWISE = {
    "dropout": lambda x, key=None: F.dropout(x, 0.3, key=key),
    "half": lambda x, key=None: F.dropout(x, 0.5, key=key),
    "paper": lambda x, key=None: F.dropout(x, 0.3, rule="paper", key=key),
    "gaussian": lambda x, key=None: F.gaussian_dropout(x, 0.3, key=key),
    "uniform": lambda x, key=None: ops.multiply(x, laws.Spec("uniform", 0.5, 1.5), key=key),
}
SHARED = {
    "dropout2d": lambda x, key=None: F.dropout2d(x, 0.3, key=key),
    "drop_path": lambda x, key=None: F.drop_path(x, 0.3, key=key),
    "feature_alpha": lambda x, key=None: F.feature_alpha_dropout(x, 0.3, True, key=key),
}
each = pytest.mark.parametrize("function", ELEMENTWISE.values(), ids=ELEMENTWISE.keys())
both = pytest.mark.parametrize(
    "function", [*ELEMENTWISE.values(), *SHARED.values()], ids=[*ELEMENTWISE.keys(), *SHARED.keys()]
)


class Created(TorchDispatchMode):
    """Weak references to every storage that operations make, with its size."""

    def __init__(self):
        super().__init__()
        self.storages = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.storages[storage.data_ptr()] = (StorageWeakRef(storage), storage.nbytes())
        return result

    def alive(self, *besides):
        known = {tensor.untyped_storage().data_ptr() for tensor in besides}
        return sum(size for at, (ref, size) in self.storages.items() if at not in known and not ref.expired())


@each
def test_the_graph_keeps_the_key_and_nothing_else(function):
    """Of all storages made in the forward pass, x's own included, at most 64 bytes outlive it beside the output."""
    packed = []
    with Created() as created, torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
        x = torch.ones(1, requires_grad=True).expand(10_000) * 2.0
        y = function(x)
        assert created.alive(y) >= 40_000  # the measure sees x
        del x
    assert created.alive(y) <= 64
    assert sum(tensor.nbytes for tensor in packed) <= 64
    y.sum().backward()


@pytest.mark.parametrize("function", SHARED.values(), ids=SHARED.keys())
def test_noise_that_is_shared_is_kept_in_its_own_small_shape(function):
    with Created() as created:
        x = torch.ones(1, requires_grad=True).expand(10, 10, 10, 10) * 2.0
        y = function(x)
        del x
    assert created.alive(y) <= 100 * 4 + 64


@both
def test_backward_uses_the_mask_of_forward(function):
    """The function is affine in x: its gradient is the slope between two points."""
    x = torch.full((32, 5, 3, 2), 2.0, dtype=torch.float64, requires_grad=True)
    y = function(x, td.key(5))
    (grad,) = torch.autograd.grad(y.sum(), x)
    slope = function(x.detach() + 1, td.key(5)) - y
    torch.testing.assert_close(grad, slope, rtol=1e-12, atol=1e-12)
    assert len(grad.unique()) > 1


@each
def test_drawn_keys_are_kept_for_backward(function):
    x = torch.ones(5000, requires_grad=True)
    y = function(x)
    torch.rand(7)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


@both
def test_gradcheck(function):
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    keyed = lambda x: function(x, td.key(5))  # noqa: E731
    assert gradcheck(keyed, x, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert gradgradcheck(lambda x: keyed(x) ** 2, x, check_fwd_over_rev=True, check_rev_over_rev=True)


def test_gradcheck_of_batched_keys_and_of_strides():
    keys = td.split(td.key(1), 3)
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: F.dropout(x.t(), 0.3, key=keys), x, check_forward_ad=True)


@both
def test_channels_last_keeps_its_format_and_the_masks(function):
    x = torch.randn(2, 3, 5, 4)
    last = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    y = function(last, td.key(5))
    assert torch.equal(y, function(x, td.key(5)))
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.backward(torch.ones_like(y))
    assert last.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("view", [lambda x: x.t(), lambda x: x[::2, 1:], lambda x: x[:, :1].expand(-1, 9), torch.real])
def test_views_get_the_mask_of_their_copies(view):
    x = view(torch.randn(30, 20))
    assert torch.equal(F.dropout(x, 0.3, key=td.key(2)), F.dropout(x.contiguous(), 0.3, key=td.key(2)))


@pytest.mark.parametrize("view", [lambda x: x, lambda x: x.t(), lambda x: x[::2, 1:]])
def test_in_place_equals_out_of_place(view):
    x = view(torch.randn(30, 20))
    expected = F.dropout(x.clone(), 0.3, key=td.key(2))
    leaf = x.clone().requires_grad_()
    y = leaf * 1
    z = F.dropout(y, 0.3, inplace=True, key=td.key(2))
    assert z is y
    assert torch.equal(z, expected)
    z.sum().backward()
    assert torch.equal(leaf.grad, F.dropout(torch.ones_like(x), 0.3, key=td.key(2)))
    assert F.dropout(x, 0.3, inplace=True, key=td.key(2)) is x
    assert torch.equal(x, expected)


def test_in_place_on_a_leaf_is_refused_as_by_torch():
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad has been used in an in-place operation"):
        F.dropout(torch.ones(3, requires_grad=True), inplace=True)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2)])
def test_zero_dimensional_and_empty_inputs(shape):
    x = torch.ones(shape, requires_grad=True)
    y = F.dropout(x, 0.3, key=td.key(0))
    y.sum().backward()
    assert y.shape == x.grad.shape == shape
    assert torch.equal(x.grad, y.detach())


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout", "drop_path"])
def test_settled_probabilities_have_finite_gradients_and_draw_nothing(kind, p):
    x = torch.randn(4, 3, 2, 2, requires_grad=True)
    before = torch.get_rng_state()
    y = getattr(F, kind)(x, p, True)
    y.sum().backward()
    assert torch.equal(y, x * (1 - p))
    assert torch.equal(x.grad, torch.full_like(x, 1 - p))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("p", [0.25, 0.5, 1.0])
def test_nan_and_infinity_behave_as_in_torch(p):
    """A dropped element is multiplied by zero: NaN stays, infinity becomes NaN, and -1 becomes -0."""
    x = torch.tensor([math.nan, math.inf, -math.inf, -1.0, -0.0]).repeat(100, 1)
    y, peer = F.dropout(x, p), torch.nn.functional.dropout(x, p)
    for column in range(5):
        ours, theirs = (set(map(str, t[:, column].tolist())) for t in (y, peer))
        assert ours == theirs


def test_batch_shape_must_begin_the_shape():
    keys = td.split(td.key(0), 3)
    with pytest.raises(
        ValueError, match=r"batch shape of `key` must begin the shape of the noise, got \(3,\) for \(2,"
    ):
        F.dropout(torch.ones(2, 3), key=keys)
    with pytest.raises(TypeError, match="`key` must be an int64 or uint64 tensor"):
        F.dropout(torch.ones(2, 3), key=7)


def test_a_batch_of_keys_gives_what_each_key_gives():
    keys = td.split(td.key(0), 6).view(2, 3, 2)
    y = F.dropout(torch.ones(2, 3, 50), 0.3, key=keys)
    for i in range(2):
        for j in range(3):
            assert torch.equal(y[i, j], F.dropout(torch.ones(50), 0.3, key=keys[i, j]))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_inputs_are_multiplied_by_real_noise(dtype):
    x = torch.full((200,), 3 - 4j, dtype=dtype)
    y = F.dropout(x, 0.5, key=td.key(1))
    assert torch.equal(y, x * F.dropout(torch.ones(200), 0.5, key=td.key(1)))
    few = x[:4].to(torch.complex128).requires_grad_()
    assert gradcheck(lambda x: F.dropout(x, 0.5, key=td.key(1)), few)


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_vectorised_jacobians(strategy):
    """These batch by PyTorch's older vmap, whose tensors have no memory."""
    x = torch.randn(6)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: F.dropout(x, 0.5, key=td.key(1)), x, vectorize=True, strategy=strategy
    )
    assert torch.equal(jacobian, F.dropout(torch.ones(6), 0.5, key=td.key(1)).diag())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensor_subclasses(dtype):
    class Tagged(torch.Tensor):
        pass

    x = torch.ones(100, dtype=dtype)
    y = F.dropout(x.as_subclass(Tagged), 0.3, key=td.key(1))
    assert torch.equal(y.as_subclass(torch.Tensor), F.dropout(x, 0.3, key=td.key(1)))
    assert type(y) is Tagged
