"""Cutout: a square of the image is set to zero, the same for all channels."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from torchdropout import ops, rng
from torchdropout.layers._checks import check_choice, check_floating, check_number, check_rank
from torchdropout.layers._noise import bernoulli, uniform
from torchdropout.layers._patches import outside

Shape = Literal["square", "rectangle", "disc"]
Per = Literal["image", "map"]


class Patches(NamedTuple):
    """The arguments of Cutout."""

    size: float
    holes: int
    probability: float
    inside: bool
    value: float
    shape: Shape
    per: Per
    aspect: tuple[float, float]


def cutout(
    input: Tensor,  # noqa: A002
    size: float,
    training: bool = True,
    *,
    holes: int = 1,
    probability: float = 1.0,
    inside: bool = False,
    value: float = 0.0,
    shape: Shape = "square",
    per: Per = "image",
    aspect: tuple[float, float] = (1 / 3, 3.0),
    key: Tensor | None = None,
) -> Tensor:
    """Set a square of each image to zero; see `torchdropout.Cutout`.

    Args:
        input: `(N, C, H, W)` or `(C, H, W)`, floating point.
        size: The side in pixels, or as a fraction of the shorter side if it is a float.
        training: Whether to apply noise.
        holes: How many patches.
        probability: The probability of cutting at all.
        inside: Whether patches lie within the image.
        value: What the patch is filled with.
        shape: `"square"`, `"rectangle"` or `"disc"`.
        per: What has patches of its own: an `"image"` or a `"map"`.
        aspect: The range of a rectangle's height over its width.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: An argument is out of its range, `size` exceeds the image, or `input` has another rank.
        TypeError: `input` is not floating point, or an argument has the wrong type.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.cutout(torch.ones(1, 3, 5), 2, key=td.key(0))
        tensor([[[1., 1., 1., 1., 1.],
                 [0., 0., 1., 1., 1.],
                 [0., 0., 1., 1., 1.]]])
    """
    patches = Patches(size, holes, probability, inside, value, shape, per, aspect)
    _check("cutout", patches)
    return apply("cutout", input, patches, training, key)


def _check(owner: str, patches: Patches) -> None:
    size, low, high = patches.size, *patches.aspect
    if isinstance(size, float):
        check_number(owner, "size", size, "a fraction in (0, 1] or a number of pixels", lambda v: 0 < v <= 1)
    else:
        check_number(owner, "size", size, "at least 2 pixels", lambda v: v >= 2)
    check_number(owner, "holes", patches.holes, "an integer of at least 1", lambda v: v == int(v) >= 1)
    check_number(owner, "probability", patches.probability, "in [0, 1]", lambda v: 0 <= v <= 1)
    check_number(owner, "value", patches.value, "finite", math.isfinite)
    check_choice(owner, "shape", patches.shape, ("square", "rectangle", "disc"))
    check_choice(owner, "per", patches.per, ("image", "map"))
    if not 0 < low <= high < math.inf:
        raise ValueError(f"{owner}: `aspect` must be a range of positive numbers, got {patches.aspect}.")


def apply(owner: str, x: Tensor, patches: Patches, noisy: bool, key: Tensor | None) -> Tensor:
    """The method, its arguments checked."""
    check_floating(owner, x)
    check_rank(owner, x, (3, 4), "(N, C, H, W) or (C, H, W)")
    half = _half_side(owner, patches, x.shape[-2], x.shape[-1])
    if not noisy or patches.probability == 0:
        return x
    if (
        _plain_squares(x, patches)
        and (cut := ops.cut_squares(x, half, patches.holes, patches.inside, key=key)) is not None
    ):
        return cut
    kept = _kept(x, patches, half, key)
    y = x * kept.to(x.dtype)
    return y if patches.value == 0 else y + (patches.value * (1.0 - kept)).to(x.dtype)


def _plain_squares(x: Tensor, patches: Patches) -> bool:
    simple = patches.shape == "square" and patches.per == "image" and patches.value == 0 and patches.probability == 1
    return simple and x.dim() == 4 and x.is_contiguous()


def _half_side(owner: str, patches: Patches, height: int, width: int) -> int:
    """`floor(L / 2)`, as the authors compute it: an odd side loses a pixel."""
    shorter = min(height, width)
    side = int(patches.size * shorter) if isinstance(patches.size, float) else patches.size
    if not 2 <= side <= shorter:
        rule = "at least 2 pixels and at most the image's shorter side"
        raise ValueError(f"{owner}: `size` must be {rule}, got {patches.size} for {height} x {width}.")
    return side // 2


def _kept(x: Tensor, patches: Patches, half: int, key: Tensor | None) -> Tensor:
    """1 outside the patches and 0 within: `(N, 1, H, W)`, or with as many maps as `x` has."""
    height, width = x.shape[-2:]
    lead = (*x.shape[:-3], x.shape[-3] if patches.per == "map" else 1)
    tall, wide = _reaches((*lead, patches.holes, 1), patches, half, key, x)
    u = uniform((*lead, patches.holes, 2), key, x)
    down = _centres(u[..., :1], tall, height, patches.inside)
    right = _centres(u[..., 1:], wide, width, patches.inside)
    if patches.shape == "disc":
        kept = _outside_disc(down, right, half, height, width)
    else:
        kept = torch.maximum(outside(down, tall, height).unsqueeze(-1), outside(right, wide, width).unsqueeze(-2))
    kept = kept.squeeze(-3) if patches.holes == 1 else kept.amin(-3)
    if patches.probability < 1:
        kept = torch.maximum(kept, bernoulli((*lead, 1, 1), patches.probability, _derived(key, 1), x))
    return kept


def _derived(key: Tensor | None, number: int) -> Tensor | None:
    return None if key is None else rng.fold_in(key, number)


def _reaches(
    shape: tuple[int, ...], patches: Patches, half: int, key: Tensor | None, x: Tensor
) -> tuple[Tensor | int, Tensor | int]:
    """Half of a patch's height and width: the same number of pixels for all but rectangles."""
    if patches.shape != "rectangle":
        return half, half
    low, high = map(math.log, patches.aspect)
    stretch = torch.exp((low + (high - low) * uniform(shape, _derived(key, 0), x)) / 2.0)
    tall, wide = torch.round(half * stretch).clamp(min=1.0), torch.round(half / stretch).clamp(min=1.0)
    height, width = x.shape[-2:]
    return (tall.clamp(max=height // 2), wide.clamp(max=width // 2)) if patches.inside else (tall, wide)


def _centres(u: Tensor, reach: Tensor | int, size: int, inside: bool) -> Tensor:
    """Every pixel is equally likely; with `inside`, every position at which the patch fits."""
    return reach + torch.floor(u * (size - 2 * reach + 1)) if inside else torch.floor(u * size)


def _outside_disc(y: Tensor, x: Tensor, radius: int, height: int, width: int) -> Tensor:
    down = torch.arange(height, dtype=y.dtype, device=y.device) + 0.5 - y
    right = torch.arange(width, dtype=x.dtype, device=x.device) + 0.5 - x
    return ((down * down).unsqueeze(-1) + (right * right).unsqueeze(-2) > radius * radius).to(y.dtype)


class Cutout(nn.Module):
    """Sets a square of each image to zero, the same for all its channels; nothing is rescaled.

    `y[n, c, i, j] = x[n, c, i, j] * m[n, i, j]`, where `m = 0` for `i` in `[a - h, a + h)` and `j` in
    `[b - h, b + h)`, `h = floor(size / 2)`. The centre `(a, b)` is uniform over all pixels, so the square may hang
    over the border and then covers less.

    Noise | Shared | Target | At test time: a zero square at a random place | channels | input images | identity

    Args:
        size: The side: an integer of pixels, of which an odd one loses a pixel, or a float in (0, 1], the fraction
            of the shorter side. The paper takes 16 of 32 pixels for CIFAR-10, 8 for CIFAR-100, 20 for SVHN.
        holes: How many patches an image has; they may overlap.
        probability: The probability that an image is cut at all. With `inside=True`, 0.5 is the paper's variant.
        inside: Whether patches lie within the image, their positions equally likely.
        value: What a patch is filled with; 0 is the mean of normalised images.
        shape: `"square"`. Not in the paper: `"rectangle"`, the square's area with a random aspect, sides rounded to
            even numbers; `"disc"`, of diameter `2 * floor(size / 2)`.
        per: `"image"`. Not in the paper: `"map"`, every channel has patches of its own.
        aspect: The range of a rectangle's height over its width, whose logarithm is uniform.

    Shape:
        `(N, C, H, W)` or `(C, H, W)`; the output has the input's.

    Raises:
        ValueError: An argument is out of its range, `size` exceeds the image, or the input has another rank.
        TypeError: An argument has the wrong type, or the input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.Cutout(2)(torch.ones(1, 3, 5), key=td.key(3))
        tensor([[[1., 1., 1., 0., 0.],
                 [1., 1., 1., 1., 1.],
                 [1., 1., 1., 1., 1.]]])

    Reference:
        T. DeVries, G. W. Taylor. Improved Regularization of Convolutional Neural Networks with Cutout. 2017,
        arXiv:1708.04552, section 3.

    Deviation: a square larger than the image is an error, not a blank image. A random aspect, discs and patches of
    single feature maps, which surveys describe under this name, are not Cutout.
    """

    def __init__(
        self,
        size: float,
        *,
        holes: int = 1,
        probability: float = 1.0,
        inside: bool = False,
        value: float = 0.0,
        shape: Shape = "square",
        per: Per = "image",
        aspect: tuple[float, float] = (1 / 3, 3.0),
    ) -> None:
        super().__init__()
        self._patches = Patches(size, holes, probability, inside, value, shape, per, aspect)
        _check(type(self).__name__, self._patches)

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Cuts in training, the identity in eval."""
        return apply(type(self).__name__, input, self._patches, self.training, key)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return ", ".join(f"{name}={value!r}" for name, value in self._patches._asdict().items())


class CutoutTransform(Cutout):
    """`torchdropout.Cutout` as a transform of a data pipeline: it cuts in training and in eval mode alike.

    It takes one image or a batch, whatever follows the image in a sample is handed on, and a subclass of a tensor
    (an image of `torchvision.tv_tensors`) stays one. It belongs after normalisation, where 0 is the mean.

    Noise | Shared | Target | At test time: a zero square at a random place | channels | input images | the same

    Args:
        size: The side, and all other arguments: see `torchdropout.Cutout`.

    Shape:
        `(N, C, H, W)` or `(C, H, W)`; the output has the input's.

    Raises:
        ValueError: As `torchdropout.Cutout`.
        TypeError: The first input is no floating-point tensor.

    Example:
        >>> import torch, torchdropout as td
        >>> image, label = td.CutoutTransform(16)(torch.ones(3, 32, 32), 7, key=td.key(0))
        >>> int(image.sum()), label
        (2496, 7)

    Reference:
        T. DeVries, G. W. Taylor. Improved Regularization of Convolutional Neural Networks with Cutout. 2017,
        arXiv:1708.04552, section 3.

    Deviation: none by default.
    """

    def forward(self, input: Any, *others: Any, key: Tensor | None = None) -> Any:  # noqa: A002
        """The image with its patches, and what was given with it."""
        if not isinstance(input, Tensor):
            raise TypeError(f"CutoutTransform: the image must be a floating-point tensor, got {type(input).__name__}.")
        kind = type(input)
        plain = kind in (Tensor, nn.Parameter)
        image = input if plain else input.as_subclass(Tensor)
        cut = apply("CutoutTransform", image, self._patches, True, key)
        cut = cut if plain else cut.as_subclass(kind)
        return (cut, *others) if others else cut
