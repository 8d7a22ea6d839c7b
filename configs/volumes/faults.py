"""Synthetic surveys with faults, horizons and facies, of any size.

    python launch/synthesize.py --generator=faults --config=configs/volumes/faults.py:512x512x384 --num_examples=1 \
        --output=survey.zarr

The argument is INLINESxCROSSLINESxSAMPLES (128x128x128). The larger a survey, the more faults and horizons it has, so
that their share stays about that of the preset faults_128.
"""

import re

from seisjax.errors import UserError
from seisjax.synthetic.fault_parameters import FaultedVolume, sized


def get_config(arg: str | None = None) -> FaultedVolume:
    """The generator's parameters for INLINESxCROSSLINESxSAMPLES."""
    if not re.fullmatch(r"\d+x\d+x\d+", arg or "128x128x128"):
        raise UserError(f"faults: the argument '{arg}' is not INLINESxCROSSLINESxSAMPLES; give e.g. 512x512x384")
    inlines, crosslines, samples = map(int, (arg or "128x128x128").split("x"))
    return sized((inlines, crosslines, samples))
