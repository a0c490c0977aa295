"""Operations with noise: autograd, `torch.library` registration, and the choice of a kernel; one operation a file."""

from torchdropout.ops.clipped import clipped_variance_linear, plain_variance
from torchdropout.ops.elementwise import multiply, plain_operations_wanted
from torchdropout.ops.gates import gate
from torchdropout.ops.keys import fold_in_all
from torchdropout.ops.linear import masked_linear
from torchdropout.ops.project import project
from torchdropout.ops.recurrent import gru, lstm, rnn, sequence_serves
from torchdropout.ops.relaxed import relaxed_multiply
from torchdropout.ops.squares import cut_squares

__all__ = [
    "clipped_variance_linear",
    "cut_squares",
    "fold_in_all",
    "gate",
    "gru",
    "lstm",
    "masked_linear",
    "multiply",
    "plain_operations_wanted",
    "plain_variance",
    "project",
    "relaxed_multiply",
    "rnn",
    "sequence_serves",
]
