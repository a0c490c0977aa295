"""Language models of WikiText-2 with recurrent dropout: perplexity of every method, over seeds, with intervals.

Two LSTM layers and a softmax tied to the embedding, trained by truncated backpropagation with the state carried from
window to window, gradients clipped, and SGD whose rate is divided by 4 after a pass that gained nothing, or averaged
SGD from there on (`ntasgd`: S. Merity, N. Keskar, R. Socher, Regularizing and Optimizing LSTM Language Models, ICLR
2018, arXiv:1708.02182). `--tokens` bounds all passes together and `--corpus` the text, whose words are the vocabulary:
perplexities compare with others only at the same corpus. Checkpoints under `--out` let a stopped run go on.

TORCHDROPOUT_DATA=folder python benchmarks/papers/language_model.py [--tokens 1000000] [--corpus 100000] [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path

import torch
from _wikitext import Corpus, load
from _word_model import Method, Plan, perplexity, train
from scipy.stats import t as student

import torchdropout as td

sys.path.insert(0, str(Path(__file__).parents[1]))
from _timing import machine, table

METHODS = {
    "none": Method(),
    "locked": Method(inputs=0.4, between=0.3, outputs=0.4),
    "variational": Method(outputs=0.4, recurrent=(td.Variational(input=0.4, hidden=0.25),)),
    "weight drop + locked": Method(inputs=0.4, between=0.3, outputs=0.4, recurrent=(td.WeightDrop(0.5),)),
    "zoneout": Method(recurrent=(td.Zoneout(cell=0.5, hidden=0.05),)),
}


def one(corpus: Corpus, plan: Plan, name: str, seed: int, out: Path) -> dict[str, float]:
    """Train and measure, or read what was measured."""
    stem = f"{name.replace(' + ', '-').replace(' ', '-')}-{seed}"
    result = out / f"{stem}.json"
    if result.exists():
        return dict(json.loads(result.read_text()))
    model, progress = train(corpus, plan, METHODS[name], seed, out / f"{stem}.pt")
    measured = {
        "valid": perplexity(model, corpus.valid),
        "test": perplexity(model, corpus.test),
        "train": perplexity(model, corpus.train),
        "tokens_per_second": progress.taken * plan.batch / progress.seconds,
    }
    result.write_text(json.dumps(measured))
    return measured


def interval(values: list[float]) -> str:
    """The mean and half of its 95 % interval, by Student's t."""
    if len(values) < 2:
        return f"{values[0]:.1f}"
    half = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.1f} ± {half:.1f}"


def row(name: str, found: list[dict[str, float]], plain: list[dict[str, float]]) -> list[str]:
    change = [100 * (one["test"] / other["test"] - 1) for one, other in zip(found, plain, strict=True)]
    speed = f"{statistics.median([one['tokens_per_second'] for one in found]):,.0f}"
    columns = [interval([one[part] for one in found]) for part in ("train", "valid", "test")]
    return [name, *columns, "–" if found is plain else f"{interval(change)} %", speed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000, help="of all passes over the text together")
    parser.add_argument("--corpus", type=int, default=100_000, help="of the training text; 0 for all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--optimizer", choices=("sgd", "ntasgd"), default="sgd")
    parser.add_argument("--size", type=int, default=200, help="of embedding and states")
    parser.add_argument("--out", type=Path, default=Path("runs/language-model"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    start, corpus = time.perf_counter(), load(options.corpus or None)
    plan = Plan(options.tokens, size=options.size, optimizer=options.optimizer)
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, float]]] = {}
    for name in options.methods.split(","):
        found[name] = [one(corpus, plan, name, seed, options.out) for seed in range(options.seeds)]
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    plain = found.get("none", next(iter(found.values())))
    print(f"{machine()}\n")
    print(
        f"{len(corpus.train):,} tokens of text, {plan.tokens:,} of training, {len(corpus.words):,} words, "
        f"{100 * corpus.unknown['test']:.1f} % of the test text unknown, {time.perf_counter() - start:.0f} s\n"
    )
    header = ["method", "train", "valid", "test", "test, from none", "tokens/s"]
    print(table(header, [row(name, values, plain) for name, values in found.items()]))


if __name__ == "__main__":
    main()
