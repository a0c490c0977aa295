"""Many derived keys at once."""

from __future__ import annotations

import functools

from torch import Tensor

from torchdropout import rng
from torchdropout.ops.devices import compiles


def fold_in_all(keys: Tensor, numbers: Tensor) -> Tensor:
    """`fold_in(keys[a], numbers[b])` for all pairs: `(A, B, 2)`, on the CPU.

    Args:
        keys: `(A, 2)`, on the CPU.
        numbers: `(B,)`, int64, not negative.
    """
    if not _kernel_compiles():
        return rng._derive(keys.unsqueeze(1), numbers)
    from torchdropout.kernels import cpu_keys  # noqa: PLC0415 - kernels load when first needed

    return cpu_keys.run(keys.contiguous(), numbers.contiguous())


@functools.cache
def _kernel_compiles() -> bool:
    def build() -> None:
        from torchdropout.kernels import cpu_keys  # noqa: PLC0415 - loads Numba

        cpu_keys.compiled()

    return compiles(build)
