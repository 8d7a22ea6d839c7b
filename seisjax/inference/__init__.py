"""Prediction over whole volumes."""

from seisjax.inference.artifact import Artifact, load_artifact
from seisjax.inference.planning import Forecast, forecast
from seisjax.inference.predict import Outcome, Task, predict_volume
from seisjax.inference.views import Cutting

__all__ = ["Artifact", "Cutting", "Forecast", "Outcome", "Task", "forecast", "load_artifact", "predict_volume"]
