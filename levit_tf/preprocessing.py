"""The evaluation protocol: how a photograph becomes the network's input.

The shorter side is resized to 256 pixels, bicubic with antialiasing, and the centre is cropped to
224; then ImageNet's mean is subtracted and the result divided by its standard deviation. This
module is the only definition of the protocol. It runs eagerly on every Keras backend and, on the
TensorFlow backend, also inside `tf.data` and in a serving graph, where height and width of the
picture are not known in advance.

Source: `build_transform` in datasets.py of facebookresearch/LeViT (is_train=False), whose pieces
are torchvision's Resize, CenterCrop, ToTensor and Normalize on Pillow images.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from levit_lite.cropping import cover
from levit_tf.resizing import resize_part

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # red, green, blue, for pixels in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class InputRange:
    """The range of a network's input values: (pixels / 255 - mean) / std, for RGB pixels 0..255.

    Attributes:
      mean: means, one per channel or one for all channels.
      std: standard deviations, one per channel or one for all channels.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or not all(s > 0 for s in self.std):
            raise ValueError(
                "An input range has as many means as standard deviations, which are positive. "
                f"Received: mean={self.mean}, std={self.std}"
            )

    def __str__(self) -> str:
        known = next((name for name, value in INPUT_RANGES.items() if value == self), None)
        numbers = (",".join(f"{n:g}" for n in values) for values in (self.mean, self.std))
        return known or "mean {} and std {} of pixels in 0..1".format(*numbers)

    def of_channels(self, channels: int) -> InputRange:
        """Returns this range with a mean and a standard deviation for each of `channels` channels.

        One channel is normalised by the averages, as in `preprocess_input`.

        Raises:
          ValueError: the range has values for another number of channels.
        """
        if len(self.mean) == channels:
            return self
        if channels == 1:
            return InputRange((float(np.mean(self.mean)),), (float(np.mean(self.std)),))
        if len(set(self.mean)) == len(set(self.std)) == 1:
            return InputRange(self.mean[:1] * channels, self.std[:1] * channels)
        raise ValueError(
            f"The input range has {len(self.mean)} means and standard deviations, and the network "
            f"takes {channels} channels: levit_tf.with_properties(model, input_range=levit_tf."
            "InputRange(mean, std)) notes one of each for every channel."
        )

    def of_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Converts pixels (..., channels), 0..255 of any type, to float32 input of the network."""
        x = np.asarray(pixels).astype(np.float32)
        if self == INPUT_RANGES["pixels"].of_channels(len(self.mean)):
            return x
        here = self.of_channels(x.shape[-1])
        return (x / 255 - np.float32(here.mean)) / np.float32(here.std)


INPUT_RANGES = {
    "pixels": InputRange((0.0,) * 3, (1 / 255,) * 3),  # 0..255
    "unit": InputRange((0.0,) * 3, (1.0,) * 3),  # 0..1
    "symmetric": InputRange((0.5,) * 3, (0.5,) * 3),  # -1..1
    "normalized": InputRange(IMAGENET_MEAN, IMAGENET_STD),  # as preprocess_input does
}


def input_range_named(name: str) -> InputRange:
    """Returns the input range of this name.

    Raises:
      ValueError: the name is not in `INPUT_RANGES`.
    """
    if name not in INPUT_RANGES:
        raise ValueError(
            f"Unknown input range {name!r}. Known: {', '.join(INPUT_RANGES)}: RGB 0..255, 0..1, "
            "-1..1, and normalised by ImageNet's mean and standard deviation."
        )
    return INPUT_RANGES[name]


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Normalises pixels: the `preprocess_input` of keras.applications for LeViT.

    Args:
      x: RGB values 0..255, of any integer or floating type: one image (height, width, channels) or
        a batch of images with a leading axis; a numpy array or a tensor. It is not modified.
        A single channel (greyscale) is normalised by the average of the three means and of the
        three standard deviations.
      data_format: position of the channels in `x`, "channels_last" or "channels_first"; by default
        `keras.config.image_data_format()`.

    Returns:
      float32 of the shape of `x`, (x / 255 - mean) / std. A numpy array for a numpy array, a
      TensorFlow tensor for a TensorFlow tensor (as in `tf.data` on every backend), else a tensor of
      the backend.

    Raises:
      ValueError: `x` has another rank, or neither 3 nor 1 channels; unknown `data_format`.
    """
    data_format = data_format or keras.config.image_data_format()
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            'data_format must be "channels_last" or "channels_first". '
            f"Received: data_format={data_format!r}"
        )
    if not hasattr(x, "shape"):
        x = np.asarray(x)
    shape = tuple(x.shape)
    channel_axis = -1 if data_format == "channels_last" else -3
    if len(shape) not in (3, 4) or shape[channel_axis] not in (1, 3):
        raise ValueError(
            "preprocess_input takes one image (height, width, channels) or a batch of them, with 3 "
            f"channels or 1. Received: shape {shape} with data_format={data_format!r}"
        )
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
    if shape[channel_axis] == 1:
        mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
    if channel_axis == -3:
        mean, std = mean[:, None, None], std[:, None, None]  # (channels,) -> (channels, 1, 1)
    if isinstance(x, np.ndarray):
        return (x.astype(np.float32) / 255 - mean) / std
    if type(x).__module__.startswith("tensorflow."):
        import tensorflow as tf  # already loaded, since `x` is a TensorFlow tensor

        return (tf.cast(x, tf.float32) / 255 - mean) / std
    mean, std = ops.convert_to_tensor(mean), ops.convert_to_tensor(std)
    return (ops.cast(x, "float32") / 255 - mean) / std


def denormalize(x: Any) -> Any:
    """Inverts `preprocess_input` for three channels in the last axis.

    Args:
      x: normalised pixels (..., 3), a numpy array or a tensor.

    Returns:
      float32 of the shape and kind of `x`: pixels 0..255, not clipped.
    """
    if not isinstance(x, np.ndarray):
        x = ops.cast(x, "float32")
    return (x * np.float32(IMAGENET_STD) + np.float32(IMAGENET_MEAN)) * 255


def resize_and_center_crop(image: Any, size: tuple[int, int]) -> Any:
    """Resizes an image to cover 256/224 of `size`, keeping its aspect ratio, and crops the centre.

    The result equals that of torchvision with Pillow, except for Pillow's fixed-point arithmetic:
    about one value in 5,000 differs by 1 grey level, very rarely by 2. For a square size this is
    Resize(int(size * 256 / 224), bicubic) of the shorter side and CenterCrop(size).
    For sizes up to 32x32 there is no margin: the image just covers `size`.

    Only the cropped part is computed, so that a picture of extreme aspect ratio costs no memory.

    Args:
      image: (height, width, channels), values 0..255 of any integer or floating type; a numpy array
        or a tensor; in a TensorFlow graph, height and width may still be unknown.
      size: (height, width) of the result, pixels.

    Returns:
      float32 of shape (*size, channels): whole numbers 0..255. A numpy array if `image` is one,
      else a tensor of the backend.

    Raises:
      ValueError: `image` is not one image, has no pixels, or `size` is not two positive integers.
    """
    shape = tuple(image.shape)
    if len(shape) != 3 or 0 in shape:
        raise ValueError(
            "resize_and_center_crop takes one image of shape (height, width, channels) with at "
            f"least one pixel; resize images one by one, then stack them. Received: shape {shape}"
        )
    if len(size) != 2 or any(int(side) != side or side < 1 for side in size):
        raise ValueError(f"size must be (height, width), positive integers. Received: {size!r}")
    height, width = ops.shape(image)[:2]
    cover_height, cover_width = cover(*size)
    # Integers, because float32 would round. The side with the larger scale factor is fitted; the
    # other side follows from it, truncated as in torchvision.
    fit_height = cover_height * width >= cover_width * height
    resized_height = _where(fit_height, cover_height, cover_width * height // width)
    resized_width = _where(fit_height, cover_height * width // height, cover_width)
    resized = (resized_height, resized_width)
    starts = [_middle_of(*sides) for sides in zip(resized, size, strict=True)]
    return resize_part(image, resized, starts, size)


def _where(condition: Any, x: Any, y: Any) -> Any:
    return (x if condition else y) if isinstance(condition, bool) else ops.where(condition, x, y)


def _middle_of(resized: Any, cropped: int) -> Any:
    """Start of the centre crop: round((resized - cropped) / 2), half to even (as torchvision)."""
    excess = resized - cropped
    half = excess // 2
    return half + excess % 2 * (half % 2)
