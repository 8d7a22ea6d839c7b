"""Distributed training, evaluation and prediction of segmentation networks on seismic data that no memory holds."""

__version__ = "0.1.0"
