"""Embedding dropout: whole words of the vocabulary are dropped, wherever they occur."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchdropout import laws, rng
from torchdropout.layers._checks import check_choice, check_probability
from torchdropout.layers._noise import bernoulli
from torchdropout.layers._rate import Rate

Per = Literal["batch", "sequence"]


def embedding_dropout(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    p: float = 0.1,
    training: bool = True,
    *,
    padding_idx: int | None = None,
    per: Per = "batch",
    sequence_dim: int = -1,
    key: Tensor | None = None,
) -> Tensor:
    """Look words up in a table some of whose rows are dropped; see `torchdropout.EmbeddingDropout`.

    Not `torchdropout.functional.word_dropout`, which draws for each occurrence and replaces the number of the word.

    Args:
        input: The words' numbers, any shape of integers.
        weight: The table, `(V, D)`.
        p: The probability of dropping a word of the vocabulary.
        training: Whether to apply noise.
        padding_idx: The row that gets no gradient, as in `torch.nn.functional.embedding`.
        per: What one draw of a word covers: the `"batch"`, or a `"sequence"`.
        sequence_dim: The axis along which a sequence lies: -1 for `(N, T)`, 0 for `(T, N)`.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1], `per` is unknown, or `weight` is no table.
        TypeError: `input` is no tensor of integers.

    Example:
        >>> import torch, torchdropout as td
        >>> words = torch.tensor([0, 1, 2, 0, 1])
        >>> td.functional.embedding_dropout(words, torch.ones(3, 1), 0.5, key=td.key(3)).flatten()
        tensor([2., 0., 0., 2., 0.])
    """
    check_probability("embedding_dropout", p)
    check_choice("embedding_dropout", "per", per, ("batch", "sequence"))
    check_numbers("embedding_dropout", input)
    if weight.dim() != 2:
        raise ValueError(f"embedding_dropout: `weight` must have shape (V, D), got {tuple(weight.shape)}.")
    vectors = F.embedding(input, weight, padding_idx)
    return apply(vectors, input, weight.shape[0], p, per, sequence_dim, key) if training else vectors


def check_numbers(owner: str, words: Tensor) -> None:
    """The numbers of words are integers."""
    if words.is_floating_point() or words.is_complex() or words.dtype == torch.bool:
        raise TypeError(f"{owner}: the input must be an integer tensor, got {words.dtype}.")


def occurrences(owner: str, words: Tensor, p: float | Tensor, dim: int, key: Tensor | None, like: Tensor) -> Tensor:
    """A mask for each occurrence; elements count in the order of time first, however the sequences lie."""
    if words.dim() == 0:
        return bernoulli((), p, key, like)
    if not -words.dim() <= dim < words.dim():
        raise ValueError(f"{owner}: `sequence_dim` must be an axis of the input {tuple(words.shape)}, got {dim}.")
    first = words.movedim(dim, 0)
    return bernoulli(first.shape, p, key, like, batch_dim=min(1, first.dim() - 1)).movedim(0, dim)


def apply(
    vectors: Tensor, words: Tensor, size: int, p: float | Tensor, per: Per, dim: int, key: Tensor | None
) -> Tensor:
    """The method, its arguments checked: drops vectors that were looked up, alike where the word is the same."""
    if not isinstance(p, Tensor) and p == 0:
        return vectors
    if per == "batch" or words.dim() == 0:
        mask = bernoulli((size,), p, rng.shared(key), vectors)[words]
    else:
        mask = occurrences("EmbeddingDropout", words, p, dim, key, vectors)
        mask = mask.gather(dim, _first_occurrences(words.movedim(dim, -1)).movedim(-1, dim))
    y = vectors * mask.unsqueeze(-1).to(vectors.dtype)
    if not isinstance(p, Tensor) and p == 1:
        return y
    return y * (1.0 / laws.keep(p))


def _first_occurrences(words: Tensor) -> Tensor:
    """Where in its sequence each word occurs first: the place whose draw all its occurrences take."""
    if words.shape[-1] == 0:
        return words.to(torch.int64)
    ordered, order = words.sort(dim=-1, stable=True)
    places = torch.arange(words.shape[-1], device=words.device).expand(words.shape)
    is_new = torch.cat([torch.ones_like(ordered[..., :1], dtype=torch.bool), ordered.diff(dim=-1) != 0], -1)
    begins = torch.where(is_new, places, 0).cummax(-1).values
    return torch.zeros_like(order).scatter(-1, order, order.gather(-1, begins))


class EmbeddingDropout(Rate, nn.Module):
    """Drops words of the vocabulary: every occurrence of a dropped word becomes zero, and the expectation is kept.

    `y[n, t] = E[w] * m[w] / k` for the word `w = x[n, t]`, with independent `m ~ Bernoulli(k)`, `k = 1 - p`, one for
    each row of the table and forward. With `per="sequence"` each sequence of the batch has masks of its
    own. The table itself is never copied.

    Not `torchdropout.WordDropout`, which draws for each occurrence and replaces the word by an unknown one.

    Noise | Shared | Target | At test time: Bernoulli / keep | occurrences of a word | word vectors | identity

    Args:
        embedding: The embedding to wrap; its own options (`padding_idx`, `max_norm`, `sparse`, ...) stay.
        p: The probability of dropping a word.
        per: What one draw of a word covers: the `"batch"`, or a `"sequence"`.
        sequence_dim: The axis along which a sequence lies: -1 for `(N, T)`, 0 for `(T, N)`.

    Shape:
        `(*)` integers to `(*, D)`.

    Raises:
        ValueError: `p` is outside [0, 1], `per` is unknown, or the input has no axis `sequence_dim`.
        TypeError: `embedding` is no `torch.nn.Embedding`, or the input no tensor of integers.

    Example:
        >>> import torch, torchdropout as td
        >>> table = torch.nn.Embedding.from_pretrained(torch.ones(3, 1))
        >>> td.EmbeddingDropout(table, 0.5)(torch.tensor([0, 1, 2, 0, 1]), key=td.key(3)).flatten()
        tensor([2., 0., 0., 2., 0.])

    Reference:
        Y. Gal, Z. Ghahramani. A Theoretically Grounded Application of Dropout in Recurrent Neural Networks. NIPS 2016,
        arXiv:1512.05287, section 4.2. S. Merity, N. Keskar, R. Socher. Regularizing and Optimizing LSTM Language
        Models. ICLR 2018, arXiv:1708.02182, section 4.3.

    Deviation: none. `per="batch"` is the later paper's, `per="sequence"` the earlier one's.
    """

    def __init__(self, embedding: nn.Embedding, p: float = 0.1, *, per: Per = "batch", sequence_dim: int = -1) -> None:
        nn.Module.__init__(self)
        if not isinstance(embedding, nn.Embedding):
            raise TypeError(
                f"EmbeddingDropout: `embedding` must be a torch.nn.Embedding, got {type(embedding).__name__}."
            )
        check_choice("EmbeddingDropout", "per", per, ("batch", "sequence"))
        self.embedding = embedding
        self.p = p
        self.per: Per = per
        self.sequence_dim = sequence_dim

    @property
    def weight(self) -> Tensor:
        """The embedding's table, for layers that are tied to it."""
        return self.embedding.weight

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the embedding itself in eval."""
        check_numbers("EmbeddingDropout", input)
        vectors: Tensor = self.embedding(input)
        if not self.training:
            return vectors
        return apply(vectors, input, self.embedding.num_embeddings, self._rate(), self.per, self.sequence_dim, key)

    @property
    def draws_per(self) -> str:
        """What one draw covers: an `"example"`, or the whole `"batch"`."""
        return "batch" if self.per == "batch" else "example"

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"p={self.p}, per={self.per!r}, sequence_dim={self.sequence_dim}"
