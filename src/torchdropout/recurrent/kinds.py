"""What a recurrent layer masks inside itself: one small class for each method, given as the layer's `recurrent=`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from torchdropout.layers._checks import check_choice, check_number


def _check_probability(owner: str, argument: str, value: float) -> None:
    check_number(owner, argument, value, "in [0, 1]", lambda p: 0 <= p <= 1)


@dataclass(frozen=True)
class Variational:
    """Gal's dropout: the same units of a layer's input and of its state are dropped at every step of a sequence.

    `W x[t] + U h[t-1]` becomes `W (x[t] * m_x / k_x) + U (h[t-1] * m_h / k_h)` with independent Bernoulli masks, one
    for each sequence and unit. Untied, each gate has masks of its own; tied, all gates share them. The `h[t-1]` that a
    GRU carries over to its new state is not masked.

    Noise | Shared | Target | At test time: Bernoulli / keep | time | inputs and states of gates | identity

    Args:
        input: The probability of dropping a unit of the layer's input.
        hidden: The probability of dropping a unit of the state.
        tied: Whether all gates share a mask: cheaper, and worse in the paper.

    Raises:
        ValueError: A probability is outside [0, 1].

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.LSTM(3, 4, recurrent=td.Variational(input=0.5, hidden=0.3))
        >>> layer(torch.ones(5, 2, 3), key=td.key(0))[0].shape
        torch.Size([5, 2, 4])

    Reference:
        Y. Gal, Z. Ghahramani. A Theoretically Grounded Application of Dropout in Recurrent Neural Networks. NIPS 2016,
        arXiv:1512.05287, section 4.1.

    Deviation: none. What goes from a layer to the next is masked as the next one's input; the mask on the last
    layer's output is a `torchdropout.LockedDropout` after it.
    """

    input: float = 0.5
    hidden: float = 0.5
    tied: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        _check_probability("Variational", "input", self.input)
        _check_probability("Variational", "hidden", self.hidden)

    def live(self, training: bool) -> bool:
        """Whether it changes anything."""
        return training and (self.input > 0 or self.hidden > 0)


@dataclass(frozen=True)
class CellDropout:
    """RNNDrop: the same units of an LSTM's cell state are zero at every step of a sequence.

    `c[t] = m * (f * c[t-1] + i * g)` with independent `m ~ Bernoulli(k)`, `k = 1 - p`, one for each sequence and unit,
    unscaled: a factor of `1 / k` at every step would grow as `k**-t`.

    At test time `c[t] = f * c[t-1] + i * g` and `h[t] = k * o * tanh(c[t])`. Since `tanh(m * c) = m * tanh(c)`, this is
    the expectation of `h` for given gates, and so of all that is linear in it, in the layer itself and after it. The
    factor is in no recurrence of `c`, where it would decay as `k**t`; the state that is returned has it in `h` and not
    in `c`, so that windows join.

    Noise | Shared | Target | At test time: Bernoulli | time | cell states | outputs times keep

    Args:
        p: The probability of dropping a unit.

    Raises:
        ValueError: `p` is outside [0, 1]; or, by the layer, it has no cell state.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.LSTM(3, 4, recurrent=td.CellDropout(0.5))
        >>> (layer(torch.ones(5, 1, 3), key=td.key(0))[0] == 0).int()[:, 0].unique(dim=0)
        tensor([[0, 0, 0, 1]], dtype=torch.int32)

    Reference:
        T. Moon, H. Choi, H. Lee, I. Song. RnnDrop: A Novel Dropout for RNNs in ASR. ASRU 2015.

    Deviation: the test rule is ours in where it applies `k`, as above. A survey that many copy has the mask the same
    for all sequences; in the paper each has its own.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_probability("CellDropout", "p", self.p)

    def live(self, training: bool) -> bool:
        """Whether it changes anything: its test rule does."""
        return self.p > 0


@dataclass(frozen=True)
class UpdateDropout:
    """Recurrent dropout without memory loss: only what is new is dropped, never what is remembered.

    LSTM: `c[t] = f * c[t-1] + i * (g * m / k)`. GRU: `h[t] = (1 - z) * (n * m / k) + z * h[t-1]`, in PyTorch's letters.
    Independent `m ~ Bernoulli(k)`, `k = 1 - p`, one for each sequence and unit and, by default, step.

    Noise | Shared | Target | At test time: Bernoulli / keep | nothing | candidate values | identity

    Args:
        p: The probability of dropping a unit's update.
        per: What one draw covers: a `"step"`, as the paper recommends, or a whole `"sequence"`.

    Raises:
        ValueError: `p` is outside [0, 1], or `per` is unknown; or, by the layer, it has no candidate value.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.GRU(3, 4, recurrent=td.UpdateDropout(0.25))
        >>> layer(torch.ones(5, 2, 3), key=td.key(0))[0].shape
        torch.Size([5, 2, 4])

    Reference:
        S. Semeniuta, A. Severyn, E. Barth. Recurrent Dropout without Memory Loss. COLING 2016, pages 1757-1766,
        arXiv:1603.05118, section 3, where `p` is the probability of keeping.

    Deviation: none.
    """

    p: float = 0.5
    per: Literal["step", "sequence"] = field(default="step", kw_only=True)

    def __post_init__(self) -> None:
        _check_probability("UpdateDropout", "p", self.p)
        check_choice("UpdateDropout", "per", self.per, ("step", "sequence"))

    def live(self, training: bool) -> bool:
        """Whether it changes anything."""
        return training and self.p > 0


@dataclass(frozen=True, kw_only=True)
class Zoneout:
    """Zoneout: single units keep the state of the step before.

    `c[t] = d_c * c[t-1] + (1 - d_c) * c~` and `h[t] = d_h * h[t-1] + (1 - d_h) * o * tanh(c~)` with the new cell state
    `c~ = f * c[t-1] + i * g` and independent `d_c ~ Bernoulli(cell)`, `d_h ~ Bernoulli(hidden)`, one for each sequence,
    unit and step. At test time `d_c` and `d_h` are their expectations. GRU and RNN: `hidden` alone.

    Noise | Shared | Target | At test time: Bernoulli | nothing | state updates | the mean of old and new

    Args:
        cell: The probability that a unit of the cell state stays; 0.5 in the paper's text models.
        hidden: The probability that a unit of the hidden state stays; 0.05 there.

    Raises:
        ValueError: A probability is outside [0, 1]; or, by the layer, `cell` is given and it has no cell state.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.LSTM(3, 4, recurrent=td.Zoneout(cell=0.5, hidden=0.05))
        >>> layer(torch.ones(5, 2, 3), key=td.key(0))[0].shape
        torch.Size([5, 2, 4])

    Reference:
        D. Krueger, T. Maharaj, J. Kramar, M. Pezeshki, N. Ballas, N. Ke, A. Goyal, Y. Bengio, A. Courville, C. Pal.
        Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations. ICLR 2017, arXiv:1606.01305, section 3.

    Deviation: none.
    """

    cell: float = 0.0
    hidden: float = 0.0

    def __post_init__(self) -> None:
        _check_probability("Zoneout", "cell", self.cell)
        _check_probability("Zoneout", "hidden", self.hidden)

    def live(self, training: bool) -> bool:
        """Whether it changes anything: its test rule does."""
        return self.cell > 0 or self.hidden > 0


@dataclass(frozen=True)
class WeightDrop:
    """Weight drop: DropConnect on the hidden-to-hidden matrices, one mask for a whole forward pass.

    `U` becomes `U * M / k` with independent `M ~ Bernoulli(k)`, `k = 1 - p`, one for each entry of the matrix: all
    steps and sequences of the batch share it. Every layer and direction has a matrix, and each is dropped. Parameters
    never change.

    Noise | Shared | Target | At test time: Bernoulli / keep | batch and time | recurrent weights | identity

    Args:
        p: The probability of dropping a weight.

    Raises:
        ValueError: `p` is outside [0, 1].

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.LSTM(3, 4, 2, dropout=0.25, locked=True, recurrent=td.WeightDrop(0.5))
        >>> layer(torch.ones(5, 2, 3), key=td.key(0))[0].shape
        torch.Size([5, 2, 4])

    Reference:
        S. Merity, N. Keskar, R. Socher. Regularizing and Optimizing LSTM Language Models. ICLR 2018, arXiv:1708.02182,
        section 2.

    Deviation: none.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_probability("WeightDrop", "p", self.p)

    def live(self, training: bool) -> bool:
        """Whether it changes anything."""
        return training and self.p > 0


Kind = Variational | CellDropout | UpdateDropout | Zoneout | WeightDrop
KINDS = (Variational, CellDropout, UpdateDropout, Zoneout, WeightDrop)
K = TypeVar("K", bound=Kind)
PROBABILITIES = ("p", "input", "hidden", "cell")


def of_strength(kind: type[K], p: float) -> K:
    """The kind with every probability that it has at `p`."""
    probabilities: dict[str, Any] = {each.name: p for each in fields(kind) if each.name in PROBABILITIES}
    return kind(**probabilities)


def combined(owner: str, recurrent: Kind | Sequence[Kind]) -> tuple[Kind, ...]:
    """The kinds of a layer, checked: what the layer has nothing to apply to, and what does not combine."""
    kinds = tuple(recurrent) if isinstance(recurrent, (list, tuple)) else (recurrent,)
    for kind in kinds:
        if not isinstance(kind, KINDS):
            names = ", ".join(known.__name__ for known in KINDS)
            raise TypeError(f"{owner}: `recurrent` must be made of {names}, got {kind!r}.")
        _check_fits(owner, kind)
        if sum(type(other) is type(kind) for other in kinds) > 1:
            raise ValueError(f"{owner}: `recurrent` must name a kind once, got {type(kind).__name__} twice.")
    if {CellDropout, UpdateDropout} <= {type(kind) for kind in kinds}:
        raise ValueError(
            f"{owner}: UpdateDropout keeps the memory whole, which is what CellDropout drops: `recurrent` must have "
            "only one of them."
        )
    return kinds


def _check_fits(owner: str, kind: Kind) -> None:
    if owner.startswith("LSTM"):
        return
    if isinstance(kind, CellDropout):
        raise ValueError(f"{owner}: CellDropout drops units of the cell state, which only an LSTM has.")
    if isinstance(kind, Zoneout) and kind.cell > 0:
        raise ValueError(f"{owner}: Zoneout's `cell` must be 0 where there is no cell state, got {kind.cell}.")
    if isinstance(kind, UpdateDropout) and owner.startswith("RNN"):
        raise ValueError(
            f"{owner}: UpdateDropout drops what a gate adds to the state; a plain RNN has no gate and replaces its "
            "whole state, so that dropping the update would be dropping the memory."
        )
