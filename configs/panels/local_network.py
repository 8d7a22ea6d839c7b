"""Synthetic panels of your own network of seismometers: small local earthquakes, P and S labelled.

    python launch/synthesize.py --config=configs/panels/local_network.py:receivers.csv --output=panels.zarr

The argument is RECEIVERS.csv[,HZ]: the receivers with columns x,y,z,component (m, z down; component z, n or e), and
the sampling rate (100 Hz). Without it: twelve vertical seismometers in a star of 16 km, to try it out. Speeds suit a
volcanic or sedimentary crust; records are to be high-passed at 2 Hz first.
"""

from seisjax.errors import UserError
from seisjax.synthetic.parameters import Medium, Microseismic, Noise, ReceiverArray, Source, Traces

SECONDS = 20.48  # length of a panel


def get_config(arg: str | None = None) -> Microseismic:
    """The generator's parameters for RECEIVERS.csv[,HZ]."""
    array, rate = parse(arg)
    return Microseismic(
        array=array,
        num_samples=round(SECONDS * rate),
        sampling_interval=1 / rate,
        p=Medium(speed=(3300.0, 4600.0), gradient=(0.10, 0.35), quality=(80.0, 300.0)),
        s=Medium(speed=(1900.0, 2700.0), gradient=(0.06, 0.20), quality=(60.0, 250.0)),
        source=Source(
            depth=(1500.0, 10000.0),
            margin=5000.0,
            frequency=(3.0, min(12.0, 0.14 * rate)),
            coda_level=(0.05, 0.4),
            coda_decay=(1.0, 5.0),
        ),
        noise=Noise(
            slope=(0.0, 2.5),
            low_cut=2.0,
            swell_level=(0.0, 0.0),
            spike_level=(0.0, 15.0),
            burst_level=(0.0, 5.0),
            burst_frequency=(3.0, 12.0),
            burst_duration=(0.2, 1.5),
            burst_traces=(1.0, 3.0),
        ),
        traces=Traces(gain=0.5, noise_level=0.5, static_random=0.05, static_smooth=0.05, static_length=2e4, dead=0.02),
        first_arrival=(0.02, 0.7),
        snr=(0.5, 30.0),
        noise_only=0.2,
        classes="phase",
    )


def parse(arg: str | None) -> tuple[ReceiverArray, float]:
    """Receivers and sampling rate of RECEIVERS.csv[,HZ]."""
    if arg is None:
        return ReceiverArray(
            kind="star", lines=4, stations=3, station_spacing=2700.0, depth=-800.0, relief=100.0
        ), 100.0
    path, _, rate = arg.partition(",")
    try:
        hertz = float(rate or 100)
    except ValueError:
        hertz = 0.0
    if not path or hertz <= 0:
        raise UserError(f"local_network: the argument '{arg}' is not RECEIVERS.csv[,HZ]; give e.g. receivers.csv,100")
    return ReceiverArray(file=path), hertz
