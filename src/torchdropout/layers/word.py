"""Word dropout: single occurrences of words are replaced by an unknown word."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchdropout.layers._checks import check_probability
from torchdropout.layers._rate import RateModule
from torchdropout.layers.embedding import check_numbers, occurrences


def word_dropout(
    input: Tensor,  # noqa: A002
    p: float = 0.1,
    training: bool = True,
    *,
    token: int,
    keep: Sequence[int] = (),
    sequence_dim: int = -1,
    key: Tensor | None = None,
) -> Tensor:
    """Replace each token with probability `p`; see `torchdropout.WordDropout`.

    Not `torchdropout.functional.embedding_dropout`, which drops all occurrences of a word at once, and its vector.

    Args:
        input: The tokens' numbers, any shape of integers.
        p: The probability of replacing a token.
        training: Whether to replace.
        token: The number that takes their place.
        keep: Numbers that are never replaced, as those of padding or of a sequence's beginning.
        sequence_dim: The axis along which a sequence lies: -1 for `(N, T)`, 0 for `(T, N)`. The same key replaces the
            same tokens in both layouts.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1], or the input has no axis `sequence_dim`.
        TypeError: `input` is no tensor of integers, or `token` or one of `keep` no integer.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.word_dropout(torch.tensor([5, 6, 7, 5]), 0.5, token=1, key=td.key(3))
        tensor([5, 1, 1, 1])
    """
    check_probability("word_dropout", p)
    _check_tokens("word_dropout", token, keep)
    return apply("word_dropout", input, p, training, token, keep, sequence_dim, key)


def _check_tokens(owner: str, token: int, keep: Sequence[int]) -> None:
    if isinstance(token, bool) or not isinstance(token, int):
        raise TypeError(f"{owner}: `token` must be an integer, got {token!r}.")
    if not all(isinstance(number, int) for number in keep):
        raise TypeError(f"{owner}: `keep` must hold integers, got {keep!r}.")


def apply(
    owner: str,
    tokens: Tensor,
    p: float | Tensor,
    noisy: bool,
    token: int,
    keep: Sequence[int],
    dim: int,
    key: Tensor | None,
) -> Tensor:
    """The method, its arguments checked."""
    check_numbers(owner, tokens)
    if not noisy or (not isinstance(p, Tensor) and p == 0):
        return tokens
    replaced = occurrences(owner, tokens, p, dim, key, tokens) == 0
    for number in keep:
        replaced = replaced & (tokens != number)
    return torch.where(replaced, token, tokens).to(tokens.dtype)


class WordDropout(RateModule):
    """Replaces each token of a text by an unknown one, independently of all others.

    `y[n, t] = token` where `m[n, t] = 0`, else `x[n, t]`, with independent `m ~ Bernoulli(k)`, `k = 1 - p`. It acts
    on numbers of words, so nothing is rescaled.

    Not `torchdropout.EmbeddingDropout`, which drops all occurrences of a word at once, and its vector.

    Noise | Shared | Target | At test time: Bernoulli | nothing | token numbers | identity

    Args:
        p: The probability of replacing a token.
        token: The number that takes their place: that of the unknown word.
        keep: Numbers that are never replaced, as those of padding or of a sequence's beginning.
        sequence_dim: The axis along which a sequence lies: -1 for `(N, T)`, 0 for `(T, N)`. The same key replaces the
            same tokens in both layouts.

    Shape:
        Any shape of integers; the output has the input's shape and dtype.

    Raises:
        ValueError: `p` is outside [0, 1], or the input has no axis `sequence_dim`.
        TypeError: The input is no tensor of integers, or `token` or one of `keep` no integer.

    Example:
        >>> import torch, torchdropout as td
        >>> td.WordDropout(0.5, token=1)(torch.tensor([5, 6, 7, 5]), key=td.key(3))
        tensor([5, 1, 1, 1])

    Reference:
        S. Bowman, L. Vilnis, O. Vinyals, A. Dai, R. Jozefowicz, S. Bengio. Generating Sentences from a Continuous
        Space. CoNLL 2016, arXiv:1511.06349, section 3.1. M. Iyyer, V. Manjunatha, J. Boyd-Graber, H. Daume III. Deep
        Unordered Composition Rivals Syntactic Methods for Text Classification. ACL 2015, section 3.1.

    Deviation: the second paper leaves a token out of the average of word vectors instead of replacing it.
    """

    def __init__(self, p: float = 0.1, *, token: int, keep: Sequence[int] = (), sequence_dim: int = -1) -> None:
        super().__init__(p)
        _check_tokens("WordDropout", token, keep)
        self.token = token
        self.keep = tuple(keep)
        self.sequence_dim = sequence_dim

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the identity in eval."""
        rule = self.token, self.keep, self.sequence_dim
        return apply("WordDropout", input, self._rate(), self.training, *rule, key)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"p={self.p}, token={self.token}, keep={self.keep}, sequence_dim={self.sequence_dim}"
