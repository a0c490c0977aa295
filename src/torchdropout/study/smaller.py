"""The model that a compression left, run by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchdropout.study import refit
from torchdropout.study.datasets.prepare import Preparation
from torchdropout.study.errors import StudyError
from torchdropout.study.fitting import Network

FILE = "model.onnx"


class Session(nn.Module):
    """An ONNX file as a network."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise StudyError("predict: onnxruntime is needed: pip install 'torchdropout[compress]'.") from error
        try:
            self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has many of its own
            reason = " ".join(str(error).split())
            raise StudyError(f"{path}: the file must be a whole ONNX model; found: {reason}") from error

    def forward(self, x: Tensor) -> Tensor:
        """The model's only output."""
        name = self.session.get_inputs()[0].name
        return torch.from_numpy(self.session.run(None, {name: x.numpy()})[0])


def load(folder: Path) -> tuple[Network, dict[str, Any]]:
    """The smaller network of a folder that `compress` wrote, and its description.

    Raises:
        StudyError: A file is missing or broken.
    """
    about = refit.described(folder / refit.MODEL)
    try:
        preparation = Preparation.from_json(about["preparation"])
    except (KeyError, TypeError) as error:
        raise StudyError(
            f"{folder / refit.MODEL}: the file must be as `compress` wrote it, found {error!r}."
        ) from error
    return Network(Session(folder / FILE).eval(), preparation, about["task"]), about
