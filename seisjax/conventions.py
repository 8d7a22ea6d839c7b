"""Names and numbers that every floor agrees on."""

# Label value of samples that take no part in loss, gradient or metric; also the fill value of label arrays.
IGNORE = 255

# Array names inside a volume (they follow MDIO v1 where MDIO has a name).
AMPLITUDE = "amplitude"
TRACE_MASK = "trace_mask"
LABELS_PREFIX = "labels_"
PRED_CLASS = "pred_class"
PRED_PROBABILITY = "pred_probability"
PRED_ENTROPY = "pred_entropy"
CLASS_AXIS = "class"

# Axis names that stand for the vertical, always the last axis of a volume.
VERTICAL_AXES = ("time", "depth")

# Mesh axes: `data` splits the batch, `space` splits a window.
DATA = "data"
SPACE = "space"

# Streams of random numbers, folded into the experiment's seed.
INITIALISE = 0
AUGMENT = 1
DROPOUT = 2
