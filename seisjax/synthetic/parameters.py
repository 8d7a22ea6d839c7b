"""What the microseismic generator draws from: every range with its unit and meaning.

A `Range` (low, high) is drawn uniformly unless it says otherwise; (a, a) fixes a value. The ranges are this project's
own: wide enough to train on, close to a permanent seabed array. Axes: x north, y east, z down from the sea surface.
"""

from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

from seisjax.errors import nearest
from seisjax.synthetic.checks import Range, check_ranges, require

COMPONENTS = ("z", "n", "e", "hydrophone", "strain")  # "z" is up; "strain" is that along a fibre

CLASSES = {"event": ("noise", "event"), "phase": ("noise", "P", "S"), "onset": ("noise", "onset")}
ONSET_SCALE = 100  # of onset labels: the value that stands for a probability of 1

MODELS = ("gradient", "layered")
ARRAYS = ("cables", "das", "star")


class Wavelet(NamedTuple):
    """A kind of wavelet, in periods and multiples of its own frequency."""

    lag: float  # periods from the onset to the instant of the wavelet's phase 0: the peak of a symmetric one
    duration: float  # periods from the onset until it is over
    highest: float  # frequency that must lie below Nyquist
    end: float  # frequency above which nothing is computed


# A Brune wavelet's frequency is its corner; an Ormsby wavelet's corners are 0.25, 0.5, 1.4 and 2 times its frequency.
WAVELETS = {
    "ricker": Wavelet(0.9, 1.8, 2.5, 3.5),
    "ormsby": Wavelet(0.1, 2.6, 2.0, 2.0),
    "brune": Wavelet(0.25, 1.6, 3.5, 4.5),
}


@dataclass(frozen=True)
class ReceiverArray:
    """Seabed cables, a fibre, or a star on the surface, listed line by line; or receivers from a file."""

    file: str = ""  # CSV with columns x,y,z in m, and component, azimuth, name if need be; empty: the array below
    kind: str = "cables"  # "cables": side by side along y | "das": a fibre | "star": arms from a middle outwards
    lines: int = 26  # cables; arms of a star; straight legs of a fibre, each at right angles to the one before
    stations: int = 133  # stations of a cable or an arm; channels of a leg
    line_spacing: float = 300.0  # between cables, m
    station_spacing: float = 50.0  # along a line, m
    azimuth: float = 0.0  # of a fibre's first leg or a star's first arm, degrees from x towards y
    components: tuple[str, ...] = ("z",)  # what a station measures, one row each (COMPONENTS); a fibre: strain
    gauge_length: float = 10.0  # length over which a fibre's strain is averaged, m
    jitter: float = 5.0  # standard deviation of a station's place along its cable, m
    wander: float = 10.0  # amplitude of a cable's sideways bends, m
    depth: float = 130.0  # mean depth, m; negative above the sea surface
    relief: float = 2.0  # amplitude of the ground's swells, m
    seed: int = 0  # of jitter and wander: one array serves all panels of a volume

    def __post_init__(self):
        require(self.kind in ARRAYS, "array.kind", self.kind, f"unknown{nearest(self.kind, ARRAYS)}")
        for name in ("lines", "stations", "station_spacing"):
            require(getattr(self, name) > 0, f"array.{name}", getattr(self, name), "must be positive")
        require(self.gauge_length >= 0, "array.gauge_length", self.gauge_length, "must not be negative")
        known = bool(self.components) and set(self.components) <= set(COMPONENTS)
        require(known, "array.components", self.components, f"write a tuple of some of {', '.join(COMPONENTS)}")


@dataclass(frozen=True)
class Medium:
    """One wave's speed v(z) = speed + gradient * (z - mean receiver depth), and its attenuation.

    In a layered model this is the trend that layers depart from.
    """

    speed: Range  # at the receivers' mean depth, m/s
    gradient: Range  # increase with depth, 1/s
    quality: Range  # quality factor Q, constant over frequency and depth


@dataclass(frozen=True)
class Source:
    """Where events happen, and what they radiate."""

    depth: Range = (1500.0, 1900.0)  # m
    margin: float = 0.0  # epicentres lie up to so far outside the array's bounding box, m
    strike: Range = (0.0, 360.0)  # degrees from x towards y
    dip: Range = (20.0, 90.0)  # degrees
    rake: Range = (-180.0, 180.0)  # degrees
    isotropic: Range = (0.0, 0.0)  # share of the moment tensor that is explosion (> 0) or implosion (< 0)
    clvd: Range = (0.0, 0.0)  # share that is a vertical compensated linear vector dipole
    wavelets: tuple[str, ...] = tuple(WAVELETS)  # kinds of WAVELETS; each event draws one
    frequency: Range = (12.0, 35.0)  # of the wavelet: its peak, corner or middle, Hz
    coda_level: Range = (0.0, 0.0)  # rms of the scattered waves that follow an arrival, over its peak
    coda_decay: Range = (1.0, 4.0)  # s in which they fall to 1/e


@dataclass(frozen=True)
class Noise:
    """What an array records when nothing happens: the sum of all kinds whose level may exceed 0.

    Levels are in one unit, the rms of coloured noise at level 1. Bands are fixed, levels and speeds drawn per panel.
    """

    coloured_level: Range = (1.0, 1.0)  # rms of Gaussian noise of power f^-slope
    slope: Range = (0.0, 2.0)  # b of the power spectrum f^-b
    low_cut: float = 1.0  # below this the spectrum is flat and falls off towards 0, Hz; 0: it does not
    correlation_length: float = 0.0  # l of coloured noise's covariance exp(-distance / l), m; 0: traces independent

    swell_level: Range = (0.0, 0.7)  # rms of surface waves that cross the array from everywhere
    swell_band: Range = (1.5, 6.0)  # Hz
    swell_speed: Range = (380.0, 460.0)  # phase speed in the middle of the band, m/s
    swell_dispersion: float = 0.3  # n of the phase speed's f^-n
    swell_waves: int = 48  # plane waves

    water_level: Range = (0.0, 0.0)  # rms of waves through the water from about one side
    water_band: Range = (8.0, 30.0)  # Hz
    water_speed: Range = (1480.0, 1500.0)  # m/s
    water_spread: float = 15.0  # standard deviation of their directions about the common one, degrees
    water_waves: int = 6  # plane waves

    platform_level: Range = (0.0, 0.0)  # rms over the array of a platform's or vessel's tones, which fall off as 1/R
    platform_distance: Range = (500.0, 5000.0)  # from the array's middle, in any direction, m
    platform_speed: Range = (1480.0, 1500.0)  # of its waves, m/s
    platform_tone: Range = (6.0, 14.0)  # lowest tone (blade rate), Hz
    platform_harmonics: int = 4  # tones, at whole multiples of the lowest
    platform_modulation: float = 0.3  # depth of the tones' slow amplitude modulation
    platform_modulation_rate: Range = (0.1, 0.6)  # Hz

    interference_level: Range = (0.0, 0.0)  # peak of another survey's air-gun shots
    interference_share: float = 0.5  # share of panels that hold them
    interference_distance: Range = (8e3, 40e3)  # from the array's middle, m
    interference_speed: Range = (1480.0, 1700.0)  # across the array, m/s
    interference_frequency: Range = (10.0, 30.0)  # middle of the spectrum, Hz
    interference_width: Range = (0.3, 0.6)  # standard deviation of the spectrum in ln(f)
    interference_delay: Range = (0.05, 0.35)  # group delay of the middle frequency f_m, s: it goes as f_m / f

    spike_level: Range = (0.0, 0.0)  # size of single wrong samples
    spike_rate: float = 0.02  # of a trace, 1/s
    burst_level: Range = (0.0, 0.0)  # peak of wave trains on a few neighbouring traces
    bursts: int = 3  # in a panel
    burst_traces: Range = (1.0, 12.0)  # half width, traces
    burst_duration: Range = (0.1, 0.6)  # standard deviation of the Gaussian envelope, s
    burst_frequency: Range = (5.0, 35.0)  # Hz

    recording: str = ""  # URL or path of a volume (receiver, time) of noise, at the panels' sampling interval
    recording_level: Range = (1.0, 1.0)  # rms of an average receiver of it; receivers keep their relations
    recording_use: str = "cut"  # "cut": a stretch as it is | "covariance": Gaussian noise of its space-time covariance
    recording_rows: str = "same"  # "same": a receiver's noise is its own row | "drawn": any row at any time
    recording_cuts: int = 8  # stretches that a panel's covariance is taken from


@dataclass(frozen=True)
class Traces:
    """How receivers differ from one another."""

    gain: float = 0.2  # standard deviation of ln(gain), of signal and noise alike
    noise_level: float = 0.35  # standard deviation of ln(noise level)
    static_random: float = 0.004  # standard deviation of a receiver's own P delay, s; S is delayed twice as much
    static_smooth: float = 0.008  # amplitude of a P delay that varies slowly over the array, s
    static_length: float = 2600.0  # wavelength of the slow variation, m
    dead: float = 0.01  # share of receivers that record nothing
    bad: float = 0.0  # share of receivers with much white noise of their own
    bad_level: float = 8.0  # its rms over the noise's median rms; it does not enter the signal-to-noise ratio
    flipped: float = 0.0  # share of receivers of wrong polarity


@dataclass(frozen=True)
class Microseismic:
    """A panel: receivers x time, one event or none."""

    array: ReceiverArray = field(default_factory=ReceiverArray)
    num_samples: int = 4096  # samples of a trace
    sampling_interval: float = 0.002  # s
    p: Medium = Medium(speed=(1580.0, 1750.0), gradient=(0.30, 0.60), quality=(70.0, 150.0))
    s: Medium = Medium(speed=(200.0, 350.0), gradient=(0.35, 0.55), quality=(30.0, 80.0))
    phases: tuple[str, ...] = ("P", "S")  # waves that are computed; P comes first
    model: str = "gradient"  # speed against depth: "gradient" as p and s say | "layered": direct rays in flat layers
    layers: int = 24  # of a layered model, from the highest receiver to the deepest source, of random thickness
    layer_contrast: float = 0.05  # standard deviation of ln(speed / trend), alike for P and S, before smoothing over 3
    water_depth: float = 0.0  # of the shallowest sea floor, above which no receiver may lie, m; 0: there is no water
    source: Source = field(default_factory=Source)
    noise: Noise = field(default_factory=Noise)
    traces: Traces = field(default_factory=Traces)
    first_arrival: Range = (0.02, 0.35)  # when P reaches the first receiver, as a share of the panel's length
    snr: Range = (0.1, 3.0)  # median over receivers of max|P| over the median rms of the noise; drawn log-uniformly
    noise_only: float = 0.1  # share of panels without an event
    classes: str = "event"  # "event": noise, event | "phase": noise, P, S | "onset": 100 times a Gaussian at onsets
    onset_sigma: float = 0.02  # standard deviation of onset labels' Gaussian, s
    label_floor: float = 0.15  # an arrival whose peak is below so many rms of its trace's noise has no label
    clip: float = 10.0  # traces are divided by 1.4826 times their median absolute amplitude, then clipped to +-clip

    def __post_init__(self):
        check_ranges(self)
        positive = ("num_samples", "sampling_interval", "clip", "onset_sigma")
        for name in positive:
            require(getattr(self, name) > 0, name, getattr(self, name), "must be positive")
        require(self.snr[0] > 0, "snr", self.snr, "must be positive (noise_only sets the share without an event)")
        require(0 <= self.noise_only <= 1, "noise_only", self.noise_only, "must lie between 0 and 1")
        for name in ("dead", "bad", "flipped"):
            share = getattr(self.traces, name)
            require(0 <= share < 1, f"traces.{name}", share, "must lie between 0 and 1")
        require(self.phases in (("P",), ("P", "S")), "phases", self.phases, "write ('P',) or ('P', 'S')")
        require(self.classes in CLASSES, "classes", self.classes, f"unknown{nearest(self.classes, CLASSES)}")
        for name in ("p", "s"):
            medium = getattr(self, name)
            require(medium.speed[0] > 0, f"{name}.speed", medium.speed, "must be positive")
            require(medium.gradient[0] > 0, f"{name}.gradient", medium.gradient, "must be positive, e.g. 1e-3")
            require(medium.quality[0] > 0, f"{name}.quality", medium.quality, "must be positive")
        _check_event(self)
        _check_noise(self.noise, 0.5 / self.sampling_interval)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the label values 0, 1, ..."""
        return CLASSES[self.classes]

    @property
    def label_scale(self) -> int:
        """The label value that stands for a probability of 1, or 0 where labels are numbers of classes."""
        return ONSET_SCALE if self.classes == "onset" else 0


def _check_event(parameters: Microseismic) -> None:
    """The model is known, wavelets lie below Nyquist, and the event inside the panel."""
    box, interval = parameters.source, parameters.sampling_interval
    require(parameters.model in MODELS, "model", parameters.model, f"unknown{nearest(parameters.model, MODELS)}")
    require(parameters.layers > 0, "layers", parameters.layers, "must be positive")
    require(0 <= parameters.layer_contrast <= 0.2, "layer_contrast", parameters.layer_contrast, "must lie in 0 to 0.2")
    require(parameters.water_depth >= 0, "water_depth", parameters.water_depth, "must not be negative; 0 is land")
    known = bool(box.wavelets) and set(box.wavelets) <= set(WAVELETS)
    require(known, "source.wavelets", box.wavelets, f"write a tuple of some of {', '.join(WAVELETS)}")
    require(box.frequency[0] > 0, "source.frequency", box.frequency, "must be positive")
    for kind in box.wavelets:
        require(
            box.frequency[1] * WAVELETS[kind].highest <= 0.5 / interval,
            "source.frequency",
            box.frequency,
            f"a {kind} wavelet needs {WAVELETS[kind].highest:g} times its frequency below Nyquist "
            f"({0.5 / interval:g} Hz); lower it or sampling_interval, or leave {kind} out of source.wavelets",
        )
    length = parameters.num_samples * interval
    longest = max(WAVELETS[kind].duration for kind in box.wavelets) / box.frequency[0]
    first, last = parameters.first_arrival
    require(
        first >= 0 and last * length + longest <= length,
        "first_arrival",
        parameters.first_arrival,
        f"the event lies outside the panel of {length:g} s, in which a wavelet may last {longest:.3g} s; "
        f"stay between 0 and {max(1 - longest / length, 0):.2f}, or make panels longer",
    )


def _check_noise(noise: Noise, nyquist: float) -> None:
    """Levels and numbers are not negative, some kind is on, and its frequencies lie below Nyquist."""
    numbers = ("swell_waves", "water_waves", "platform_harmonics", "bursts", "recording_cuts")
    rates = ("low_cut", "correlation_length", "spike_rate", "platform_modulation", "interference_share")
    low = {name: getattr(noise, name) for name in numbers + rates}
    low |= {entry.name: getattr(noise, entry.name) for entry in fields(noise) if entry.name.endswith("_level")}
    for name, value in low.items():
        require((value[0] if isinstance(value, tuple) else value) >= 0, f"noise.{name}", value, "must not be negative")
    for name, known in (("recording_use", ("cut", "covariance")), ("recording_rows", ("same", "drawn"))):
        value = getattr(noise, name)
        require(value in known, f"noise.{name}", value, f"unknown; write one of {', '.join(known)}")
    always = (noise.coloured_level, noise.swell_level, noise.water_level, noise.platform_level)
    always += (noise.recording_level,) if noise.recording else ()
    on = any(level[1] > 0 for level in always)
    require(on, "noise.coloured_level", noise.coloured_level, "no noise at all; raise a level above 0")
    tones = noise.platform_tone[1] * noise.platform_harmonics + noise.platform_modulation_rate[1]
    for name, level, highest in (
        ("swell_band", noise.swell_level, noise.swell_band[1]),
        ("water_band", noise.water_level, noise.water_band[1]),
        ("platform_tone", noise.platform_level, tones),
        ("interference_frequency", noise.interference_level, noise.interference_frequency[1]),
        ("burst_frequency", noise.burst_level, noise.burst_frequency[1]),
    ):
        value = getattr(noise, name)
        holds = level[1] == 0 or highest < nyquist
        require(holds, f"noise.{name}", value, f"reaches Nyquist ({nyquist:g} Hz); lower it or sampling_interval")
        require(value[0] > 0, f"noise.{name}", value, "must be positive")
    for name, level in (("swell_band", noise.swell_level), ("water_band", noise.water_level)):
        low, high = getattr(noise, name)
        require(level[1] == 0 or low < high, f"noise.{name}", (low, high), "has no width; raise its upper end")
    speeds = ("swell_speed", "water_speed", "platform_speed", "interference_speed")
    for name in (*speeds, "interference_distance", "burst_duration"):
        require(getattr(noise, name)[0] > 0, f"noise.{name}", getattr(noise, name), "must be positive")


WHITE_NOISE = Noise(slope=(0.0, 0.0), low_cut=0.0, swell_level=(0.0, 0.0))

# All kinds: what a permanent seabed array records near a platform.
REALISTIC_NOISE = Noise(
    swell_level=(0.2, 1.0),
    water_level=(0.0, 0.5),
    platform_level=(0.0, 0.7),
    interference_level=(1.0, 4.0),
    spike_level=(5.0, 25.0),
    burst_level=(2.0, 6.0),
)
REALISTIC_TRACES = Traces(bad=0.008, flipped=0.002)

# A permanent seabed array over an oil field.
PRM = Microseismic(water_depth=128.0, noise=REALISTIC_NOISE, traces=REALISTIC_TRACES)

# Small enough for two CPU cores. A window of 2 s holds P alone: S arrives seconds later.
QUICKSTART = replace(
    PRM,
    array=ReceiverArray(lines=4, stations=32),
    num_samples=512,
    sampling_interval=0.004,
    phases=("P",),
    source=Source(wavelets=("ricker",)),
    noise=Noise(),
    traces=Traces(),
    first_arrival=(0.05, 0.6),
    snr=(1.0, 3.0),
)

# The paper's panel: the whole array, 3458 receivers, which readers pad to 4096.
MICROSEISMIC_4096 = PRM

# Eight neighbouring cables and 4 s, in which S reaches the nearer receivers.
MICROSEISMIC_1024 = replace(
    PRM,
    array=ReceiverArray(lines=8, stations=128),
    num_samples=1024,
    sampling_interval=0.004,
    first_arrival=(0.02, 0.4),
)

# For two CPU cores: eight shorter cables and 2 s, which hold P alone.
MICROSEISMIC_SMALL = replace(
    PRM,
    array=ReceiverArray(lines=8, stations=64),
    num_samples=512,
    sampling_interval=0.004,
    phases=("P",),
    first_arrival=(0.05, 0.45),
)

_LAND = replace(
    PRM,
    water_depth=0.0,
    num_samples=1024,
    sampling_interval=0.004,
    p=Medium(speed=(1800.0, 2600.0), gradient=(0.4, 0.8), quality=(60.0, 150.0)),
    s=Medium(speed=(700.0, 1200.0), gradient=(0.3, 0.5), quality=(30.0, 80.0)),
    noise=replace(
        REALISTIC_NOISE, water_level=(0.0, 0.0), interference_level=(0.0, 0.0), platform_speed=(400.0, 1500.0)
    ),
    first_arrival=(0.02, 0.4),
)

# A fibre in an L-shaped trench, 10 m from channel to channel.
DAS = replace(
    _LAND,
    array=ReceiverArray(kind="das", lines=2, stations=512, station_spacing=10.0, depth=1.0, relief=0.0),
)

# Eight arms of vertical geophones on a hill, around a well.
STAR = replace(
    _LAND, array=ReceiverArray(kind="star", lines=8, stations=64, station_spacing=30.0, depth=-300.0, relief=20.0)
)

PRESETS = {
    "prm": PRM,
    "quickstart": QUICKSTART,
    "microseismic_small": MICROSEISMIC_SMALL,
    "microseismic_1024": MICROSEISMIC_1024,
    "microseismic_4096": MICROSEISMIC_4096,
    "das": DAS,
    "star": STAR,
}
