"""Prediction over whole volumes."""

from seisjax.inference.predict import predict_volume

__all__ = ["predict_volume"]
