"""A study's model made smaller: what can go is learned, a threshold chosen on held-out data, the result verified."""

from __future__ import annotations

import copy
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from sklearn.model_selection import train_test_split
from torch import nn

import torchdropout as td
from torchdropout.compression.prune import to_plain_
from torchdropout.study import datasets, protocol, refit, sparsifying
from torchdropout.study.choosing import Wanted, changed, choose
from torchdropout.study.conditions import Placed
from torchdropout.study.config import CompareConfig, from_settings
from torchdropout.study.datasets import Dataset
from torchdropout.study.errors import StudyError
from torchdropout.study.fitting import Job, Network, prepared
from torchdropout.study.metrics import Split
from torchdropout.study.sparsifying import METHODS, Tick, Training
from torchdropout.study.store import FILE, Store
from torchdropout.study.training import Epoch

HELD_OUT = 0.3  # of the training data: half of it chooses the threshold, half judges
REPORT = "report.json"
LEAST = 60  # epochs, unless others are asked for


@dataclass(frozen=True, slots=True)
class Compressed:
    """What a compression did: its folder, and all that the report says."""

    folder: Path
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Parts:
    """A study's model and data."""

    network: Network
    about: dict[str, Any]
    config: CompareConfig
    data: Dataset
    study: dict[str, Any]


def compress(
    folder: Path | str,
    out: Path | str,
    *,
    method: str = "sparse-vd",
    wanted: Wanted | None = None,
    epochs: int | None = None,
    retrain: int = 0,
    tick: Callable[[str, int], None] = lambda what, total: None,
) -> Compressed:
    """Make the model of a comparison smaller, and write it with a report.

    How long to train and the threshold are chosen with a network of the same kind that never saw the held-out data: it
    is trained as in the study on 70 % of the training data, sparsified, and pruned at many thresholds after shares of
    the training, whose accuracies are measured on 15 %. The other 15 % judges what was chosen. Then the study's model
    itself, which has learned from all training data, is sparsified and pruned alike.

    Args:
        folder: What `compare` wrote, of a classification.
        out: The folder to write, which must be new or empty.
        method: `"sparse-vd"` removes weights, `"lognormal"` units and channels.
        wanted: How small, or how good.
        epochs: Passes of each training with learned noise; None for the study's own, at least 60.
        retrain: Passes of a training of what is left.
        tick: Called after each step of work with what is done and how many steps there are in all.

    Raises:
        StudyError: The folder holds no model of a classification, the data changed, the network cannot be made smaller,
            no threshold leaves what is wanted, or the folder cannot be written; nothing is written then.
    """
    parts, target = _load(Path(folder)), _empty(Path(out))
    if method not in METHODS:
        raise StudyError(f"compress: `method` must be {' or '.join(METHODS)}, got {method!r}.")
    count = max(LEAST, parts.config.epochs) if epochs is None else epochs
    if count < 1 or retrain < 0:
        given = f"{count} and {retrain}"
        raise StudyError(f"compress: `epochs` must be at least 1 and `retrain` at least 0, got {given}.")
    how = Training(method, count, parts.config.lr, parts.config.batch_size, 0)
    total = 2 * (count + retrain) + parts.config.epochs + len(sparsifying.SHARES) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _compress(parts, target, how, retrain, wanted or Wanted(), lambda what: tick(what, total))


def _compress(parts: _Parts, target: Path, how: Training, retrain: int, wanted: Wanted, tick: Tick) -> Compressed:
    twin, learn, choosing, judging = _twin(parts, tick)
    copies = sparsifying.sparsify(twin, learn, how, tick)
    points = sparsifying.curve(copies, how.method, choosing, tick)
    dense = sum(t.nbytes for t in twin.state_dict().values())
    before = sparsifying.accuracy(twin, choosing)
    point = choose(points, wanted, dense, before)
    again = Training(how.method, retrain, how.lr / 10, how.batch_size, 1)
    trial, _ = _finished(copies[point.share], how, point.threshold, learn, again, tick)
    judged = changed(sparsifying.hits(twin, judging), sparsifying.hits(trial, judging))

    everything = prepared(parts.network, parts.data.inputs, parts.data.targets)
    plain = _plain(parts.network.model)
    noisy = sparsifying.sparsify(plain, everything, how, tick, (point.share,))[point.share]
    final, small = _finished(noisy, how, point.threshold, everything, again, tick)
    about = {
        "study": {"data": parts.data.name, "model": parts.config.model, "condition": parts.study.get("best")},
        "method": how.method, "epochs": how.epochs, "retrain": retrain, "wanted": asdict(wanted),
        "share": point.share,
        "threshold": point.threshold, "accuracy_on_choosing_part": before, "curve": [asdict(each) for each in points],
        "judged": judged, "sizes": {"learn": len(learn), "choose": len(choosing), "judge": len(judging)},
    }  # fmt: skip
    about |= _measured(parts, plain, final, small, everything)
    _publish(parts, small, final, everything, about, target)
    tick("writing")
    return Compressed(target, about)


def _finished(
    noisy: nn.Module, how: Training, threshold: float, data: Split, again: Training, tick: Tick
) -> tuple[nn.Module, nn.Module]:
    """The network pruned, trained on where that is wanted, and a smaller one."""
    example = data.inputs[:4]
    pruned, small = sparsifying.pruned_at(noisy, how.method, threshold, example)
    if again.epochs:
        sparsifying.retrain(pruned, data, again, tick)
        small = td.shrink(pruned, example)
    return pruned, small


def _twin(parts: _Parts, tick: Tick) -> tuple[nn.Module, Split, Split, Split]:
    """A network trained as in the study on a part, that part, and the two that it never saw."""
    data = parts.data
    rows = protocol.everything(data).train
    learn, rest = train_test_split(rows, test_size=HELD_OUT, random_state=0, stratify=data.targets[rows])
    choosing, judging = train_test_split(rest, test_size=0.5, random_state=0)
    job = Job(parts.config, data, protocol.everything(data), protocol.random_state(0, 0, 0))

    class Told(list[Epoch]):
        def append(self, epoch: Epoch) -> None:
            super().append(epoch)
            tick("training on a part")

    network = job.train(Placed.from_json(parts.about["placed"]), learn, Told())
    splits = (prepared(network, datasets.prepare.rows(data.inputs, each), data.targets[each]) for each in
              (learn, choosing, judging))  # fmt: skip
    return _plain(network.model), *splits  # type: ignore[return-value]


def _plain(model: nn.Module) -> nn.Module:
    """A copy whose noise is what it is in eval."""
    twin = copy.deepcopy(model).eval()
    try:
        to_plain_("compress", twin)
    except ValueError as error:
        raise StudyError(str(error)) from error
    return twin


def _load(folder: Path) -> _Parts:
    network, about = refit.load(folder)
    if network.task != "classification":
        raise StudyError(f"compress: the study must be of a classification, {folder} is of a {network.task}.")
    if not (folder / FILE).exists():
        raise StudyError(f"{folder}: a folder written by `torchdropout compare` must hold {FILE}, found none.")
    with closing(Store.open(folder)) as store:
        study = store.study()
    config = from_settings(about["config"])
    data = datasets.load(
        config.data, target=config.target, text=config.text, task=config.task, data_dir=config.data_dir,
        max_examples=config.max_examples,
    )  # fmt: skip
    if study["data"]["fingerprint"] != data.fingerprint:
        raise StudyError(f"{folder}: the data must be those of the study, found {config.data} changed since.")
    return _Parts(network, about, config, data, study)


def _empty(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StudyError(f"{out}: --out must name a new or an empty folder, found something there.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"{out}: --out must name a folder that can be written, found: {error.strerror}.") from error
    return out


def _measured(parts: _Parts, plain: nn.Module, final: nn.Module, small: nn.Module, everything: Split) -> dict[str, Any]:
    """Costs before and after, what is left of each layer, and the given test split's accuracy."""
    found = td.compression_report(plain, small, everything.inputs[:64], seconds=0.5)
    layers = []
    for name, module in plain.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            now, left = small.get_submodule(name), final.get_submodule(name)
            layers.append({
                "name": name, "kind": type(module).__name__, "units": len(module.weight), "units_left": len(now.weight),  # type: ignore[arg-type]
                "weights": module.weight.numel(), "weights_left": int(left.weight.count_nonzero()),  # type: ignore[operator]
                "weights_stored": now.weight.numel(),  # type: ignore[operator]
            })  # fmt: skip
    about: dict[str, Any] = {"before": asdict(found.before), "after": asdict(found.after), "layers": layers}
    if parts.data.test_targets is not None:
        test = prepared(parts.network, parts.data.test_inputs, parts.data.test_targets)
        about["test"] = changed(sparsifying.hits(plain, test), sparsifying.hits(final, test))
    return about | {"pixels": _pixels(parts.network.preparation.shape, plain, final)}


def _pixels(shape: tuple[int, ...], plain: nn.Module, final: nn.Module) -> list[list[int]] | None:
    """How many weights still read each pixel, where a linear layer reads an image."""
    first = next((n for n, m in plain.named_modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))), "")
    weight = getattr(final.get_submodule(first), "weight", None)
    if len(shape) != 3 or weight is None or weight.dim() != 2 or weight.shape[1] != torch.Size(shape).numel():
        return None
    counts: list[list[int]] = weight.count_nonzero(0).view(shape).sum(0).tolist()
    return counts


def _publish(
    parts: _Parts, small: nn.Module, final: nn.Module, everything: Split, about: dict[str, Any], target: Path
) -> None:
    """Write everything into a folder that then takes its name."""
    from torchdropout.study.reporting import compressed  # noqa: PLC0415 - Plotly, which training need not wait for

    try:
        draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise StudyError(f"{target}: --out must name a folder that can be written: {error.strerror}.") from error
    try:
        example = everything.inputs[:64]
        about["files"] = {"weights.safetensors": td.save_compact(small, draft / "weights.safetensors")}
        for name in ("model.pt2", "model.onnx"):
            about["files"][name] = td.export(small, draft / name, example).stat().st_size
        about["bytes"] = {"before": about["before"]["bytes"], "after": about["files"]["weights.safetensors"]}
        kept = ("format", "config", "placed", "task", "classes", "preparation")
        _write(draft / refit.MODEL, {name: parts.about[name] for name in kept})
        _write(draft / REPORT, about)
        (draft / "report.html").write_text(compressed.render(about), encoding="utf-8")
        draft.chmod(0o755)
        os.replace(draft, target)
    except OSError as error:
        raise StudyError(f"{target}: the folder must be writable, found: {error.strerror or error}.") from error
    except (ValueError, ImportError) as error:
        raise StudyError(f"compress: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
