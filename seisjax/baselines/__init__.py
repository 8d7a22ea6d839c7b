"""Predictors to be scored beside a network, which know the labels of the training part alone, and how far these are."""

from seisjax.baselines.traces import LabelledTraces
from seisjax.baselines.trivial import Predictor, make_baselines, split_axis

__all__ = ["LabelledTraces", "Predictor", "make_baselines", "split_axis"]
