"""Cutout: where the square is, how much it covers over all centres, the variants, the transform."""

import itertools

import pytest
import torch

import torchdropout as td


def covered(size, side):
    """How many pixels each centre covers, by the authors' clipping."""
    half = side // 2
    return [min(c + half, size) - max(c - half, 0) for c in range(size)]


def expected_fraction(height, width, side):
    pairs = itertools.product(covered(height, side), covered(width, side))
    return sum(a * b for a, b in pairs) / (height * width) ** 2


def clipped_squares(height, width, side):
    """Every square of the paper, as a mask of what is cut."""
    half = side // 2
    for y, x in itertools.product(range(height), range(width)):
        cut = torch.zeros(height, width, dtype=torch.bool)
        cut[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = True
        yield cut


@pytest.mark.parametrize(("side", "fraction"), [(16, 0.1914), (8, 0.0549), (20, 0.2781)])
def test_cutout_section3_covers_the_expected_fraction(side, fraction):
    """The mean of n independent fractions within 6 standard errors: missed with probability 2e-9."""
    exact = expected_fraction(32, 32, side)
    assert exact == pytest.approx(fraction, abs=5e-5)
    y = td.Cutout(side)(torch.ones(20_000, 1, 32, 32), key=td.key(0))
    cut = 1 - y.mean((1, 2, 3))
    assert abs(cut.mean().item() - exact) < 6 * cut.std().item() / 20_000**0.5
    assert cut.min().item() == pytest.approx((side // 2 / 32) ** 2)
    assert cut.max().item() == pytest.approx((side / 32) ** 2)


@pytest.mark.parametrize(("side", "even", "height", "width"), [(2, 2, 3, 5), (3, 2, 3, 5), (4, 4, 4, 5)])
def test_every_clipped_square_and_no_other_is_cut_equally_often(side, even, height, width):
    """Counts are binomial: 6 standard deviations over 20 cells miss with probability below 1e-7."""
    squares, count = torch.stack(list(clipped_squares(height, width, even))), 30_000
    y = td.Cutout(side)(torch.ones(count, 1, height, width), key=td.key(1)) == 0
    seen, counts = y.flatten(1).unique(dim=0, return_counts=True)
    expected, multiplicity = squares.flatten(1).unique(dim=0, return_counts=True)
    assert torch.equal(seen, expected)
    probability = multiplicity / len(squares)
    spread = (count * probability * (1 - probability)).sqrt()
    assert ((counts - count * probability).abs() < 6 * spread).all()


def test_one_patch_for_all_channels_and_another_for_every_image():
    y = td.Cutout(4)(torch.ones(500, 3, 8, 8), key=td.key(0))
    assert torch.equal(y[:, 0], y[:, 1])
    assert torch.equal(y[:, 0], y[:, 2])
    assert len(y[:, 0].flatten(1).unique(dim=0)) > 40  # of 49 that can be told apart


def test_per_map_patches_are_independent():
    y = td.Cutout(4, per="map")(torch.ones(4000, 2, 8, 8), key=td.key(0)).mean((2, 3))
    assert abs(y.T.corrcoef()[0, 1].item()) < 6 / 4000**0.5
    assert y.std() > 0


def test_corners_are_cut_less_often_than_the_middle():
    """The probability of each pixel against enumeration, 6 standard errors."""
    exact = torch.stack(list(clipped_squares(8, 8, 4))).double().mean(0)
    cut = (td.Cutout(4)(torch.ones(20_000, 1, 8, 8), key=td.key(2)) == 0).double().mean((0, 1))
    assert exact[0, 0] == 9 / 64
    assert exact[4, 4] == 16 / 64
    assert ((cut - exact).abs() < 6 * (exact * (1 - exact) / 20_000).sqrt()).all()


def test_inside_is_the_papers_variant_with_probability_one_half():
    y = td.Cutout(4, inside=True, probability=0.5)(torch.ones(8000, 1, 8, 6), key=td.key(0))
    areas = (y == 0).sum((1, 2, 3))
    assert set(areas.tolist()) == {0, 16}
    assert abs((areas == 16).double().mean().item() - 0.5) < 6 * 0.5 / 8000**0.5
    places = (y[areas == 16] == 0).flatten(1).unique(dim=0, return_counts=True)[1]
    assert len(places) == 5 * 3
    n = places.sum().item()
    assert ((places - n / 15).abs() < 6 * (n / 15) ** 0.5).all()


def test_holes_are_the_union_of_patches():
    """Two independent patches leave a pixel with the square of the probability of one; 6 standard errors."""
    single = 1 - torch.stack(list(clipped_squares(8, 8, 4))).double().mean(0)
    kept = (td.Cutout(4, holes=2)(torch.ones(20_000, 1, 8, 8), key=td.key(0)) != 0).double().mean((0, 1))
    exact = single**2
    assert ((kept - exact).abs() < 6 * (exact * (1 - exact) / 20_000).sqrt()).all()


def test_discs():
    y = td.Cutout(8, shape="disc", inside=True)(torch.ones(50, 1, 16, 12), key=td.key(0))
    offsets = torch.arange(8) - 3.5
    disc = (offsets[:, None] ** 2 + offsets**2 <= 16).int()
    for cut in (y[:, 0] == 0).int():
        rows, columns = cut.any(1).nonzero(), cut.any(0).nonzero()
        assert torch.equal(cut[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], disc)


def test_rectangles_keep_the_area_and_vary_the_aspect():
    y = td.Cutout(16, shape="rectangle", inside=True)(torch.ones(2000, 1, 64, 64), key=td.key(0))[:, 0] == 0
    tall, wide = y.any(2).sum(1), y.any(1).sum(1)
    assert torch.equal(tall * wide, y.sum((1, 2)))  # rectangles they are
    assert tall.min() == wide.min() == 10  # 16 / sqrt(3) = 9.2, to even numbers
    assert tall.max() == wide.max() == 28
    assert ((tall * wide / 256 - 1).abs() < 0.2).all()
    log_aspect = (tall / wide).log()
    assert abs(log_aspect.mean().item()) < 6 * log_aspect.std().item() / 2000**0.5


def test_eval_and_probability_zero_are_the_identity():
    x = torch.randn(2, 3, 8, 8)
    assert td.Cutout(4).eval()(x) is x
    assert td.Cutout(4, probability=0.0)(x) is x
    assert td.functional.cutout(x, 4, training=False) is x


def test_nothing_is_rescaled_and_the_gradient_is_the_mask():
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    y = td.Cutout(4)(x, key=td.key(0))
    y.sum().backward()
    mask = (y != 0).double()
    assert 0 < mask.mean() < 1
    assert torch.equal(x.grad, mask)
    assert torch.equal(y, x * mask)


def test_value_fills_the_patch():
    x = torch.randn(4, 3, 8, 8)
    y, zero = (td.Cutout(4, value=v)(x, key=td.key(0)) for v in (7.0, 0.0))
    assert torch.equal(y, torch.where(zero == 0, 7.0, x))


def test_a_fraction_is_of_the_shorter_side():
    x = torch.ones(3, 1, 8, 20)
    assert torch.equal(td.Cutout(0.5)(x, key=td.key(0)), td.Cutout(4)(x, key=td.key(0)))
    assert (td.Cutout(1.0, inside=True)(x)[:, 0] == 0).sum((1, 2)).tolist() == [64, 64, 64]


class Image(torch.Tensor):
    """Like the tensor subclasses of torchvision: results of operations are plain tensors."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


def test_the_transform_cuts_in_eval_mode_and_keeps_the_subclass():
    transform = td.CutoutTransform(4).eval()
    image = torch.randn(3, 8, 8).as_subclass(Image)
    cut = transform(image, key=td.key(0))
    assert type(cut) is Image
    assert type(transform(torch.randn(3, 8, 8))) is torch.Tensor
    assert torch.equal(cut.as_subclass(torch.Tensor), td.Cutout(4)(image.as_subclass(torch.Tensor), key=td.key(0)))
    assert (cut == 0).sum() >= 3 * 4


def test_the_transform_hands_on_what_comes_with_the_image():
    """As transforms that are composed do: each is called with all that the last returned."""
    sample = (torch.ones(5, 3, 8, 8), torch.arange(5))
    for transform in (td.CutoutTransform(4), td.CutoutTransform(2)):
        sample = transform(*sample)
    assert torch.equal(sample[1], torch.arange(5))
    with pytest.raises(TypeError, match=r"^CutoutTransform: the image must be a floating-point tensor, got str\.$"):
        td.CutoutTransform(4)("image")


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (ValueError, lambda: td.Cutout(1), "Cutout: `size` must be at least 2 pixels, got 1."),
        (
            ValueError,
            lambda: td.Cutout(1.5),
            "Cutout: `size` must be a fraction in (0, 1] or a number of pixels, got 1.5.",
        ),
        (TypeError, lambda: td.Cutout("big"), "Cutout: `size` must be a number, got 'big'."),
        (ValueError, lambda: td.Cutout(4, holes=0), "Cutout: `holes` must be an integer of at least 1, got 0."),
        (ValueError, lambda: td.Cutout(4, probability=2.0), "Cutout: `probability` must be in [0, 1], got 2.0."),
        (ValueError, lambda: td.Cutout(4, value=float("nan")), "Cutout: `value` must be finite, got nan."),
        (
            ValueError,
            lambda: td.Cutout(4, shape="star"),
            "Cutout: `shape` must be one of 'square', 'rectangle', 'disc', got 'star'.",
        ),
        (ValueError, lambda: td.Cutout(4, per="batch"), "Cutout: `per` must be one of 'image', 'map', got 'batch'."),
        (
            ValueError,
            lambda: td.Cutout(4, aspect=(2.0, 1.0)),
            "Cutout: `aspect` must be a range of positive numbers, got (2.0, 1.0).",
        ),
        (
            ValueError,
            lambda: td.Cutout(9)(torch.ones(1, 8, 20)),
            "Cutout: `size` must be at least 2 pixels and at most the image's shorter side, got 9 for 8 x 20.",
        ),
        (
            ValueError,
            lambda: td.functional.cutout(torch.ones(8, 8), 4),
            "cutout: the input must have shape (N, C, H, W) or (C, H, W), got (8, 8).",
        ),
        (
            TypeError,
            lambda: td.CutoutTransform(4)(torch.ones(3, 8, 8, dtype=torch.uint8)),
            "CutoutTransform: the input must be floating point, got torch.uint8.",
        ),
    ],
)
def test_errors(kind, call, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
