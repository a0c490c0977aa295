"""A word-level language model with tied embeddings, and its training by truncated backpropagation."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from _wikitext import Corpus, columns, windows
from torch import Tensor, nn
from torch.nn import functional as F

import torchdropout as td
from torchdropout.recurrent.kinds import Kind

State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Method:
    """What is dropped where: words, and units between embedding, layers and output, one mask a sequence."""

    words: float = 0.0
    inputs: float = 0.0
    between: float = 0.0
    outputs: float = 0.0
    recurrent: tuple[Kind, ...] = ()


@dataclass(frozen=True)
class Plan:
    """How a model is trained; the tokens are those of all passes together."""

    tokens: int
    size: int = 200
    layers: int = 2
    batch: int = 20
    steps: int = 35
    lr: float = 20.0
    clip: float = 0.25
    optimizer: str = "sgd"
    patience: int = 5  # validations without a new best before the averaging of `ntasgd` begins
    watched: int = 40_000  # tokens of the validation part that are looked at after every pass


class WordModel(nn.Module):
    """Embedding, LSTM, and a softmax over the vocabulary whose weights are the embedding's."""

    def __init__(self, vocabulary: int, plan: Plan, method: Method) -> None:
        super().__init__()
        self.embedding = td.EmbeddingDropout(nn.Embedding(vocabulary, plan.size), method.words)
        self.before, self.after = td.LockedDropout(method.inputs), td.LockedDropout(method.outputs)
        self.rnn = td.LSTM(
            plan.size, plan.size, plan.layers, dropout=method.between, locked=True, recurrent=method.recurrent
        )
        self.output = nn.Linear(plan.size, vocabulary)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)
        self.output.weight = self.embedding.weight

    def forward(self, words: Tensor, state: State | None, key: Tensor) -> tuple[Tensor, State]:
        """The logits `(T, N, V)` of the words that follow, and the state after them."""
        first, second, third, fourth = td.split(key, 4)
        x = self.before(self.embedding(words, key=first), key=second)
        y, state = self.rnn(x, state, key=third)
        return self.output(self.after(y, key=fourth)), state


@dataclass
class Progress:
    """Where a training is: everything that a checkpoint holds besides weights."""

    taken: int = 0
    lr: float = 0.0
    averaging: bool = False
    best: float = math.inf
    seconds: float = 0.0
    validations: list[float] = field(default_factory=list)


def train(corpus: Corpus, plan: Plan, method: Method, seed: int, path: Path) -> tuple[WordModel, Progress]:
    """Train, or go on where the checkpoint at `path` stopped; returned is the model with the best validation."""
    torch.manual_seed(seed)
    model = WordModel(len(corpus.words), plan, method)
    best = {name: value.clone() for name, value in model.state_dict().items()}
    progress = Progress(lr=plan.lr)
    stored = torch.load(path, weights_only=True) if path.exists() else None
    if stored is not None:
        progress = Progress(**stored["progress"])
        model.load_state_dict(stored["model"])
        best = stored["best"]
    optimizer = _optimizer(model, plan, progress)
    if stored is not None:
        optimizer.load_state_dict(stored["optimizer"])
    text, key = columns(corpus.train, plan.batch), td.key(seed)
    while progress.taken * plan.batch < plan.tokens:
        _pass(model, optimizer, text, plan, progress, key)
        optimizer = _validated(model, optimizer, corpus, plan, progress, best)
        torch.save(
            {
                "progress": vars(progress),
                "model": model.state_dict(),
                "best": best,
                "optimizer": optimizer.state_dict(),
            },
            path,
        )
    model.load_state_dict(best)
    return model, progress


def _pass(
    model: WordModel, optimizer: torch.optim.Optimizer, text: Tensor, plan: Plan, progress: Progress, key: Tensor
) -> None:
    """The state goes from window to window; each draws its masks anew, from a key that its place in training makes."""
    model.train()
    state: State | None = None
    start = time.perf_counter()
    for words, following in windows(text, plan.steps):
        logits, state = model(words, state, td.fold_in(key, progress.taken))
        state = (state[0].detach(), state[1].detach())
        loss = F.cross_entropy(logits.flatten(0, 1), following.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
        optimizer.step()
        progress.taken += len(words)
        if progress.taken * plan.batch >= plan.tokens:
            break
    progress.seconds += time.perf_counter() - start


def _validated(
    model: WordModel, optimizer: Any, corpus: Corpus, plan: Plan, progress: Progress, best: dict[str, Tensor]
) -> torch.optim.Optimizer:
    """Keep the best weights; where nothing was gained, divide the rate by 4 (SGD), or begin to average (NT-ASGD)."""
    averages = [optimizer.state[p]["ax"] for p in model.parameters()] if progress.averaging else None
    last = [p.detach().clone() for p in model.parameters()]
    if averages is not None:
        _set(model, averages)
    found = math.log(perplexity(model, corpus.valid[: plan.watched]))
    if found < progress.best:
        progress.best = found
        best.update({name: value.clone() for name, value in model.state_dict().items()})
    elif plan.optimizer == "sgd":
        progress.lr /= 4
    if averages is not None:
        _set(model, last)
    progress.validations.append(found)
    before = progress.validations[: -plan.patience]
    begins = plan.optimizer == "ntasgd" and not progress.averaging and before and found > min(before)
    if not begins and plan.optimizer == "ntasgd":
        return optimizer  # type: ignore[no-any-return]
    progress.averaging = bool(begins)
    return _optimizer(model, plan, progress)


def _set(model: nn.Module, values: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(value)


def _optimizer(model: nn.Module, plan: Plan, progress: Progress) -> torch.optim.Optimizer:
    if progress.averaging:
        return torch.optim.ASGD(model.parameters(), lr=progress.lr, t0=0, lambd=0.0)
    return torch.optim.SGD(model.parameters(), lr=progress.lr)


@torch.no_grad()
def perplexity(model: WordModel, tokens: Tensor, *, batch: int = 10, steps: int = 70) -> float:
    """The exponential of the mean negative log-likelihood of a word, in nats, noise off."""
    model.eval()
    state: State | None = None
    total, count, key = 0.0, 0, td.key(0)
    for words, following in windows(columns(tokens, batch), steps):
        logits, state = model(words, state, key)
        total += float(F.cross_entropy(logits.flatten(0, 1), following.flatten(), reduction="sum"))
        count += following.numel()
    return math.exp(total / count)
