"""DropKey: rows that lose every key in each dtype and backend, and agreement with PyTorch's attention."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import torchdropout as td

D = torch.float64
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 1e-6, torch.float64: 1e-12}


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize("dtype", DTYPES)
def test_drop_key_mask_in_pytorchs_attention(dtype, backend):
    """Queries that lose all keys average the values; the others attend to what is left; nothing is NaN."""
    torch.manual_seed(0)
    q, k, v = 6 * torch.randn(2, 2, 64, 8), 6 * torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    q, k, v = (x.to(dtype) for x in (q, k, v))
    mask = td.functional.drop_key((2, 2, 64, 5), 0.6, dtype=dtype, key=td.key(0))
    lost = (mask != 0).all(-1)
    assert 4 < lost.sum() < 50
    with sdpa_kernel(backend):
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert mask.isfinite().all()
    assert out.isfinite().all()
    uniform = v.double().mean(2, keepdim=True).expand(2, 2, 64, 8)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(out[lost].double(), uniform[lost], rtol=0, atol=tolerance)
    scores = (q.double() @ k.double().transpose(-1, -2) / 8**0.5).masked_fill(mask != 0, -math.inf)
    kept = (scores.softmax(-1) @ v.double())[~lost]
    torch.testing.assert_close(out[~lost].double(), kept, rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_drop_key_layer_gives_uniform_weights_whatever_the_scores(dtype):
    scores = (1000 * torch.randn(64, 5)).to(dtype)
    weights = td.DropKey(1.0)(scores).softmax(-1)
    torch.testing.assert_close(weights, torch.full_like(weights, 0.2))
    y = td.DropKey(0.5)(scores, key=td.key(0))
    kept = td.functional.dropout_mask((64, 5), 0.5, key=td.key(0))
    assert torch.equal(y[kept], scores[kept])
    live = kept.any(-1)
    expected = scores.double().masked_fill(~kept, -math.inf).softmax(-1)[live]
    torch.testing.assert_close(y.double().softmax(-1)[live], expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padding", ["-inf", "least"])
def test_padding_stays_padding_where_every_other_key_is_dropped(dtype, padding):
    scores = torch.randn(4, 6).to(dtype)
    scores[:, 4:] = -math.inf if padding == "-inf" else torch.finfo(dtype).min
    weights = td.DropKey(1.0)(scores).softmax(-1)
    assert (weights[:, 4:] == 0).all()
    torch.testing.assert_close(weights[:, :4], torch.full((4, 4), 0.25, dtype=dtype))


def test_drop_key_is_elementwise_and_not_rescaled():
    """20000 masks: 5 standard errors on means and covariances of 2*2*2*3 entries."""
    n, p = 20_000, 0.3
    layer = td.DropKey(p)
    y = layer(torch.zeros(n, 24), key=td.key(1))
    assert set(y.unique().tolist()) == {y.min().item(), 0.0}
    m = (y == 0).double()
    assert ((m.mean(0) - 0.7).abs() < 5 * (0.21 / n) ** 0.5).all()
    assert ((torch.cov(m.T) - 0.21 * torch.eye(24, dtype=D)).abs() < 5 * 0.25 / n**0.5).all()
    shared = td.functional.drop_key((8, 1, 1, 6), 0.5, key=td.key(0))
    assert shared.shape == (8, 1, 1, 6)


def test_identity_at_test_time_and_at_zero():
    x = torch.randn(3, 4)
    assert torch.equal(td.DropKey(0.9).eval()(x), x)
    assert torch.equal(td.DropKey(0.0)(x), x)
    assert (td.functional.drop_key((2, 3), 0.5, training=False) == 0).all()
    assert (td.functional.drop_key((2, 3), 0.0) == 0).all()


def test_gradients():
    x = torch.randn(6, 5, dtype=D, requires_grad=True)
    layer = td.DropKey(0.6)
    torch.autograd.gradcheck(lambda x: layer(x, key=td.key(0)).softmax(-1), x)
    torch.autograd.gradgradcheck(lambda x: layer(x, key=td.key(0)).softmax(-1), x)


def test_nan_is_not_hidden():
    x = torch.full((4, 5), math.nan)
    assert td.DropKey(0.5)(x, key=td.key(0)).isnan().all()


def test_compile_vmap_checkpoint_autocast_and_shapes():
    layer, x = td.DropKey(0.4), torch.randn(2, 2, 3, 4, requires_grad=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, key=td.key(1)), layer(x, key=td.key(1)))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for layer.p in (0.2, 0.4):
            assert torch.equal(compiled(x, key=td.key(1)), layer(x, key=td.key(1)))
    rows = torch.func.vmap(layer, randomness="different")(torch.zeros(20, 5))
    assert len(rows.unique(dim=0)) > 1
    torch.manual_seed(1)
    again = torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False)
    (grad,) = torch.autograd.grad(again.sum(), x)
    torch.manual_seed(1)
    assert torch.equal(grad, torch.autograd.grad(layer(x).sum(), x)[0])
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.float32
    assert layer(torch.ones(0, 3)).shape == (0, 3)
    assert torch.equal(layer(x.mT, key=td.key(1)), layer(x.mT.contiguous(), key=td.key(1)))
    assert pickle.loads(pickle.dumps(layer)).p == 0.4


def test_rates_fall_with_depth():
    assert td.functional.drop_key_rates(0.3, 4) == pytest.approx([0.3, 0.2, 0.1, 0.0])
    assert td.functional.drop_key_rates(0.3, 1) == [0.3]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.DropKey(1.5), ValueError, "DropKey: `p` must be in [0, 1], got 1.5."),
        (
            lambda: td.DropKey(0.5)(torch.ones(2, dtype=torch.int64)),
            TypeError,
            "DropKey: the input must be floating point, got torch.int64.",
        ),
        (lambda: td.functional.drop_key((2,), -1), ValueError, "drop_key: `p` must be in [0, 1], got -1."),
        (
            lambda: td.functional.drop_key((2,), 0.5, dtype=torch.bool),
            TypeError,
            "drop_key: `dtype` must be floating point, got torch.bool.",
        ),
        (
            lambda: td.functional.drop_key_rates(0.5, 0),
            ValueError,
            "drop_key_rates: `depth` must be at least 1, got 0.",
        ),
        (
            lambda: td.DropKeyMultiheadAttention(8, 2, drop_key=2.0),
            ValueError,
            "DropKeyMultiheadAttention: `drop_key` must be in [0, 1], got 2.0.",
        ),
        (
            lambda: td.DropKeyMultiheadAttention(8, 2)(*[torch.ones(3, 2, 8)] * 3, attn_mask=torch.ones(2, 3).bool()),
            ValueError,
            "DropKeyMultiheadAttention: `attn_mask` must have shape (3, 3) or (4, 3, 3), got (2, 3).",
        ),
        (
            lambda: td.DropKeyMultiheadAttention(8, 2)(*[torch.ones(3, 2, 8)] * 3, is_causal=True),
            RuntimeError,
            "Need attn_mask if specifying the is_causal hint.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


# --------------------------------------------------------------------------------------------------------------------
# Multi-head attention.

TINY = 1e-9  # drops no key in these tests, but takes the noisy path
OPTIONS = [
    {},
    {"batch_first": True},
    {"bias": False, "batch_first": True},
    {"add_bias_kv": True, "add_zero_attn": True},
    {"kdim": 6, "vdim": 10},
]


def pair(drop_key=TINY, **options):
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(8, 2, dtype=D, **options)
    ours = td.DropKeyMultiheadAttention(8, 2, dtype=D, drop_key=drop_key, **options)
    ours.load_state_dict(plain.state_dict())
    plain.load_state_dict(ours.state_dict())
    return plain, ours


def inputs(options, batched=True):
    torch.manual_seed(1)
    q, k, v = (
        torch.randn(3, n, f, dtype=D) for n, f in ((4, 8), (5, options.get("kdim", 8)), (5, options.get("vdim", 8)))
    )
    if not batched:
        return q[0], k[0], v[0]
    return (q, k, v) if options.get("batch_first") else tuple(x.transpose(0, 1) for x in (q, k, v))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("options", OPTIONS)
def test_without_dropped_keys_it_is_pytorchs_layer(options, batched, training):
    plain, ours = pair(**options)
    plain.train(training)
    ours.train(training)
    q, k, v = inputs(options, batched)
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[0, 3:] = True
    masks = [None, torch.ones(4, 5).tril().logical_not(), torch.randn(4, 5, dtype=D)]
    if batched:
        masks.append(torch.randn(6, 4, 5, dtype=D))
    for mask in masks:
        for need_weights, average in ((True, True), (True, False), (False, True)):
            pad = padding if batched else padding[0]
            if mask is not None and mask.dtype != torch.bool:
                pad = torch.zeros(pad.shape, dtype=D).masked_fill(pad, -math.inf)
            arguments = {"key_padding_mask": pad, "attn_mask": mask, "need_weights": need_weights}
            got = ours(q, k, v, **arguments, average_attn_weights=average)
            want = plain(q, k, v, **arguments, average_attn_weights=average)
            torch.testing.assert_close(got, want)


@pytest.mark.parametrize("need_weights", [True, False])
def test_each_head_and_query_attends_to_its_own_keys(need_weights):
    """Against attention by hand with the masks of the key; padding stays out."""
    _, ours = pair(0.75, batch_first=True)
    q, k, v = inputs({"batch_first": True})
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 4:] = True
    out, weights = ours(q, k, v, padding, need_weights, average_attn_weights=False, noise_key=td.key(4))
    kept = td.functional.dropout_mask((3, 2, 4, 5), 0.75, key=td.key(4))
    wq, wk, wv = ours.in_proj_weight.chunk(3)
    qh, kh, vh = ((x @ w.T).view(3, -1, 2, 4).transpose(1, 2) for x, w in ((q, wq), (k, wk), (v, wv)))
    scores = qh @ kh.transpose(-1, -2) / 2
    allowed = ~padding[:, None, None, :].expand(3, 2, 4, 5)
    live = (kept & allowed).any(-1, keepdim=True)
    scores = torch.where(live, scores.masked_fill(~(kept & allowed), -math.inf), torch.zeros_like(scores))
    expected = scores.masked_fill(~allowed, -math.inf).softmax(-1)
    assert (~live).any()
    if need_weights:
        torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(out, (expected @ vh).transpose(1, 2).flatten(2) @ ours.out_proj.weight.T)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_query_without_keys_averages_the_values_in_low_precision(dtype, need_weights, autocast):
    layer = td.DropKeyMultiheadAttention(
        8, 2, batch_first=True, drop_key=1.0, dtype=torch.float32 if autocast else dtype
    )
    x = 5 * torch.randn(2, 6, 8)
    with torch.autocast("cpu", dtype, enabled=autocast):
        x = x if autocast else x.to(dtype)
        out, weights = layer(x, x, x, need_weights=need_weights, average_attn_weights=False)
        value = F.linear(x, layer.in_proj_weight[16:], layer.in_proj_bias[16:])
        expected = layer.out_proj(value.float().mean(1, keepdim=True).expand(2, 6, 8).to(dtype))
    torch.testing.assert_close(out, expected, rtol=0, atol=0.1 if dtype == torch.bfloat16 else 0.02)
    if need_weights:
        torch.testing.assert_close(weights.float(), torch.full((2, 2, 6, 6), 1 / 6), rtol=0, atol=1e-3)


def test_gradients_of_attention():
    _, ours = pair(0.5, batch_first=True)
    q, k, v = (x[:1].requires_grad_() for x in inputs({"batch_first": True}))
    for need in (True, False):
        torch.autograd.gradcheck(lambda *a, n=need: ours(*a, need_weights=n, noise_key=td.key(0))[0], (q, k, v))


def test_an_encoder_in_eval_does_not_bypass_live_noise():
    """PyTorch's inference path looks at the encoder layer's flag and would call the fused attention."""
    encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    encoder.self_attn = td.DropKeyMultiheadAttention(8, 2, batch_first=True, drop_key=0.5)
    encoder.eval()
    x = torch.randn(2, 6, 8)
    with torch.no_grad():
        plain = encoder(x)
        assert torch.equal(plain, encoder(x))
        torch.testing.assert_close(plain, encoder(x.clone().requires_grad_()), rtol=1e-4, atol=1e-5)
        encoder.self_attn.train()
        assert not torch.allclose(encoder(x), encoder(x))
        with td.keyed(0):
            first = encoder(x)
        with td.keyed(0):
            assert torch.equal(first, encoder(x))


def test_attention_copies_compiles_and_replays():
    _, ours = pair(0.4, batch_first=True)
    q, k, v = inputs({"batch_first": True})
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert torch.equal(twin(q, k, v, noise_key=td.key(0))[0], ours(q, k, v, noise_key=td.key(0))[0])
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(q, k, v, noise_key=td.key(0)), ours(q, k, v, noise_key=td.key(0)))
    torch.manual_seed(1)
    again = torch.utils.checkpoint.checkpoint(ours, q, k, v, use_reentrant=False)[0]
    (grad,) = torch.autograd.grad(again.sum(), ours.in_proj_weight)
    torch.manual_seed(1)
    assert torch.equal(grad, torch.autograd.grad(ours(q, k, v)[0].sum(), ours.in_proj_weight)[0])
    with torch._dynamo.config.patch(error_on_recompile=True):
        for ours.p in (0.2, 0.3):
            torch.testing.assert_close(compiled(q, k, v, noise_key=td.key(0)), ours(q, k, v, noise_key=td.key(0)))
    rows = torch.func.vmap(lambda x: ours(x, x, x)[0], randomness="different")(q.expand(6, 3, 4, 8))
    assert len(rows.flatten(1).unique(dim=0)) == 6


@pytest.mark.parametrize("options", OPTIONS)
def test_from_attention_keeps_weights_and_options(options):
    plain, _ = pair(**options)
    ours = td.DropKeyMultiheadAttention.from_attention(plain.eval(), drop_key=0.5)
    q, k, v = inputs(options)
    torch.testing.assert_close(ours(q, k, v), plain(q, k, v))
    assert ours.p == 0.5
    assert ours.out_proj.weight is not plain.out_proj.weight


def test_training_follows_pytorchs_layer_without_noise_and_leaves_it_with():
    gaps = []
    for rate in (0.0, TINY, 0.5):
        plain, ours = pair(rate, batch_first=True)
        q, k, v = inputs({"batch_first": True})
        curves = []
        for model in (plain, ours):
            optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
            for _ in range(20):
                optimizer.zero_grad()
                loss = (model(q, k, v, need_weights=False)[0] - q).square().mean()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            curves.append(torch.tensor(losses))
        gaps.append((curves[0] - curves[1]).abs().max())
    assert gaps[0] < 1e-5
    assert gaps[1] < 1e-5
    assert gaps[2] > 1e-3
