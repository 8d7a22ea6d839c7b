"""What the generator of faulted volumes draws from: every range with its unit and meaning.

Lengths are in samples: one trace along inlines and crosslines, one sample down. Angles are those of this grid. Axes: x
along the inline numbers, y along the crossline numbers, z down. The ranges are this project's own.
"""

from dataclasses import dataclass, field, replace

from seisjax.synthetic.checks import Counts, Range, check_ranges, require

HIGHEST = 2.5  # of a Ricker wavelet's spectrum, in peak frequencies

_MOST = 254  # a number that uint8 labels hold beside the ignore value


@dataclass(frozen=True)
class Faults:
    """Planes, slightly bent, along which one side has slipped; younger ones offset older ones."""

    count: Counts = (3, 8)  # faults of a volume
    families: int = 2  # directions in which faults strike
    strike: Range = (0.0, 360.0)  # of a family, degrees from x towards y; a fault dips to either side of it
    strike_spread: float = 15.0  # standard deviation of a fault's strike about its family's, degrees
    dip: Range = (55.0, 85.0)  # degrees from the horizontal
    slip: Range = (4.0, 30.0)  # largest slip of a fault, samples
    reverse: float = 0.25  # share of faults whose hanging wall moved up
    rake_spread: float = 12.0  # standard deviation of the slip's direction about straight down or up the dip, degrees
    through: float = 0.4  # share of faults that cut the whole volume with one slip; others lie within an ellipse
    half_length: Range = (0.6, 2.0)  # of an ellipse's axis along strike, in sides of the volume
    half_height: Range = (0.5, 1.5)  # of its axis down the dip, in heights of the volume
    bend: float = 0.2  # standard deviation of a fault's curvature, in 1 / side of the volume
    falloff: Range = (60.0, 240.0)  # distance from an ellipse over which slip falls to 1/e, samples
    least_slip: float = 1.0  # a fault is labelled where it slipped so far, samples

    def __post_init__(self):
        require(self.count[0] >= 0, "faults.count", self.count, "must not be negative")
        require(self.count[1] <= _MOST, "faults.count", self.count, f"must be at most {_MOST}, for uint8 holds them")
        require(self.families > 0, "faults.families", self.families, "must be positive")
        low, high = self.dip
        require(low > 0 and high <= 90, "faults.dip", self.dip, "must lie above 0 and at most at 90")
        require(self.slip[0] >= 0, "faults.slip", self.slip, "must not be negative; faults.reverse says how many rise")
        for name in ("half_length", "half_height", "falloff"):
            require(getattr(self, name)[0] > 0, f"faults.{name}", getattr(self, name), "must be positive")
        for name in ("reverse", "through"):
            require(0 <= getattr(self, name) <= 1, f"faults.{name}", getattr(self, name), "must lie between 0 and 1")
        for name in ("strike_spread", "rake_spread", "bend", "least_slip"):
            require(getattr(self, name) >= 0, f"faults.{name}", getattr(self, name), "must not be negative")


@dataclass(frozen=True)
class Folds:
    """A tilted plane and a sum of bell-shaped swells, which grow with depth.

    Swells are lowered where they would turn layers over.
    """

    tilt: Range = (-0.2, 0.2)  # slope along x and along y
    count: Counts = (2, 6)  # swells of a volume
    height: Range = (-14.0, 14.0)  # of a swell, samples; layers sink where it is positive
    width: Range = (0.12, 0.35)  # standard deviation of a swell, in sides of the volume
    growth: Range = (0.4, 1.5)  # factor of the heights at the volume's top and at its bottom

    def __post_init__(self):
        require(self.count[0] >= 0, "folds.count", self.count, "must not be negative")
        require(self.width[0] > 0, "folds.width", self.width, "must be positive")
        require(self.growth[0] >= 0, "folds.growth", self.growth, "must not be negative")


@dataclass(frozen=True)
class Layers:
    """Layers of random thickness and reflection; horizons part them into facies."""

    horizons: int = 5  # strong reflections that are tracked; facies are the intervals between them, one more
    thickness: Range = (1.6, 4.4)  # mean thickness of a facies' layers, samples
    least_thickness: float = 1.0  # samples
    contrast: Range = (0.5, 1.0)  # of a facies: what its reflection coefficients are multiplied by
    weak: float = 0.6  # share of the layers whose reflection is about a third of the others'

    def __post_init__(self):
        require(0 < self.horizons < _MOST, "layers.horizons", self.horizons, f"must lie between 1 and {_MOST - 1}")
        require(self.thickness[0] > 0, "layers.thickness", self.thickness, "must be positive")
        least = self.least_thickness
        require(least > 0, "layers.least_thickness", least, "must be positive")
        require(self.contrast[0] >= 0, "layers.contrast", self.contrast, "must not be negative")
        require(0 <= self.weak <= 1, "layers.weak", self.weak, "must lie between 0 and 1")


@dataclass(frozen=True)
class FaultedVolume:
    """A volume inlines x crosslines x samples of folded and faulted layers, as a migrated seismic survey shows them."""

    shape: tuple[int, int, int] = (128, 128, 128)  # inlines, crosslines, samples of a trace
    sampling_interval: float = 0.004  # s
    faults: Faults = field(default_factory=Faults)
    folds: Folds = field(default_factory=Folds)
    layers: Layers = field(default_factory=Layers)
    frequency: Range = (18.0, 38.0)  # peak of the Ricker wavelet, Hz
    snr: Range = (2.0, 6.0)  # rms of the signal over that of the noise, which has the wavelet's band
    noise_width: Range = (0.0, 1.0)  # standard deviation of the noise's smoothing along x and along y, traces

    def __post_init__(self):
        check_ranges(self)
        good = len(self.shape) == 3 and all(isinstance(side, int) and side > 1 for side in self.shape)
        require(good, "shape", self.shape, "write (inlines, crosslines, samples), each a whole number above 1")
        require(self.sampling_interval > 0, "sampling_interval", self.sampling_interval, "must be positive")
        nyquist = 0.5 / self.sampling_interval
        require(self.frequency[0] > 0, "frequency", self.frequency, "must be positive")
        require(
            self.frequency[1] * HIGHEST <= nyquist,
            "frequency",
            self.frequency,
            f"{HIGHEST:g} times it must lie below Nyquist ({nyquist:g} Hz); lower it or sampling_interval",
        )
        require(self.snr[0] > 0, "snr", self.snr, "must be positive")
        width = self.noise_width
        require(width[0] >= 0 and width[1] <= 2, "noise_width", width, "must lie between 0 and 2")
        apart = self.shape[2] / self.layers.horizons
        require(
            apart >= 8,
            "layers.horizons",
            self.layers.horizons,
            f"lie {apart:g} samples apart of {self.shape[2]}; each needs 8: ask for fewer, or for more samples",
        )

    @property
    def side(self) -> float:
        """The volume's mean horizontal side, traces."""
        return (self.shape[0] * self.shape[1]) ** 0.5


# Small enough for two CPU cores.
FAULTS_64 = FaultedVolume(
    shape=(64, 64, 64),
    faults=Faults(count=(2, 4), slip=(3.0, 16.0)),
    folds=Folds(height=(-8.0, 8.0)),
    layers=Layers(horizons=3),
)

FAULTS_128 = FaultedVolume()

# A survey of its own: faults of many sizes, of which most end inside it.
FAULTS_256 = FaultedVolume(
    shape=(256, 256, 256),
    faults=Faults(count=(10, 16), slip=(4.0, 40.0), through=0.2, half_length=(0.3, 1.0), half_height=(0.3, 1.0)),
    folds=Folds(count=(4, 10), height=(-24.0, 24.0)),
)

FAULT_PRESETS = {"faults_64": FAULTS_64, "faults_128": FAULTS_128, "faults_256": FAULTS_256}


def sized(shape: tuple[int, int, int]) -> FaultedVolume:
    """Parameters for volumes of another shape: as many faults and horizons as leave their shares about alike."""
    side, height = (shape[0] * shape[1]) ** 0.5, shape[2]
    least, most = (max(round(n * side / 128), 1) for n in FAULTS_128.faults.count)
    horizons = max(min(round(height / 32), 8), 1)
    faults = replace(FAULTS_128.faults, count=(least, min(most, _MOST)))
    return replace(FAULTS_128, shape=shape, faults=faults, layers=replace(FAULTS_128.layers, horizons=horizons))
