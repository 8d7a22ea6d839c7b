"""Coherence sees what cuts layers, and nothing else."""

import numpy as np
import pytest

from seisjax.interpretation.coherence import CoherenceWindow, coherence


def layers(shape=(9, 8, 64), dip=(0.6, -0.75), step=0.0):
    """Plane layers with these dips, samples a trace; from inline 5 on they lie `step` samples deeper."""
    x, y, z = np.meshgrid(*(np.arange(side, dtype=np.float64) for side in shape), indexing="ij")
    time = z - dip[0] * x - dip[1] * y - step * (x >= 5)
    return np.sin(2 * np.pi * time / 9) + 0.5 * np.sin(2 * np.pi * time / 14.3 + 1)


INSIDE = np.s_[:, :, 10:-10]  # of what a trace's ends disturb


def test_dipping_layers_are_coherent():
    values = coherence(layers(), CoherenceWindow())
    assert values.dtype == np.float32
    assert values.shape == (9, 8, 64)
    assert values[INSIDE].min() > 0.99
    assert values.max() <= 1


def test_without_a_scan_of_dips_they_are_not():
    assert np.median(coherence(layers(), CoherenceWindow(steepest=0.0))[INSIDE]) < 0.9


def test_it_drops_where_a_fault_cuts_layers_and_nowhere_else():
    values = coherence(layers(step=4.5), CoherenceWindow())[INSIDE]
    assert np.median(values[4:6]) < 0.75  # 3 x 3 traces around a trace beside the fault lie on both sides of it
    assert values[:4].min() > 0.98
    assert values[6:].min() > 0.98


def test_noise_is_incoherent():
    noise = np.random.default_rng(0).normal(size=(9, 8, 64))
    assert np.median(coherence(noise, CoherenceWindow(samples=8))) < 0.5


@pytest.mark.parametrize("factor", [1e-4, 1e6])
def test_units_do_not_matter(factor):
    amplitude = layers(step=4.5)
    expected = coherence(amplitude, CoherenceWindow())
    np.testing.assert_allclose(coherence(amplitude * factor, CoherenceWindow()), expected, atol=1e-3)


def test_dead_traces_enter_nothing():
    amplitude = layers()
    amplitude[4, 4] = np.nan
    values = coherence(amplitude, CoherenceWindow())
    assert np.isfinite(values).all()
    assert values[INSIDE].min() > 0.99


def test_what_holds_nothing_is_coherent():
    assert (coherence(np.zeros((3, 3, 20)), CoherenceWindow()) == 1).all()


def test_a_section_is_scanned_along_its_own_direction():
    section = layers((16, 1, 64), step=4.5)
    values = coherence(section, CoherenceWindow())[INSIDE]
    assert np.median(values[4:6]) < 0.75
    assert values[8:].min() > 0.98
