"""Names, numbers and colours that every floor agrees on."""

import colorsys
from typing import Any

# Label value of samples that take no part in loss, gradient or metric; also the fill value of label arrays.
IGNORE = 255

# Array names inside a volume (they follow MDIO v1 where MDIO has a name).
AMPLITUDE = "amplitude"
TRACE_MASK = "trace_mask"
LABELS_PREFIX = "labels_"
INDEX_PREFIX = "chunk_counts_"  # class counts of every chunk of the labels of that name
SECTIONS_PREFIX = "sections_"  # sections_<axis>_<array>: the same samples in chunks one line thick
PRED_CLASS = "pred_class"
PRED_PROBABILITY = "pred_probability"
PRED_ENTROPY = "pred_entropy"
PRED_SPREAD = "pred_spread"
CLASS_AXIS = "class"

# Where receivers stand: arrays over their axis, in m.
RECEIVER_PLACES = ("receiver_x", "receiver_y", "receiver_z")
# Axis names that stand for the vertical, always the last axis of a volume.
VERTICAL_UNITS = {"time": "ms", "depth": "m"}
VERTICAL_AXES = tuple(VERTICAL_UNITS)
# What others call axes, in small letters.
AXIS_ALIASES = {"il": "inline", "iline": "inline", "xl": "crossline", "xline": "crossline"}

# Seconds in the units that time axes may have.
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}

# The ellipsoid of latitudes and longitudes: its semi-major axis in m, and its eccentricity squared.
WGS84 = (6378137.0, 6.69437999014e-3)

# Mesh axes: `data` splits the batch, `space` splits a window.
DATA = "data"
SPACE = "space"

# Streams of random numbers, folded into the experiment's seed.
INITIALISE = 0
AUGMENT = 1
DROPOUT = 2

# Okabe & Ito (2008) without black, then Tol's muted scheme (2021): told apart with every common kind of colour vision.
_COLORS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#882255"),
    *("#44AA99", "#332288", "#999933", "#AA4499", "#117733", "#88CCEE", "#DDCC77", "#661100"),
)


def labelled_section(images: Any) -> Any:
    """Of images (..., channels) the channel that labels belong to: the middle one of sections side by side."""
    return images[..., images.shape[-1] // 2]


def class_colors(num_classes: int) -> list[str]:
    """A colour "#RRGGBB" for every class; beyond the palette, hues all around the circle."""
    if num_classes <= len(_COLORS):
        return list(_COLORS[:num_classes])
    hues = (colorsys.hsv_to_rgb(i / num_classes, 0.8, 0.6 + 0.3 * (i % 2)) for i in range(num_classes))
    return ["#" + "".join(f"{round(255 * part):02X}" for part in rgb) for rgb in hues]
