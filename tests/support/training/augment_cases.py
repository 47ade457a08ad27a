"""What the tests of the augmentation share."""

from __future__ import annotations

import numpy as np

# Wide, tall and not a multiple of anything.
SIZES = ((224, 224), (37, 61), (50, 33))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8 with what photographs have: gradients, edges, flat parts, noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(6 * x * k + 4 * y / k + seed) for k in (1, 2, 3)]
    image = 120 + 90 * np.stack(waves, axis=-1)
    image[height // 4 : height // 2, width // 3 : width // 2] = rng.integers(0, 256, 3)
    image[: height // 5] += rng.normal(0, 25, (height // 5, width, 3))
    image[-height // 6 :, : width // 2] = 255 * rng.integers(0, 2, (1, width // 2, 1))
    return image.clip(0, 255).astype(np.uint8)
