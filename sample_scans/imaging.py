"""The scanner: blur, noise, the table under the patient, and the circle outside of which nothing is reconstructed.

Noise is white noise filtered to the power spectrum of filtered back-projection with a soft kernel, a ramp times a
roll-off, which peaks near 0.2 per mm (Solomon et al. 2012, Med Phys 39:6048); neighbouring slices share a little
of it. Its deviation grows towards the centre of the body, where the rays have lost most photons.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from sample_scans.frame import FIELD_OF_VIEW_MM, Frame
from sample_scans.hounsfield import hu

PSF_SIGMA_MM = 0.52
NOISE_HU = 11.0
ROLL_OFF_PER_MM = 0.30


def blur(volume: NDArray[np.float32], frame: Frame) -> None:
    """The point spread of the scanner in the plane, in place; slice averaging is done when painting."""
    sigma = PSF_SIGMA_MM / frame.pixel_mm
    if sigma > 0.25:
        for plane in volume:
            ndimage.gaussian_filter(plane, sigma, output=plane, truncate=3.0)


def add_noise(
    volume: NDArray[np.float32], frame: Frame, skin: NDArray[np.float32], rng: np.random.Generator
) -> None:
    """Add correlated noise of about NOISE_HU in the liver, in place."""
    size = frame.size
    fx, fy = fft.rfftfreq(size, frame.pixel_mm), fft.fftfreq(size, frame.pixel_mm)
    radial = np.hypot(fx[None, :], fy[:, None])
    amplitude = np.sqrt(radial * np.exp(-((radial / ROLL_OFF_PER_MM) ** 2)) + 2e-3).astype(np.float32)
    grid = np.linspace(-0.5 * FIELD_OF_VIEW_MM, 0.5 * FIELD_OF_VIEW_MM, size, dtype=np.float32)
    centre = np.exp(-(np.square(grid[None, :] / 150.0) + np.square(grid[:, None] / 120.0)))
    profile = (0.70 + 0.42 * centre).astype(np.float32)
    last = np.zeros((size, size), dtype=np.float32)
    for k in range(frame.slices):
        white = rng.standard_normal((size, size), dtype=np.float32)
        pattern = fft.irfft2(fft.rfft2(white) * amplitude, s=(size, size)).astype(np.float32)
        pattern /= pattern.std()
        depth = np.float32(np.clip(0.85 + 0.15 * (-skin[k].min() / 105.0), 0.7, 1.15))
        volume[k] += np.float32(NOISE_HU) * depth * profile * (0.96 * pattern + 0.28 * last)
        last = pattern


def table_fields(frame: Frame, posterior_mm: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fields of the table's shell and of the foam in it, in world coordinates: a shallow trough 46 cm wide."""
    x, y = frame.x[None, :], frame.y[:, None]
    top = posterior_mm + 5.0 - 0.00062 * np.square(x) + 0.0 * y
    bottom = posterior_mm + 27.0 - 0.00105 * np.square(x)
    body = np.maximum(top - y, y - bottom)
    body = np.maximum(body, np.abs(x) - 215.0)
    plate = np.broadcast_to(body.astype(np.float32), frame.shape)
    return np.ascontiguousarray(plate), np.ascontiguousarray(plate + np.float32(2.4))


def finish(volume: NDArray[np.float32], frame: Frame) -> NDArray[np.int16]:
    """Whole HU clipped to 12 bits, with padding outside the reconstruction circle."""
    out = np.clip(np.rint(volume), -1024, 3071).astype(np.int16)
    grid = np.arange(frame.size) - 0.5 * (frame.size - 1)
    outside = np.hypot(grid[None, :], grid[:, None]) > 0.5 * frame.size
    out[:, outside] = np.int16(hu("padding"))
    return out
