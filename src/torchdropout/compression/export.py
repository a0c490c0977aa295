"""A model as a file that runs without this package, and is seen to run."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchdropout.compression._plain import is_ours
from torchdropout.compression._run import first_outputs, tensors
from torchdropout.compression.shrink import _copy

_SUFFIXES = (".onnx", ".pt2")


def export(model: nn.Module, path: str | os.PathLike[str], example_inputs: Any, *, tolerance: float = 1e-3) -> Path:
    """Write a model for other programs, and compare what the file computes with what the model computes.

    Args:
        model: The model, exported in eval; it is not changed.
        path: `.onnx`, run by onnxruntime for the comparison, or `.pt2`, of `torch.export`.
        example_inputs: A tensor, or a tuple of tensors, with at least two examples at axis 0, which may have any size
            in the file where the model allows it.
        tolerance: By how much outputs may differ, as a part of the largest.

    Returns:
        The path.

    Raises:
        ValueError: The ending is another, the folder is not there, the model cannot be exported, or the outputs
            disagree; no file is left.
        ImportError: onnx, onnxscript or onnxruntime is not installed.

    Example:
        >>> import tempfile, torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), td.Dropout(0.5))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     td.export(model, f"{folder}/model.pt2", torch.randn(3, 8)).name
        'model.pt2'
    """
    target = Path(path)
    if target.suffix not in _SUFFIXES:
        raise ValueError(f"export: `path` must end in {' or '.join(_SUFFIXES)}, got {target.name}.")
    inputs = tuple(example_inputs) if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
    if not all(isinstance(x, Tensor) and x.dim() > 0 and len(x) > 1 for x in inputs):
        raise ValueError("export: `example_inputs` must be tensors of at least two examples.")
    if not target.parent.is_dir():
        raise ValueError(f"export: `path` must lie in a folder that exists, got {target}.")
    twin = _copy(model).eval()
    for module in twin.modules():
        if is_ours(module) and module.training:
            module.eval()
    expected = first_outputs("export", twin, inputs)
    with torch.no_grad(), tempfile.TemporaryDirectory(dir=target.parent) as folder:
        draft = Path(folder) / target.name
        program = _program(twin, inputs)
        found = _onnx(program, inputs, draft) if target.suffix == ".onnx" else _pt2(program, inputs, draft)
        _check(expected, found, tolerance)
        os.replace(draft, target)
    return target


def _program(model: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """The exported program, with any number of examples if the model allows it."""
    any_size = tuple({0: torch.export.Dim.AUTO} for _ in inputs)
    blank = tuple(torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in inputs)  # a file keeps its examples
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(model, blank, dynamic_shapes=any_size)
    except Exception as error:  # whatever an exporter meets in a model
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"export: `model` must be one that torch.export takes; found: {reason}") from error


def _onnx(program: Any, inputs: tuple[Tensor, ...], draft: Path) -> list[Tensor]:
    try:
        import onnxruntime  # noqa: PLC0415 - an extra
        import onnxscript  # noqa: F401, PLC0415 - PyTorch's exporter needs it
    except ImportError as error:
        raise ImportError("export: it needs onnxscript, onnxruntime: pip install 'torchdropout[compress]'.") from error
    with warnings.catch_warnings(), _quiet("torch.onnx"):
        warnings.simplefilter("ignore")
        torch.onnx.export(program, (), str(draft), dynamo=True, external_data=False, verbose=False)
    session = onnxruntime.InferenceSession(str(draft), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    given = {name: x.detach().cpu().numpy() for name, x in zip(names, inputs, strict=True)}
    return [torch.from_numpy(np.asarray(y)) for y in session.run(None, given)]


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Without the notes of a library, such as that torchvision is missing."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _pt2(program: Any, inputs: tuple[Tensor, ...], draft: Path) -> list[Tensor]:
    torch.export.save(program, draft)
    output = torch.export.load(draft).module()(*inputs)
    return tensors(output)


def _check(expected: list[Tensor], found: list[Tensor], tolerance: float) -> None:
    if [tuple(y.shape) for y in expected] != [tuple(y.shape) for y in found]:
        raise ValueError("export: the file must give outputs of the model's shapes, it does not.")
    for a, b in zip(expected, found, strict=True):
        scale = max(float(a.abs().max()), 1e-12) if a.numel() else 1.0
        worst = float((a.double().cpu() - b.double()).abs().max()) / scale if a.numel() else 0.0
        if not worst <= tolerance:
            raise ValueError(
                f"export: the file must give the model's outputs, they differ by {worst:.3g} of the largest."
            )
