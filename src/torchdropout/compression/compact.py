"""A file of a model's weights in which zeros take little room: safetensors, nothing pickled."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FORMAT = "torchdropout-compact-1"


def save_compact(model: nn.Module, path: str | os.PathLike[str]) -> int:
    """Write a model's weights and buffers, each tensor dense, as a bitmap and values, or as indices and values.

    Whichever takes the fewest bytes; indices are differences of neighbouring ones in 8, 16 or 32 bits, with zeros
    stored in between where one is larger. The file appears whole or not at all.

    Args:
        model: Any model; zeros are looked for in every tensor.
        path: Where to write.

    Returns:
        The size of the file in bytes.

    Raises:
        OSError: The file cannot be written; nothing is left of it.
        ImportError: `safetensors` is not installed.

    Example:
        >>> import tempfile, torch, torchdropout as td
        >>> model = torch.nn.Linear(1000, 10)
        >>> _ = model.weight.data[:, 10:].zero_()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     size = td.save_compact(model, f"{folder}/model.safetensors")
        ...     td.load_compact_(torch.nn.Linear(1000, 10), f"{folder}/model.safetensors")
        Linear(in_features=1000, out_features=10, bias=True)
        >>> size < 4 * 1000 * 10 // 10
        True
    """
    data = packed(model)
    _write(Path(path), data)
    return len(data)


def packed(model: nn.Module) -> bytes:
    """The bytes of a model's file."""
    parts: dict[str, Tensor] = {}
    about: dict[str, Any] = {}
    known: dict[tuple[Any, ...], str] = {}
    for name, tensor in model.state_dict().items():
        view = tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
        place = tensor.untyped_storage().data_ptr(), *view
        if tensor.numel() and place in known:
            about[name] = {"as": known[place]}
            continue
        known[place] = name
        coding, stored = _smallest(tensor.detach().cpu().contiguous())
        about[name] = {"coding": coding, "shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        parts |= {f"{name}/{part}": value for part, value in stored.items()}
    metadata = {"format": FORMAT, "tensors": json.dumps(about)}
    return bytes(_safetensors("save_compact").save(parts, metadata=metadata))


def load_compact_(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Read what `save_compact` wrote into a model of the same shapes.

    Args:
        model: The model, changed in place only if all of the file fits.
        path: The file.

    Returns:
        The model.

    Raises:
        ValueError: The file is truncated, is no such file, or holds another model's weights.
        FileNotFoundError: There is none.
    """
    state = _read(Path(path))
    wanted = model.state_dict()
    if state.keys() != wanted.keys():
        odd = sorted(state.keys() ^ wanted.keys())
        raise ValueError(f"load_compact_: {path} must hold the model's tensors, got others: {', '.join(odd[:6])}.")
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)}, got {tuple(state[name].shape)}"
            raise ValueError(f"load_compact_: {name} of {path} must have shape {shapes}.")
    model.load_state_dict(state)
    return model


def _smallest(tensor: Tensor) -> tuple[str, dict[str, Tensor]]:
    """The way to store a tensor in the fewest bytes."""
    flat = tensor.flatten()
    told = flat != 0
    if tensor.is_floating_point():
        told = told | flat.signbit()  # a zero with a sign is to come back with it
    places = told.nonzero().flatten()
    if tensor.is_complex() or tensor.dim() == 0 or len(places) == len(flat):
        return "dense", {"values": tensor}
    values = flat[places]
    bitmap = torch.from_numpy(np.packbits(told.numpy()))
    gaps = places.diff(prepend=torch.tensor([-1]))
    ways: list[tuple[str, dict[str, Tensor]]] = [
        ("dense", {"values": tensor}),
        ("bitmap", {"values": values, "bitmap": bitmap}),
        *(("index", _gapped(values, gaps, dtype)) for dtype in (torch.uint8, torch.int16, torch.int32)),
    ]
    return min(ways, key=lambda way: sum(part.nbytes for part in way[1].values()))


def _gapped(values: Tensor, gaps: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """Values with their distances; a distance that the type cannot say is several, with zeros between."""
    most = torch.iinfo(dtype).max
    fillers = (gaps - 1).div(most, rounding_mode="floor")
    ends = (fillers + 1).cumsum(0) - 1
    count = int(ends[-1]) + 1 if len(ends) else 0
    steps = torch.full((count,), most, dtype=dtype)
    steps[ends] = (gaps - fillers * most).to(dtype)
    filled = torch.zeros(count, dtype=values.dtype)
    filled[ends] = values
    return {"values": filled, "gaps": steps}


def _write(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """What new files are not permitted; a temporary one is its owner's alone."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _read(path: Path) -> dict[str, Tensor]:
    library = _safetensors("load_compact_")
    data = path.read_bytes()
    try:
        length = int.from_bytes(data[:8], "little")
        about = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        parts = library.load(data)
        if about.get("format") != FORMAT:
            raise ValueError("another format")
        tensors = json.loads(about["tensors"])
        state = {name: _decoded(name, each, parts) for name, each in tensors.items() if "as" not in each}
        return {name: state[each.get("as", name)] for name, each in tensors.items()}
    except Exception as error:  # whatever bytes may hold
        raise ValueError(
            f"load_compact_: {path} must be a whole file of save_compact; found {type(error).__name__}: {error}."
        ) from error


def _decoded(name: str, about: dict[str, Any], parts: dict[str, Tensor]) -> Tensor:
    values, dtype, shape = parts[f"{name}/values"], getattr(torch, about["dtype"]), about["shape"]
    if about["coding"] == "dense":
        return values.to(dtype).reshape(shape)
    flat = torch.zeros(int(np.prod(shape)), dtype=dtype)
    if about["coding"] == "bitmap":
        bits = np.unpackbits(parts[f"{name}/bitmap"].numpy(), count=len(flat))
        flat[torch.from_numpy(bits.astype(bool))] = values
    else:
        flat[parts[f"{name}/gaps"].long().cumsum(0) - 1] = values
    return flat.reshape(shape)


def _safetensors(owner: str) -> Any:
    try:
        import safetensors.torch  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImportError(f"{owner}: it needs safetensors: pip install 'torchdropout[compress]'.") from error
    return safetensors.torch
