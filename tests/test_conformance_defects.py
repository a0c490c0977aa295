"""Layers that are wrong in ways that were seen in published code: the suite must reject each, by the right check.

The wrong layers of a method take the place of ours in that method's own declaration.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchdropout as td
from torchdropout.testing import Case, GaussianNoiseClaim, TwoPointClaim, check_layer, run_check
from torchdropout.testing.declared import declared


def scaled(p, shared_dims=()):
    return TwoPointClaim(1 - p, 0.0, 1 / (1 - p), shared_dims)


class Wrong(nn.Module):
    """Dropout that checks nothing: a rate out of range, and NaN at rate 1."""

    def __init__(self, p=0.25):
        super().__init__()
        self.p = p

    def mask(self, x):
        return (torch.rand_like(x) >= self.p).to(x.dtype)

    def forward(self, x):
        return x * self.mask(x) / (1 - self.p) if self.training else x


class NoisyInEval(Wrong):
    def forward(self, x):
        return x * self.mask(x) / (1 - self.p)


class TurnsTrainingOn(Wrong):
    """`if self.train():` calls the method, which is true, and switches the mode."""

    def forward(self, x):
        return x * self.mask(x) / (1 - self.p) if self.train() else x


class Unscaled(Wrong):
    def forward(self, x):
        return x * self.mask(x) if self.training else x


class ScaledTwice(Wrong):
    """In training and at test time."""

    def forward(self, x):
        return x * self.mask(x) / (1 - self.p) if self.training else x * (1 - self.p)


class KeepForDrop(Wrong):
    def forward(self, x):
        return x * (1 - self.mask(x)) / (1 - self.p) if self.training else x


class OneMaskForTheBatch(Wrong):
    def forward(self, x):
        return x * self.mask(x[:1]) / (1 - self.p) if self.training else x


class SameMaskForHalfOfTheBatch(Wrong):
    """Two devices, or two workers, with one state of their generators."""

    def forward(self, x):
        half = self.mask(x[: (len(x) + 1) // 2])
        return x * torch.cat([half, half])[: len(x)] / (1 - self.p) if self.training else x


class WritesToItsInput(Wrong):
    def forward(self, x):
        return x.mul_(self.mask(x)).div_(1 - self.p) if self.training else x


class FixedSeed(Wrong):
    def forward(self, x):
        generator = torch.Generator().manual_seed(0)
        return x * (torch.rand(x.shape, generator=generator) >= self.p) / (1 - self.p) if self.training else x


class KeepsItsMask(Wrong):
    """`eval()` of the layer itself forgets the mask, but a parent calls `train(False)`."""

    kept = None

    def eval(self):
        self.kept = None
        return super().eval()

    def forward(self, x):
        if not self.training:
            return x
        if self.kept is None or self.kept.shape != x.shape:
            self.kept = self.mask(x)
        return x * self.kept / (1 - self.p)


class SelectsInsteadOfMultiplying(Wrong):
    """At rate 1 the gradient of the other branch of `where` is 0 / 0."""

    def forward(self, x):
        return torch.where(torch.rand_like(x) >= self.p, x / (1 - self.p), torch.zeros_like(x)) if self.training else x


class IgnoresRateOne(Wrong):
    def forward(self, x):
        return x * self.mask(x) / (1 - self.p) if self.training and 0 < self.p < 1 else x


class OwnGenerator(Wrong):
    """Checkpointing cannot restore a generator that it does not know."""

    def __init__(self, p=0.25):
        super().__init__(p)
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x):
        return x * (torch.rand(x.shape, generator=self.generator) >= self.p) / (1 - self.p) if self.training else x


class FreshMaskInBackward(Wrong):
    def forward(self, x):
        return _Fresh.apply(x, self.p) if self.training else x


class _Fresh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, p):
        ctx.p = p
        return x * (torch.rand_like(x) >= p) / (1 - p)

    @staticmethod
    def backward(ctx, grad):
        return grad * (torch.rand_like(grad) >= ctx.p) / (1 - ctx.p), None


class Float32Inside(Wrong):
    def forward(self, x):
        return x.float() * self.mask(x) / (1 - self.p) if self.training else x


class StdForVariance(Wrong):
    def forward(self, x):
        return x * (1 + torch.randn_like(x) * self.p / (1 - self.p)) if self.training else x


class MeanZero(Wrong):
    def forward(self, x):
        return x * torch.randn_like(x) * math.sqrt(self.p / (1 - self.p)) if self.training else x


class TupleInTraining(Wrong):
    def forward(self, x):
        return (super().forward(x), x.sum()) if self.training else x


@pytest.mark.parametrize(
    ("layer", "check", "claim"),
    [
        (NoisyInEval, "eval", scaled(0.25)),
        (TurnsTrainingOn, "eval", scaled(0.25)),
        (ScaledTwice, "eval", scaled(0.25)),
        (Unscaled, "statistics", scaled(0.25)),
        (KeepForDrop, "statistics", scaled(0.25)),
        (OneMaskForTheBatch, "sharing", scaled(0.25)),
        (SameMaskForHalfOfTheBatch, "sharing", scaled(0.25)),
        (Wrong, "sharing", scaled(0.25, (0,))),
        (WritesToItsInput, "input_unchanged", None),
        (FixedSeed, "train_is_noisy", None),
        (FixedSeed, "reproducible", None),
        (KeepsItsMask, "train_is_noisy", None),
        (SelectsInsteadOfMultiplying, "odd_inputs", None),
        (SelectsInsteadOfMultiplying, "extremes_of_p", None),
        (IgnoresRateOne, "extremes_of_p", None),
        (Wrong, "extremes_of_p", None),
        (OwnGenerator, "checkpoint", None),
        (OwnGenerator, "reproducible", None),
        (FreshMaskInBackward, "gradient", None),
        (FreshMaskInBackward, "gradcheck", None),
        (Float32Inside, "form", None),
        (TupleInTraining, "form", None),
        (StdForVariance, "statistics", GaussianNoiseClaim(math.sqrt(1 / 3))),
        (MeanZero, "statistics", GaussianNoiseClaim(math.sqrt(1 / 3))),
        (Wrong, "errors", None),
    ],
)
def test_the_suite_finds_the_defect(layer, check, claim):
    status, detail = run_check(check, Case(layer, torch.randn(64, 32), claim))
    assert status == "fail", detail


# --- DropConnect


class MaskOfTheBatch(td.DropConnectLinear):
    """One mask for the whole batch: four equal rows give four equal outputs."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        weight, bias = (t * (torch.rand_like(t) >= self.p) for t in (self.weight, self.bias))
        return self._activation(F.linear(x, weight, bias))


class DropConnectInEval(td.DropConnectLinear):
    """Never looks at the mode."""

    def forward(self, x):
        self.inference = "sample"
        return super().forward(x)


class DropoutOfTheWeight(td.DropConnectLinear):
    """`F.dropout` divides by the keep probability, and the test rule multiplies by it."""

    def forward(self, x):
        y = super().forward(x)
        return y / (1 - self.p) if self.training else y


class BiasIsKept(td.DropConnectLinear):
    def forward(self, x):
        bias, self.bias = self.bias, None
        y = super().forward(x)
        self.bias = bias
        return y if bias is None else y + bias * (1 if self.training else 1 - self.p)


class AverageBeforeActivation(td.DropConnectLinear):
    """Dropout's test rule instead of the moments."""

    def forward(self, x):
        self.inference = "scale"
        return super().forward(x)


class WritesDroppedWeights(td.DropConnectLinear):
    """What is dropped stays dropped: after some forward passes nearly all weights are zero."""

    def forward(self, x):
        if self.training:
            self.weight.data = F.dropout(self.weight.data, self.p)
        return super().forward(x)


class ReadsTheOriginal(td.DropConnectLinear):
    """A closure over the module's weights, which a deep copy shares."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        weight, bias = self.weight, self.bias
        self.read = lambda: (weight, bias)

    def forward(self, x):
        weight, bias = self.read()
        noisy = self.training
        return self._activation(td.functional.dropconnect(x, weight, bias, self.p, noisy))


class FreshConversion(td.DropConnectLinear):
    """The trained weights are lost."""

    @classmethod
    def from_linear(cls, linear, **options):
        torch.manual_seed(1)
        return cls(linear.in_features, linear.out_features, linear.bias is not None, **options)


class ConversionGainsABias(td.DropConnectLinear):
    @classmethod
    def from_linear(cls, linear, **options):
        new = cls(linear.in_features, linear.out_features, **options)
        new.load_state_dict(linear.state_dict(), strict=False)
        return new


class ConversionLosesTheStride(td.DropConnectConv2d):
    @classmethod
    def from_conv(cls, conv, **options):
        new = cls(conv.in_channels, conv.out_channels, 3, padding=1, groups=2, bias=False, **options)
        new.load_state_dict(conv.state_dict())
        return new


class ConversionLosesThePaddingMode(td.DropConnectConv2d):
    @classmethod
    def from_conv(cls, conv, **options):
        new = cls(conv.in_channels, conv.out_channels, 3, stride=2, padding=1, groups=2, bias=False, **options)
        new.load_state_dict(conv.state_dict())
        return new


# --- Mixout


class ForgetsTheCorrection(td.MixoutLinear):
    """No `- p u`: the weights keep their mean only where the target is zero."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        m = (torch.rand_like(self.weight[:1]) >= self.p).to(x.dtype)
        return F.linear(x, (m * self.weight + (1 - m) * self.target) / (1 - self.p), self.bias)


class ForgetsTheScale(td.MixoutLinear):
    """Weights that are the one or the other, with nothing to make up for it."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        m = (torch.rand_like(self.weight[:1]) >= self.p).to(x.dtype)
        return F.linear(x, m * self.weight + (1 - m) * self.target, self.bias)


class MixesEachWeight(td.MixoutLinear):
    """The paper's program before `noise[0].repeat`: each weight by itself."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.per = "weight"


class MixesEachExample(td.MixoutLinear):
    """Dropout of the inputs, times the distance from the target."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        return F.linear(F.dropout(x, self.p), self.weight - self.target) + F.linear(x, self.target, self.bias)


class MixedInEval(td.MixoutLinear):
    def forward(self, x):
        training, self.training = self.training, True
        y = super().forward(x)
        self.training = training
        return y


class WritesTheMixture(td.MixoutLinear):
    """What is taken from the target stays."""

    def forward(self, x):
        if self.training:
            self.weight.data = td.functional.mixout(self.weight.data, self.target, self.p)
        return super().forward(x)


class TargetIsNotSaved(td.MixoutLinear):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.register_buffer("target", self.target, persistent=False)


class TargetOfAFreshLayer(td.MixoutLinear):
    """The conversion takes the weights, and leaves the target a random start."""

    @classmethod
    def from_linear(cls, linear, **options):
        new = cls(linear.in_features, linear.out_features, linear.bias is not None, **(options | {"p": 0.5}))
        new.weight.data, new.bias.data = linear.weight.data.clone(), linear.bias.data.clone()
        return new


# --- Feature maps and sequences


class SeedsAnywhere(td.DropBlock2d):
    """Equation 1 counts the seeds whose block fits, but they fall on the whole map."""

    def forward(self, x):
        if not self.training:
            return x
        size, block = x.shape[-1], self.block_size
        gamma = self.p * size**2 / block**2 / (size - block + 1) ** 2
        seeds = (torch.rand_like(x) < gamma).to(x.dtype)
        grown = F.max_pool2d(seeds, block, stride=1, padding=block // 2)[..., :size, :size]
        mask = 1 - grown
        return x * mask * mask.numel() / mask.sum().clamp(min=1)


class NoEvenBlocks(td.DropBlock2d):
    """The map grows by one where the block is even."""

    def forward(self, x):
        if not self.training:
            return x
        seeds = (torch.rand_like(x) < 0.01).to(x.dtype)
        return x * (1 - F.max_pool2d(seeds, self.block_size, stride=1, padding=self.block_size // 2))


class ChannelsShareBlocks(td.DropBlock2d):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.shared_channels = True


class PlainMaximum(td.MaxPoolDropout2d):
    """Scaled max-pooling at test time, which the paper argues against."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.inference = "scaled"


class UnchangedAverage(td.AvgPoolDropout2d):
    """Nothing changes at test time, although training does not rescale."""

    def forward(self, x):
        return super().forward(x) if self.training or self.rule != "paper" else F.avg_pool2d(x, *self._windows)


class SharesAcrossTheBatch(td.LockedDropout):
    """Batch first, but the mask is shared along the first axis."""

    def forward(self, x):
        return td.functional.locked_dropout(x, self.p, self.training)


class MaskOfEachStep(td.LockedDropout):
    def forward(self, x):
        return td.functional.dropout(x, self.p, self.training)


class PatchInside(td.Cutout):
    """The square never hangs over the border."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **{**options, "inside": True})


class AcceptsRateOne(td.GaussianDropout):
    def _check_p(self, value):
        pass


class AlphaDividesByZero(td.AlphaDropout):
    def forward(self, x):
        a = ((1 - torch.tensor(self.p)) * (1 + self.p * 1.7580993408473766**2)) ** -0.5
        mask = (torch.rand_like(x) >= self.p).to(x.dtype)
        limit = -1.7580993408473766
        return (a * (x * mask + limit * (1 - mask)) - a * self.p * limit).to(x.dtype) if self.training else x


class ReplacesByType(td.WordDropout):
    """Draws for words of the vocabulary, which is embedding dropout's rule."""

    def forward(self, x):
        gone = (torch.rand(100) < self.p)[x]
        return torch.where(gone & ~torch.isin(x, torch.tensor(self.keep)), self.token, x) if self.training else x


class DropsOccurrences(td.EmbeddingDropout):
    """Draws for each occurrence, which is word dropout's rule."""

    def forward(self, x):
        y = self.embedding(x)
        return y * (torch.rand(*x.shape, 1) >= self.p).to(y.dtype) / (1 - self.p) if self.training else y


class DropsInEval(td.DropKey):
    def forward(self, x):
        return td.functional.drop_key(x.shape, self.p, dtype=x.dtype) + x


# --- Learned noise


class AlphaAsDeviation(td.VariationalDropout):
    def forward(self, x):
        alpha = self.alpha.to(x.dtype)
        return x * (1 + alpha * torch.randn_like(x)) if self.training else x


class GateOfMeanZero(td.VariationalDropout):
    def forward(self, x):
        return x * (self.alpha.sqrt().to(x.dtype) * torch.randn_like(x)) if self.training else x


class VariationalTurnsTrainingOn(td.VariationalDropout):
    def forward(self, x):
        return super().forward(x) if self.train() else x


class DividedByTen(td.VariationalDropout):
    def kl(self):
        return super().kl() / self.num_features / 10


class AveragedOverWeights(td.VariationalLinear):
    def kl(self):
        return super().kl() / self.weight.numel()


class HalfANatTooMuch(td.VariationalLinear):
    """-1/2 a weight where posterior and prior agree."""

    def kl(self):
        return super().kl() - 0.5 * self.weight.numel()


class ClampedAtTheWrongEnd(td.VariationalLinear):
    """The cubic is used above alpha = 1, where it means nothing."""

    def kl(self):
        a = self.log_alpha.exp()
        return self.weight.numel() * (
            0.6351814 - 0.5 * self.log_alpha - 1.16145124 * a + 1.50204118 * a * a - 0.58629921 * a**3
        )


class BiasInTheVariance(td.SparseVariationalConv2d):
    """NaN where the bias is negative."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        variance = self._conv_forward(x.square(), self.log_sigma2.exp(), self.bias)
        return self._conv_forward(x, self.weight, self.bias) + variance.sqrt() * torch.randn_like(variance)


class BiasInTheVarianceToo(td.SparseVariationalLinear):
    def forward(self, x):
        if not self.training:
            return super().forward(x)
        variance = F.linear(x.square(), self.log_sigma2.exp(), self.bias)
        return F.linear(x, self.weight, self.bias) + variance.sqrt() * torch.randn_like(variance)


class OneDrawForTheBatch(td.SparseVariationalLinear):
    """Weights are sampled, so that all examples share their noise."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        noise = torch.exp(0.5 * self.log_sigma2) * torch.randn_like(self.weight)
        return F.linear(x, self.weight + noise, self.bias)


class SparseAveraged(td.SparseVariationalLinear):
    def kl(self):
        return super().kl() / self.weight.numel()


class LogNormalAveraged(td.LogNormalDropout):
    def kl(self):
        return super().kl() / self.num_features


class LogNormalTuple(td.LogNormalDropout):
    def forward(self, x):
        y = super().forward(x)
        return (y, self.kl()) if self.training else y


class OneGateForAll(td.LogNormalDropout):
    """An example's gates are the batch's, whatever was asked for."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.per = "batch"


class CannotBeCopied(td.ConcreteDropout):
    """It keeps a tensor with a history."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.probability = torch.sigmoid(self.p_logit)


class ScalesItsInput(td.ConcreteDropout):
    def forward(self, x):
        with torch.no_grad():
            x.mul_(1.0 if not self.training else 0.9)
        return super().forward(x)


class ConcreteInEval(td.ConcreteDropout):
    def forward(self, x):
        self.inference = "sample"
        return super().forward(x)


class BiasIsRegularised(td.ConcreteDropout):
    def kl(self):
        bias = 0.0 if self.layer.bias is None else self.layer.bias.square().sum()
        return super().kl() + 0.5 * self.length_scale**2 * bias / (1 - self.p)


class CountsPositions(td.ConcreteDropout):
    """The number of inputs is read from the input's shape."""

    seen = 1

    def forward(self, x):
        self.seen = x.shape[0]
        return super().forward(x)

    def kl(self):
        return super().kl() * self.seen


class UncorrectedMean(td.ConcreteDropout):
    """The relaxation moves the mean; eval does not know."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **{**options, "temperature": 2 / 3, "inference": "scale"})


DEFECTS = [
    ("dropconnect", MaskOfTheBatch, "sharing"),
    ("dropconnect", DropConnectInEval, "eval"),
    ("dropconnect", DropoutOfTheWeight, "moments"),
    ("dropconnect", BiasIsKept, "sharing"),
    ("dropconnect", AverageBeforeActivation, "test_rule"),
    ("dropconnect", WritesDroppedWeights, "input_unchanged"),
    ("dropconnect", ReadsTheOriginal, "copies"),
    ("dropconnect", FreshConversion, "twin"),
    ("dropconnect", ConversionGainsABias, "twin"),
    ("dropconnect2d", ConversionLosesTheStride, "twin"),
    ("dropconnect2d", ConversionLosesThePaddingMode, "twin"),
    ("drop-block2d", SeedsAnywhere, "statistics"),
    ("drop-block2d", SeedsAnywhere, "moments"),
    ("drop-block2d", NoEvenBlocks, "moments"),
    ("drop-block2d", ChannelsShareBlocks, "sharing"),
    ("max-pool2d", PlainMaximum, "test_rule"),
    ("avg-pool2d", UnchangedAverage, "test_rule"),
    ("locked", SharesAcrossTheBatch, "moments"),
    ("locked", MaskOfEachStep, "sharing"),
    ("cutout", PatchInside, "statistics"),
    ("gaussian", AcceptsRateOne, "errors"),
    ("alpha", AlphaDividesByZero, "extremes_of_p"),
    ("word-dropout", ReplacesByType, "sharing"),
    ("embedding-dropout", DropsOccurrences, "sharing"),
    ("drop-key", DropsInEval, "eval"),
    ("variational-dropout", AlphaAsDeviation, "statistics"),
    ("variational-dropout", GateOfMeanZero, "statistics"),
    ("variational-dropout", VariationalTurnsTrainingOn, "eval"),
    ("variational-dropout", DividedByTen, "divergence"),
    ("variational", AveragedOverWeights, "divergence"),
    ("variational", HalfANatTooMuch, "divergence"),
    ("variational", ClampedAtTheWrongEnd, "divergence"),
    ("sparse-variational2d", BiasInTheVariance, "statistics"),
    ("sparse-variational", BiasInTheVarianceToo, "statistics"),
    ("sparse-variational", OneDrawForTheBatch, "sharing"),
    ("sparse-variational", SparseAveraged, "divergence"),
    ("log-normal", LogNormalAveraged, "divergence"),
    ("log-normal", LogNormalTuple, "form"),
    ("log-normal", OneGateForAll, "moments"),
    ("mixout", ForgetsTheCorrection, "moments"),
    ("mixout", ForgetsTheCorrection, "statistics"),
    ("mixout", ForgetsTheScale, "moments"),
    ("mixout", MixesEachWeight, "sharing"),
    ("mixout", MixesEachExample, "sharing"),
    ("mixout", MixedInEval, "eval"),
    ("mixout", WritesTheMixture, "input_unchanged"),
    ("mixout", TargetIsNotSaved, "copies"),
    ("mixout", TargetOfAFreshLayer, "twin"),
    ("concrete", CannotBeCopied, "copies"),
    ("concrete", ScalesItsInput, "input_unchanged"),
    ("concrete", ConcreteInEval, "eval"),
    ("concrete", BiasIsRegularised, "divergence"),
    ("concrete", CountsPositions, "divergence"),
    ("concrete", UncorrectedMean, "test_rule"),
]


@pytest.mark.parametrize(("row", "layer", "check"), DEFECTS, ids=[f"{d[1].__name__}-{d[2]}" for d in DEFECTS])
def test_the_declaration_of_a_method_rejects_the_defect(monkeypatch, row, layer, check):
    monkeypatch.setattr(td, layer.__base__.__name__, layer)
    status, detail = run_check(check, declared(row))
    print(detail)
    assert status == "fail"


def test_a_subclass_without_a_defect_passes_where_the_wrong_ones_fail(monkeypatch):
    """The replacement itself is not what fails."""

    class Right(td.DropConnectLinear):
        def forward(self, x):
            return super().forward(x)

    monkeypatch.setattr(td, "DropConnectLinear", Right)
    for check in ("sharing", "eval", "moments", "test_rule", "input_unchanged", "twin"):
        status, detail = run_check(check, declared("dropconnect"))
        assert status == "pass", detail


@pytest.mark.parametrize(
    ("factory", "claim", "check"),
    [
        (WritesToItsInput, None, "input_unchanged"),
        (NoisyInEval, None, "eval"),
        (Wrong, None, "errors"),
        (lambda: td.Dropout(0.25, rule="paper"), TwoPointClaim(0.75, 0.0, 4 / 3, eval_scale=0.75), "statistics"),
        (lambda: td.Dropout(0.25), scaled(0.25, (0,)), "sharing"),
    ],
)
def test_check_layer_names_the_check_that_failed(factory, claim, check):
    with pytest.raises(AssertionError, match=rf"^{check}: "):
        check_layer(factory, torch.randn(64, 32), claim=claim, backend=None)


def test_a_layer_that_raises_fails_with_the_error():
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("no luck")

    with pytest.raises(AssertionError, match=r"^input_unchanged: RuntimeError: no luck"):
        check_layer(Broken, torch.randn(4, 2))


def test_the_wrong_layers_are_all_used():
    used = {layer for _, layer, _ in DEFECTS}
    own = [v for v in globals().values() if isinstance(v, type) and v.__module__ == __name__]
    named = {v for v in own if issubclass(v, nn.Module) and not issubclass(v, Wrong)}
    assert named == used
