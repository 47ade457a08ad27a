"""Images per second of the training augmentation against timm's, as a Markdown table.

    python -m benchmarks.train.augmentation --images=FOLDER

From JPEG files to normalised batches of 224x224 pixels with the official recipe: decoding, random
resized crop, flip, RandAugment, normalisation, random erasing. Both sides run in this process on
one core, in turns; the numbers are medians over the turns, and seconds are of the processor's time,
which other programs on the machine do not stretch. timm's side is PyTorch's DataLoader
without workers over timm's own RandomResizedCropAndInterpolation, RandAugment and RandomErasing on
Pillow images; torchvision's ToTensor and Normalize between them are written out here, so that it
need not be installed. Takes about a minute.
"""

from __future__ import annotations

import os
import random
import statistics
import types
from collections.abc import Callable

from absl import flags

from benchmarks.support import options, results
from benchmarks.support.pictures import draw_bars
from converters.speed.turns import in_turns
from levit_common import cli
from levit_tf.pictures.picture_folders import scan_folders

BATCH = 50
_EPOCHS = 3  # in a turn


def ours(paths: list[str]) -> Callable[[], object]:
    """The pipeline of `training.augment`: a function that does an epoch of whole batches."""
    import tensorflow as tf

    from training.augment import AugmentationSettings, augment_encoded, example_seed

    # As on a machine of one core: more threads than that look for work, which takes time too.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    settings = AugmentationSettings()
    names = tf.constant(paths)

    def example(index):
        contents = tf.io.read_file(names[index % len(paths)])
        # The graph is built once, so that epochs are told apart by the index.
        return augment_encoded(contents, example_seed(0, 0, index), settings)

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    # Or it would work ahead while the other side has its turn.
    options.experimental_optimization.apply_default_optimizations = False
    batches = tf.data.Dataset.range(2**62).map(example).batch(BATCH).with_options(options)
    iterator = iter(batches)

    return lambda: [len(next(iterator)) for _ in range(len(paths) // BATCH)]


def timms(paths: list[str]) -> Callable[[], object]:
    """The same with timm's pieces."""
    import numpy as np
    import torch
    from PIL import Image

    from tests.support.training.timm_data import timm_data

    timm = timm_data()
    # The two functions of torchvision that timm's crop calls, as torchvision has them for Pillow.
    timm.transforms.F = types.SimpleNamespace(
        get_image_size=lambda image: list(image.size),
        resized_crop=lambda image, top, left, height, width, size, _: image.crop(
            (left, top, left + width, top + height)
        ).resize(size[::-1], Image.Resampling.BICUBIC),
    )
    crop = timm.transforms.RandomResizedCropAndInterpolation(224, interpolation="bicubic")
    operations = timm.auto_augment.rand_augment_transform(
        "rand-m9-mstd0.5-inc1",
        {"img_mean": (124, 116, 104), "interpolation": Image.Resampling.BICUBIC},
    )
    erase = timm.random_erasing.RandomErasing(0.25, mode="pixel", max_count=1, device="cpu")
    mean, std = (
        torch.tensor(values).view(3, 1, 1)
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    torch.set_num_threads(1)

    def augmented(image):
        try:
            return operations(image)
        except ValueError:  # posterize to 0 bits, which Pillow refuses from version 12
            return image

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return len(paths)

        def __getitem__(self, index):
            image = crop(Image.open(paths[index]).convert("RGB"))
            if random.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            pixels = torch.from_numpy(np.array(augmented(image))).permute(2, 0, 1).contiguous()
            return erase(pixels.float().div(255).sub_(mean).div_(std))

    loader = torch.utils.data.DataLoader(Pictures(), BATCH, shuffle=True, drop_last=True)

    return lambda: [len(batch) for batch in loader]


def main() -> None:
    args = flags.FLAGS
    ((pictures, _),) = scan_folders([args.images])
    paths = [picture.path for picture in pictures if picture.is_jpeg]
    if len(paths) < BATCH:
        raise ValueError(f"--images: expected at least {BATCH} JPEG files. Found: {len(paths)}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sides = {"levit_tf": ours(paths), "timm": timms(paths)}
    count = len(paths) // BATCH * BATCH
    times = in_turns(sides, args.turns, _EPOCHS)
    speeds = {name: [count / seconds for seconds in found.cpu] for name, found in times.items()}
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = [a / b for a, b in zip(*speeds.values(), strict=True)]
    rows = [(name, medians[name], min(found), max(found)) for name, found in speeds.items()]
    columns = ("pipeline", "images/s", "lowest", "highest")
    output = results.publish("augmentation", columns, rows, args.output)
    draw_bars(output / "augmentation.png", medians, "images/s")
    print(f"\nratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def define_flags() -> None:
    flags.DEFINE_string("images", None, "Folder with JPEG files, searched with its subfolders.")
    flags.DEFINE_integer("turns", 9, "Turns of each side.", lower_bound=1)
    flags.mark_flag_as_required("images")
    options.define_output()


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
