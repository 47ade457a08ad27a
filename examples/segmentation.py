"""Trains a small segmenter on LeViT's feature pyramid, from a folder of pictures and masks.

    python -m examples.segmentation --output=DIR [--pictures=600] [--epochs=15]

It first makes the folder: handwritten digits on parts of two photographs, all from scikit-learn, in
`train/` and `test/`, each with `images/NAME.png` and `masks/NAME.png`, whose pixels are 1 for a
digit and 0 elsewhere. `test/` has other digits and other parts of the photographs than `train/`.
Then a decoder on the maps P2 to P5 of the network that comes with the package is trained to
classify every pixel. It prints the intersection over union of each class on `test/`, and draws
pictures, masks and predictions in `masks.png`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from absl import flags

from examples.photographs import sample_photographs
from levit_common import cli

SIDE = 80  # pixels
CLASSES = ("background", "digit")
CHANNELS = 64
LEVELS = ("P2", "P3", "P4", "P5")
TEST_PICTURES, SHOWN = 150, 8


def main() -> None:
    import keras

    from levit_common.markdown import markdown_table

    args = flags.FLAGS
    folder = Path(args.output)
    rng = np.random.default_rng(0)
    for part, count in (("train", args.pictures), ("test", TEST_PICTURES)):
        make_folder(folder / part, count, part, rng)
    keras.utils.set_random_seed(0)
    model = segmenter()
    train = read_folder(folder / "train")
    steps = len(train[0]) // 16 * args.epochs
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, alpha=0.01, warmup_target=2e-3, warmup_steps=steps // 10
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.01), loss)
    model.fit(*train, batch_size=16, epochs=args.epochs, verbose=2)
    model.save(folder / "segmenter.keras")
    pictures, masks = read_folder(folder / "test")
    found = model.predict(pictures, verbose=0).argmax(axis=-1)
    shares = intersection_over_union(found, masks)
    rows = [("class", "IoU, %")]
    rows += [(name, f"{100 * share:.1f}") for name, share in zip(CLASSES, shares, strict=True)]
    print(markdown_table([*rows, ("mean", f"{100 * shares.mean():.1f}")], right=(1,)))
    draw(pictures[:SHOWN], masks[:SHOWN], found[:SHOWN], folder / "masks.png")
    print(f"drawn: {folder / 'masks.png'}")


def segmenter():
    """Builds a model from pixels (batch, SIDE, SIDE, 3) to logits (batch, SIDE, SIDE, classes)."""
    import keras

    import levit_tf

    pyramid = levit_tf.backbone(levit_tf.LeViTMini(), LEVELS)
    pixels = keras.Input((SIDE, SIDE, 3), name="images")
    maps = pyramid(levit_tf.preprocess_input(pixels))
    x = None
    for level in reversed(LEVELS):  # from the coarsest to the finest
        here = keras.layers.Conv2D(CHANNELS, 1, name=f"lateral_{level}")(maps[level])
        if x is not None:
            x = keras.layers.Resizing(*here.shape[1:3], name=f"up_{level}")(x)
            here = keras.layers.Add(name=f"join_{level}")([here, x])
        x = keras.layers.Conv2D(CHANNELS, 3, padding="same", name=f"smooth_{level}")(here)
        x = keras.layers.BatchNormalization(name=f"norm_{level}")(x)
        x = keras.layers.Activation("hard_silu", name=f"act_{level}")(x)
    x = keras.layers.Conv2D(len(CLASSES), 1, name="classes")(x)
    return keras.Model(pixels, keras.layers.Resizing(SIDE, SIDE, name="logits")(x))


def make_folder(folder: Path, count: int, part: str, rng: np.random.Generator) -> None:
    """Writes pictures and masks.

    Args:
      folder: folder to write to; it is created. Pictures of an earlier call are removed.
      count: number of pictures.
      part: "train" or "test".
      rng: random generator for the pictures.
    """
    from PIL import Image

    from levit_tf.pictures import digits

    (train, _), (test, _) = digits.load_data()
    images = train if part == "train" else test
    photographs = [Image.open(path) for path in sample_photographs()]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for path in (folder / name).glob("*.png"):
            if path.stem.isdigit():  # of a call before, which may have written more
                path.unlink()
    for number in range(count):
        photograph = photographs[number % 2]
        wide, high = photograph.size
        side = int(rng.integers(SIDE, 160))
        # The left two thirds of a photograph are for training.
        low, end = (0, 2 * wide // 3) if part == "train" else (2 * wide // 3, wide)
        left, top = int(rng.integers(low, end - side + 1)), int(rng.integers(0, high - side + 1))
        picture = photograph.resize((SIDE, SIDE), box=(left, top, left + side, top + side))
        mask = Image.new("L", (SIDE, SIDE))
        for _ in range(int(rng.integers(1, 4))):
            digit = images[rng.integers(len(images))]
            size = int(rng.integers(24, 41))
            grey = Image.fromarray(np.asarray(digit, np.uint8)).convert("L")
            shape = grey.resize((size, size)).point(lambda value: 255 if value > 100 else 0)
            place = tuple(int(n) for n in rng.integers(0, SIDE - size + 1, 2))
            colour = tuple(int(n) for n in rng.integers(0, 256, 3))
            picture.paste(colour, place, shape)
            mask.paste(1, place, shape)
        picture.save(folder / "images" / f"{number:04}.png")
        mask.save(folder / "masks" / f"{number:04}.png")


def read_folder(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads pictures, float32 (n, SIDE, SIDE, 3), and masks, uint8 (n, SIDE, SIDE)."""
    from levit_lite.images import load_image

    pictures, masks = [], []
    for path in sorted((folder / "images").glob("*.png")):
        pictures.append(load_image(path))
        masks.append(load_image(folder / "masks" / path.name)[..., 0])
    return np.stack(pictures).astype(np.float32), np.stack(masks)


def intersection_over_union(found: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Computes the IoU of each class, (classes,), over all pictures together."""
    count = len(CLASSES)
    pairs = np.bincount(found.ravel() * count + masks.ravel(), minlength=count**2)
    table = pairs.reshape(count, count)  # (found, mask)
    both = np.diag(table)
    return both / (table.sum(axis=0) + table.sum(axis=1) - both)


def draw(pictures, masks, found, path: Path) -> None:
    """Draws pictures, and below them the masks and the predictions."""
    from PIL import Image

    colours = np.array([(30, 30, 30), (255, 200, 0)], np.uint8)
    rows = [pictures.astype(np.uint8), colours[masks], colours[found]]
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    Image.fromarray(sheet).resize((2 * sheet.shape[1], 2 * sheet.shape[0]), 0).save(path)


def define_flags() -> None:
    flags.DEFINE_string("output", None, "Folder for all files.")
    flags.DEFINE_integer("pictures", 600, "Number of pictures to train on.", lower_bound=16)
    flags.DEFINE_integer("epochs", 15, "Passes over the training pictures.", lower_bound=1)
    flags.mark_flag_as_required("output")


COMMAND = cli.Command(main, define_flags)

if __name__ == "__main__":
    COMMAND.run()
