"""Sound: files to samples, one rate for all, log-mel frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..core.errors import InputError, require
from .raw import reason

SUFFIXES = (".wav", ".flac", ".ogg")
MELS = 40
HIGHEST = 16_000  # Hz: sampling rates above are brought down to it


def read_audio(path: Path) -> tuple[np.ndarray, int]:
    """(samples (T,) float32 in [-1, 1], the mean of its channels; rate in Hz)."""
    sf = require("soundfile", "choose")
    try:
        samples, rate = sf.read(path, dtype="float32", always_2d=True)
    except (sf.SoundFileError, OSError, RuntimeError, ValueError) as fault:
        raise InputError(f"{path}: cannot be read as sound ({reason(fault).replace(str(path), path.name)})") from None
    if not len(samples):
        raise InputError(f"{path}: holds no samples")
    if not np.isfinite(samples).all():
        raise InputError(f"{path}: sample {int(np.argmin(np.isfinite(samples).all(1)))} is not a finite number")
    if rate < 1000:
        raise InputError(f"{path}: is sampled at {rate} Hz; sound needs at least 1,000 Hz")
    return samples.mean(1), int(rate)


def resample(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    """The same sound at another rate: its spectrum cut or padded with zeros, exact below both Nyquist limits."""
    if rate == to:
        return samples
    n = max(1, round(len(samples) * to / rate))
    spectrum = torch.fft.rfft(torch.from_numpy(np.asarray(samples, np.float64)))
    kept = spectrum.new_zeros(n // 2 + 1)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    return (torch.fft.irfft(kept, n) * (n / len(samples))).numpy().astype(np.float32)


def log_mel(samples: np.ndarray, rate: int) -> np.ndarray:
    """log(1e-6 + M |STFT|^2), (frames, 40): Hann windows of 25 ms every 10 ms, triangular filters even in mel.

    mel(f) = 2595 log10(1 + f / 700). Source: Davis and Mermelstein 1980, parametric representations of speech.
    """
    x = torch.from_numpy(np.asarray(samples, np.float32))
    window, hop = round(0.025 * rate), round(0.010 * rate)
    size = 1 << (window - 1).bit_length()
    x = torch.nn.functional.pad(x, (0, max(0, window - len(x))))
    frames = x.unfold(0, window, hop) * torch.hann_window(window)
    power = torch.fft.rfft(frames, size).abs().square()  # (frames, size // 2 + 1)
    return torch.log(power @ _filters(rate, size) + 1e-6).numpy()


def _filters(rate: int, size: int) -> torch.Tensor:
    """(size // 2 + 1, 40) triangles whose corners are evenly spaced in mel from 0 to rate / 2."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corner = 700 * (10 ** (np.linspace(0, top, MELS + 2) / 2595) - 1)
    f = np.linspace(0, rate / 2, size // 2 + 1)[:, None]
    rise = (f - corner[:-2]) / (corner[1:-1] - corner[:-2])
    fall = (corner[2:] - f) / (corner[2:] - corner[1:-1])
    return torch.from_numpy(np.clip(np.minimum(rise, fall), 0, None).astype(np.float32))
