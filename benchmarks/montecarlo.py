"""What fifty Monte-Carlo samples cost: `mc_predict` against fifty passes, and against the same work without noise.

python benchmarks/montecarlo.py [--threads N] [--seconds S] [--samples 50]

*Passes* is what users write: the model with its dropout modules in train mode, in a loop, without gradients, and the
mean of the probabilities. *Limit* is the least that must be computed: what stands before the first noise once, the rest
for all samples as one batch, and no noise at all. The first call of `mc_predict` also makes its trial passes; it is
shown apart, and not part of the other figures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from _timing import machine, medians, table
from torch import Tensor, nn

import torchdropout as td


class Case(NamedTuple):
    """A model, its input, how many of its first layers noise does not reach, and what is aimed at."""

    name: str
    model: nn.Module
    x: Any
    before: int = 0
    select: str | None = None
    at_least: float | None = None


def cnn(dropout: type[nn.Module]) -> nn.Sequential:
    """Noise before the last layer only."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 196, 128), nn.ReLU(), dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip


def mlp(dropout: type[nn.Module], inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Noise everywhere, on the input too."""
    return nn.Sequential(
        dropout(0.2), nn.Linear(inputs, width), nn.ReLU(), dropout(0.5), nn.Linear(width, width), nn.ReLU(),
        dropout(0.5), nn.Linear(width, outputs),
    )  # fmt: skip


def bert(width: int) -> nn.Module:
    """Two layers of two heads; noise of `transformers`, in attention by PyTorch's function."""
    import transformers  # noqa: PLC0415 - heavy

    config = transformers.BertConfig(
        vocab_size=1000, max_position_embeddings=64, num_labels=3, hidden_size=width, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=4 * width,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


def tokens(batch: int, length: int) -> dict[str, Tensor]:
    """Numbers of words."""
    return {"input_ids": torch.randint(0, 1000, (batch, length))}


def cases() -> list[Case]:
    """The rows of the table."""
    found = []
    for name, dropout in (("nn.Dropout", nn.Dropout), ("td.Dropout", td.Dropout)):
        for batch in (1, 64):
            x = torch.randn(batch, 1, 28, 28)
            found.append(Case(f"CNN, head, {name}, batch {batch}", cnn(dropout), x, 8, None, 25))
        for batch in (1, 4, 16):
            x = torch.randn(batch, 13)
            found.append(Case(f"MLP 13-50-50-1, {name}, batch {batch}", mlp(dropout, 13, 50, 2), x, 0, None, 4))
        x = torch.randn(16, 784)
        found.append(Case(f"MLP 784-512-512-10, {name}, batch 16", mlp(dropout, 784, 512, 10), x, 0, None, 4))
    for width, batch, length in ((32, 1, 12), (32, 4, 12), (64, 1, 16), (128, 1, 16), (128, 8, 32)):
        name = f"BERT, width {width}, {batch} x {length} tokens"
        found.append(Case(name, bert(width), tokens(batch, length), 0, "logits", 5))
    return found


def logits(model: nn.Module, x: Any) -> Tensor:
    """The output of a plain pass."""
    return model(**x).logits if isinstance(x, dict) else model(x)


def passes(case: Case, samples: int) -> Callable[[], Tensor]:
    """A loop over passes, with dropout live and nothing else."""
    drops = [m for m in case.model.modules() if isinstance(m, (nn.Dropout, td.Dropout))]
    attention = [m for m in case.model.modules() if hasattr(m, "dropout") and type(m).__name__.endswith("Attention")]

    @torch.no_grad()
    def run() -> Tensor:
        case.model.eval()
        for module in [*drops, *attention]:
            module.training = True
        found = torch.stack([logits(case.model, case.x) for _ in range(samples)]).softmax(-1).mean(0)
        case.model.eval()
        return found

    return run


def limit(case: Case, samples: int) -> Callable[[], Tensor]:
    """The same work on as many rows, without noise."""
    model = case.model.eval()

    @torch.no_grad()
    def run() -> Tensor:
        if isinstance(case.x, dict):
            return logits(model, {name: value.repeat(samples, 1) for name, value in case.x.items()})
        x = model[: case.before](case.x) if case.before else case.x
        return model[case.before :](x.repeat(samples, *[1] * (x.dim() - 1)))

    return run


def row(case: Case, samples: int, seconds: float) -> list[str]:
    """One line of the table."""
    torch.manual_seed(0)

    def ours() -> object:
        return td.mc_predict(case.model, case.x, samples, key=0, select=case.select)

    start = time.perf_counter()
    ours()
    first = time.perf_counter() - start
    t = medians({"passes": passes(case, samples), "ours": ours, "limit": limit(case, samples)}, seconds=seconds, row=3)
    ratio = t["passes"] / t["ours"]
    aim = "" if case.at_least is None else f"{case.at_least:g}"
    return [
        case.name, f"{t['passes'] * 1e3:.2f}", f"{t['ours'] * 1e3:.2f}", f"{first * 1e3:.0f}", f"{ratio:.1f}", aim,
        f"{t['ours'] / t['limit']:.2f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    parser.add_argument("--samples", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{machine()}\n")
    found = [row(case, options.samples, options.seconds) for case in cases()]
    header = ["model", "passes, ms", "mc_predict, ms", "first call, ms", "times faster", "aim", "/ limit"]
    print(table(header, found))


if __name__ == "__main__":
    main()
