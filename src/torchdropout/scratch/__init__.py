"""A neural network with dropout and weight penalties, from scratch in NumPy, to be read in one sitting.

Nothing here is imported by the rest of the package, and nothing of the rest is imported here. Read in this order:
`activations`, `network`, `penalties`, `dropout`, `training`, `gradient_check`; `checks` holds the messages for wrong
input and `plotting` the pictures. Names and shapes are those of the classic deep-learning course: examples in columns,
dicts with W1, b1, Z1, A1, D1, dW1, and `keep_prob`, the probability of *keeping* a unit (elsewhere in this package,
`p` is the probability of dropping one).

Example:
    >>> import numpy as np
    >>> from torchdropout import scratch
    >>> X = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
    >>> Y = np.array([[0, 1, 1, 0]])
    >>> parameters = scratch.model(X, Y, [2, 8, 1], learning_rate=0.5, num_iterations=2000, rng=0)
    >>> scratch.predict(X, parameters)
    array([[0., 1., 1., 0.]])
"""

from torchdropout.scratch.dropout import backward_propagation_with_dropout, forward_propagation_with_dropout
from torchdropout.scratch.gradient_check import gradient_check
from torchdropout.scratch.network import (
    backward_propagation,
    compute_cost,
    forward_propagation,
    initialize_parameters,
    one_hot,
    predict,
)
from torchdropout.scratch.penalties import backward_propagation_with_regularization, compute_cost_with_regularization
from torchdropout.scratch.plotting import draw_activations, plot_decision_boundary
from torchdropout.scratch.training import model, update_parameters

__all__ = [
    "backward_propagation",
    "backward_propagation_with_dropout",
    "backward_propagation_with_regularization",
    "compute_cost",
    "compute_cost_with_regularization",
    "draw_activations",
    "forward_propagation",
    "forward_propagation_with_dropout",
    "gradient_check",
    "initialize_parameters",
    "model",
    "one_hot",
    "plot_decision_boundary",
    "predict",
    "update_parameters",
]
