"""Faulted cubes to train a network on: more kinds of faults, wavelets and noise than the presets hold.

    python launch/synthesize.py --generator=faults --config=configs/volumes/fault_training.py:64 --num_examples=20 \
        --output=cubes.zarr

The argument is the cube's side, 64 or 128 samples (64). Slips from 2 samples on, peak frequencies of 15 to 45 Hz,
signal-to-noise ratios of 1 to 8: real surveys are more varied than any range, so a network should have seen wide ones.
"""

from dataclasses import replace

from seisjax.errors import UserError
from seisjax.synthetic.fault_parameters import FAULTS_64, FAULTS_128, FaultedVolume

CUBES = {"64": FAULTS_64, "128": FAULTS_128}


def get_config(arg: str | None = None) -> FaultedVolume:
    """The generator's parameters for cubes of 64 or 128 samples."""
    side = arg or "64"
    if side not in CUBES:
        raise UserError(f"fault_training: the argument '{arg}' is none of {', '.join(CUBES)}")
    cube = CUBES[side]
    faults = replace(cube.faults, slip=(2.0, cube.faults.slip[1]), dip=(45.0, 88.0))
    return replace(cube, faults=faults, frequency=(15.0, 45.0), snr=(1.0, 8.0))
