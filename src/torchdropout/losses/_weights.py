"""The weights of a model: what penalties are for, and what learning leaves undecayed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from torchdropout.losses._names import plain_name, unwrapped

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.CrossMapLRN2d)


class Owned(NamedTuple):
    """A parameter, its name, and the module that holds it."""

    name: str
    parameter: nn.Parameter
    owner: nn.Module

    def is_bias(self) -> bool:
        """By its name."""
        return self.leaf.startswith("bias") or self.leaf.endswith("bias")

    def is_of_noise(self) -> bool:
        """Whether it says how noisy its layer is: of a layer with a prior, all but its weights."""
        return callable(getattr(type(self.owner), "kl", None)) and "weight" not in self.leaf

    def is_weight(self) -> bool:
        """Whether it is a matrix or a filter, of no normalisation."""
        if self.parameter.dim() < 2 or is_norm(self.owner):
            return False
        return not (self.is_bias() or self.is_of_noise())

    @property
    def leaf(self) -> str:
        """The last part of its name."""
        return self.name.rsplit(".", 1)[-1]


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises: PyTorch's, and what others call so."""
    return isinstance(module, _NORMS) or type(module).__name__.endswith(("Norm", "Norm1d", "Norm2d", "Norm3d"))


def owned(model: nn.Module) -> Iterator[Owned]:
    """Every parameter once, tied ones under their first name."""
    seen: set[int] = set()
    for prefix, module in unwrapped(model).named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield Owned(plain_name(name), parameter, module)


def by_unit(weight: Tensor, owner: nn.Module) -> Tensor:
    """A view `(units, incoming weights)`: rows of a matrix, filters of a convolution, words of an embedding."""
    if isinstance(owner, _TRANSPOSED):
        groups = weight.view(owner.groups, -1, *weight.shape[1:])
        return groups.transpose(1, 2).flatten(0, 1).flatten(1)
    return weight.flatten(1)
