"""Every dropout method for PyTorch: faithful to the papers, reproducible, and close to free on a CPU."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from torchdropout import functional
from torchdropout._version import __version__
from torchdropout.layers._moments import Moments
from torchdropout.layers.alpha import AlphaDropout, FeatureAlphaDropout
from torchdropout.layers.avg_pool import AvgPoolDropout1d, AvgPoolDropout2d
from torchdropout.layers.concrete import ConcreteDropout, ConcreteDropout1d, ConcreteDropout2d
from torchdropout.layers.cutout import Cutout, CutoutTransform
from torchdropout.layers.drop_block import DropBlock1d, DropBlock2d
from torchdropout.layers.drop_key import DropKey
from torchdropout.layers.drop_key_attention import DropKeyMultiheadAttention
from torchdropout.layers.drop_path import DropPath
from torchdropout.layers.dropconnect import DropConnectLinear
from torchdropout.layers.dropconnect_conv import DropConnectConv1d, DropConnectConv2d
from torchdropout.layers.dropout import Dropout
from torchdropout.layers.embedding import EmbeddingDropout
from torchdropout.layers.fast_dropout import FastDropoutLinear
from torchdropout.layers.gaussian import GaussianDropout
from torchdropout.layers.gaussian_noise import GaussianNoise
from torchdropout.layers.layer_drop import LayerDrop
from torchdropout.layers.locked import LockedDropout
from torchdropout.layers.log_normal import LogNormalDropout
from torchdropout.layers.max_drop import MaxDrop
from torchdropout.layers.max_pool import MaxPoolDropout1d, MaxPoolDropout2d
from torchdropout.layers.mixout import MixoutLinear
from torchdropout.layers.patch_dropout import PatchDropout
from torchdropout.layers.sparse_variational import SparseVariationalLinear
from torchdropout.layers.sparse_variational_conv import SparseVariationalConv1d, SparseVariationalConv2d
from torchdropout.layers.spatial import Dropout1d, Dropout2d, Dropout3d
from torchdropout.layers.standout import StandoutLinear
from torchdropout.layers.stochastic_rate import StochasticRateDropout
from torchdropout.layers.variational import VariationalDropout
from torchdropout.layers.variational_conv import VariationalConv1d, VariationalConv2d
from torchdropout.layers.variational_linear import VariationalLinear
from torchdropout.layers.word import WordDropout
from torchdropout.rng import fold_in, key, keyed, set_data_parallel_rank, split

if TYPE_CHECKING:
    from torchdropout import calibration, schedules
    from torchdropout.compression.compact import load_compact_, save_compact
    from torchdropout.compression.export import export
    from torchdropout.compression.measure import CompressionReport, compression_report
    from torchdropout.compression.prune import Pruned, PruneReport, prune_
    from torchdropout.compression.shrink import shrink
    from torchdropout.compression.sparsify import kl_warmup, noise_param_groups, sparsify_
    from torchdropout.constraints import FixedZeros, MaxNorm, NonNegative, UnitNorm, constrain_
    from torchdropout.losses.activation import ar_loss, tar_loss
    from torchdropout.losses.kl import kl_loss
    from torchdropout.losses.multi_sample import MultiSampleDropout, multi_sample_loss
    from torchdropout.losses.param_groups import param_groups
    from torchdropout.losses.penalty import penalty
    from torchdropout.losses.proximal import proximal_l1_
    from torchdropout.losses.r_drop import RDropLoss, r_drop
    from torchdropout.losses.regularization import Regularization, regularization_loss
    from torchdropout.losses.shared_prefix import SharedPrefix, shared_prefix
    from torchdropout.montecarlo.loader import mc_predict_loader
    from torchdropout.montecarlo.moment_predict import moment_predict
    from torchdropout.montecarlo.predict import mc_predict
    from torchdropout.montecarlo.prediction import Prediction
    from torchdropout.montecarlo.sampling import sampling
    from torchdropout.recipes import Advice, DropoutRecipe, dropout_recipe
    from torchdropout.recurrent.cells import GRUCell, LSTMCell
    from torchdropout.recurrent.gru import GRU
    from torchdropout.recurrent.kinds import CellDropout, UpdateDropout, Variational, WeightDrop, Zoneout
    from torchdropout.recurrent.lstm import LSTM
    from torchdropout.recurrent.rnn import RNN
    from torchdropout.scheduler import DropoutScheduler
    from torchdropout.schedules import depth_rates, size_rates
    from torchdropout.surgery import NoiseSource, insert_after_, insert_before_, noise_sources, replace_, revert_

# What is loaded when it is first asked for, so that the layers alone are what an import costs.
_LATER = {
    "torchdropout": ("calibration", "schedules"),
    "torchdropout.compression.compact": ("load_compact_", "save_compact"),
    "torchdropout.compression.export": ("export",),
    "torchdropout.compression.measure": ("CompressionReport", "compression_report"),
    "torchdropout.compression.prune": ("Pruned", "PruneReport", "prune_"),
    "torchdropout.compression.shrink": ("shrink",),
    "torchdropout.compression.sparsify": ("kl_warmup", "noise_param_groups", "sparsify_"),
    "torchdropout.constraints": ("FixedZeros", "MaxNorm", "NonNegative", "UnitNorm", "constrain_"),
    "torchdropout.losses.activation": ("ar_loss", "tar_loss"),
    "torchdropout.losses.kl": ("kl_loss",),
    "torchdropout.losses.multi_sample": ("MultiSampleDropout", "multi_sample_loss"),
    "torchdropout.losses.param_groups": ("param_groups",),
    "torchdropout.losses.penalty": ("penalty",),
    "torchdropout.losses.proximal": ("proximal_l1_",),
    "torchdropout.losses.r_drop": ("RDropLoss", "r_drop"),
    "torchdropout.losses.regularization": ("Regularization", "regularization_loss"),
    "torchdropout.losses.shared_prefix": ("SharedPrefix", "shared_prefix"),
    "torchdropout.montecarlo.moment_predict": ("moment_predict",),
    "torchdropout.montecarlo.loader": ("mc_predict_loader",),
    "torchdropout.montecarlo.predict": ("mc_predict",),
    "torchdropout.montecarlo.prediction": ("Prediction",),
    "torchdropout.montecarlo.sampling": ("sampling",),
    "torchdropout.recipes": ("Advice", "DropoutRecipe", "dropout_recipe"),
    "torchdropout.recurrent.cells": ("GRUCell", "LSTMCell"),
    "torchdropout.recurrent.gru": ("GRU",),
    "torchdropout.recurrent.kinds": ("CellDropout", "UpdateDropout", "Variational", "WeightDrop", "Zoneout"),
    "torchdropout.recurrent.lstm": ("LSTM",),
    "torchdropout.recurrent.rnn": ("RNN",),
    "torchdropout.scheduler": ("DropoutScheduler",),
    "torchdropout.schedules": ("depth_rates", "size_rates"),
    "torchdropout.surgery": ("NoiseSource", "insert_after_", "insert_before_", "noise_sources", "replace_", "revert_"),
}
_MODULES = {name: module for module, names in _LATER.items() for name in names}

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Advice",
    "AlphaDropout",
    "AvgPoolDropout1d",
    "AvgPoolDropout2d",
    "CellDropout",
    "CompressionReport",
    "ConcreteDropout",
    "ConcreteDropout1d",
    "ConcreteDropout2d",
    "Cutout",
    "CutoutTransform",
    "DropBlock1d",
    "DropBlock2d",
    "DropConnectConv1d",
    "DropConnectConv2d",
    "DropConnectLinear",
    "DropKey",
    "DropKeyMultiheadAttention",
    "DropPath",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "DropoutRecipe",
    "DropoutScheduler",
    "EmbeddingDropout",
    "FastDropoutLinear",
    "FeatureAlphaDropout",
    "FixedZeros",
    "GRUCell",
    "GaussianDropout",
    "GaussianNoise",
    "LSTMCell",
    "LayerDrop",
    "LockedDropout",
    "LogNormalDropout",
    "MaxDrop",
    "MaxNorm",
    "MaxPoolDropout1d",
    "MaxPoolDropout2d",
    "MixoutLinear",
    "Moments",
    "MultiSampleDropout",
    "NoiseSource",
    "NonNegative",
    "PatchDropout",
    "Prediction",
    "PruneReport",
    "Pruned",
    "RDropLoss",
    "Regularization",
    "SharedPrefix",
    "SparseVariationalConv1d",
    "SparseVariationalConv2d",
    "SparseVariationalLinear",
    "StandoutLinear",
    "StochasticRateDropout",
    "UnitNorm",
    "UpdateDropout",
    "Variational",
    "VariationalConv1d",
    "VariationalConv2d",
    "VariationalDropout",
    "VariationalLinear",
    "WeightDrop",
    "WordDropout",
    "Zoneout",
    "__version__",
    "ar_loss",
    "calibration",
    "compression_report",
    "constrain_",
    "depth_rates",
    "dropout_recipe",
    "export",
    "fold_in",
    "functional",
    "insert_after_",
    "insert_before_",
    "key",
    "keyed",
    "kl_loss",
    "kl_warmup",
    "load_compact_",
    "mc_predict",
    "mc_predict_loader",
    "moment_predict",
    "multi_sample_loss",
    "noise_param_groups",
    "noise_sources",
    "param_groups",
    "penalty",
    "proximal_l1_",
    "prune_",
    "r_drop",
    "regularization_loss",
    "replace_",
    "revert_",
    "sampling",
    "save_compact",
    "schedules",
    "set_data_parallel_rank",
    "shared_prefix",
    "shrink",
    "size_rates",
    "sparsify_",
    "split",
    "tar_loss",
]


def __getattr__(name: str) -> Any:
    """A public name that is not loaded yet."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    if module == __name__:
        return importlib.import_module(f"{module}.{name}")
    globals()[name] = getattr(importlib.import_module(module), name)
    return globals()[name]


def __dir__() -> list[str]:
    """All names, loaded or not."""
    return sorted({*globals(), *__all__})
