"""Trains a small segmenter on LeViT's feature pyramid, from a folder of pictures and masks.

    python -m examples.segmentation --output=DIR [--pictures=600] [--epochs=15]
    python -m examples.segmentation --output=DIR --data=FOLDER [--epochs=15]

FOLDER has `train/` and `test/`, each with `images/` and `masks/`. The mask of NAME.jpg is NAME.png,
grey or with a palette, whose pixels are the numbers of classes, from 0. Without --data, such a
folder is made in DIR: handwritten digits on parts of two photographs, all from scikit-learn; pixels
are 1 for a digit and 0 elsewhere. `test/` has other digits and other parts of the photographs than
`train/`.

A decoder on the maps P2 to P5 of the network that comes with the package is trained to classify
every pixel of pictures of 80x80. It prints the intersection over union of each class on `test/`,
and draws pictures, masks and predictions in `masks.png`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from absl import flags

from examples.photographs import sample_photographs
from levit_common import cli

SIDE = 80  # pixels
DIGITS = ("background", "digit")
CHANNELS = 64
LEVELS = ("P2", "P3", "P4", "P5")
TEST_PICTURES, SHOWN = 150, 8
LAYOUT = "Expected train/ and test/, each with images/ and, under the same names, masks/*.png."
# In a folder that this example made, whose pictures it may replace.
MARK = "made-by-examples-segmentation"


def main() -> None:
    import keras

    from levit_common.markdown import markdown_table

    args = flags.FLAGS
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    data = Path(args.data) if args.data else folder
    if not args.data:
        rng = np.random.default_rng(0)
        for part, count in (("train", args.pictures), ("test", TEST_PICTURES)):
            make_folder(folder / part, count, part, rng)
    *train, count = read_folder(data / "train")
    names = [f"class {number}" for number in range(count)] if args.data else DIGITS
    pictures, masks, _ = read_folder(data / "test", count)
    keras.utils.set_random_seed(0)
    model = segmenter(count)
    steps = max(1, len(train[0]) // 16) * args.epochs
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, alpha=0.01, warmup_target=2e-3, warmup_steps=max(1, steps // 10)
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.01), loss)
    model.fit(*train, batch_size=16, epochs=args.epochs, verbose=2)
    model.save(folder / "segmenter.keras")
    found = model.predict(pictures, verbose=0).argmax(axis=-1)
    shares = intersection_over_union(found, masks, count)
    rows = [*zip(names, shares, strict=True), ("mean", np.nanmean(shares))]
    cells = [(name, "-" if np.isnan(share) else f"{100 * share:.1f}") for name, share in rows]
    print(markdown_table([("class", "IoU, %"), *cells], right=(1,)))
    draw(pictures[:SHOWN], masks[:SHOWN], found[:SHOWN], folder / "masks.png")
    print(f"drawn: {folder / 'masks.png'}")


def segmenter(classes: int):
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
    x = keras.layers.Conv2D(classes, 1, name="classes")(x)
    return keras.Model(pixels, keras.layers.Resizing(SIDE, SIDE, name="logits")(x))


def make_folder(folder: Path, count: int, part: str, rng: np.random.Generator) -> None:
    """Writes pictures and masks.

    Args:
      folder: folder to write to; it is created. Pictures of an earlier call are replaced.
      count: number of pictures.
      part: "train" or "test".
      rng: random generator for the pictures.

    Raises:
      FileExistsError: the folder has pictures of something else.
    """
    from PIL import Image

    from levit_tf.pictures import digits

    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise FileExistsError(
            f"{folder}: made by an earlier version of this example or not by it. Remove it, choose "
            f"another --output, or train on what it has with --data={folder.parent}."
        )
    (train, _), (test, _) = digits.load_data()
    images = train if part == "train" else test
    photographs = [Image.open(path) for path in sample_photographs()]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / MARK).touch()
        for path in (folder / name).glob("[0-9]*.png"):
            path.unlink()  # of a call before, which may have written more
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


def read_folder(folder: Path, classes: int | None = None) -> tuple[np.ndarray, np.ndarray, int]:
    """Reads pictures and masks.

    Args:
      folder: with `images/` and `masks/`.
      classes: their number; None if the masks say it, whose values then are 0, 1, 2 and so on.

    Returns:
      Pictures, float32 (n, SIDE, SIDE, 3), masks, uint8 (n, SIDE, SIDE), and the number of classes.

    Raises:
      FileNotFoundError: there is no such folder, or no mask of a picture.
      ValueError: there are no pictures, a mask does not fit, or the classes have a gap.
    """
    from PIL import Image

    from levit_lite.images import load_image

    if not (folder / "images").is_dir():
        raise FileNotFoundError(f"{folder / 'images'}: no such folder. {LAYOUT}")
    pictures, masks, values = [], [], set()
    for path in sorted((folder / "images").iterdir()):
        if path.suffix.lower() not in Image.registered_extensions():
            continue
        picture, mask = load_image(path), _read_mask(folder / "masks" / f"{path.stem}.png", path)
        sides, expected = (f"{x.shape[1]}x{x.shape[0]}" for x in (mask, picture))
        if sides != expected:
            raise ValueError(
                f"{folder / 'masks' / path.stem}.png: has {sides} pixels; its picture {path.name} "
                f"has {expected}."
            )
        if classes is not None and mask.max() >= classes:
            raise ValueError(
                f"{folder / 'masks' / path.stem}.png: has the value {mask.max()}; the masks of the "
                f"training part have 0 to {classes - 1}."
            )
        values.update(np.unique(mask).tolist())  # before one may get lost between pixels
        pixels = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        pictures.append(np.asarray(pixels))
        masks.append(np.asarray(Image.fromarray(mask).resize((SIDE, SIDE), 0)))  # nearest
    if not pictures:
        raise ValueError(f"{folder / 'images'}: no pictures. {LAYOUT}")
    if classes is None:
        classes = len(values)
        if sorted(values) != list(range(max(2, classes))):
            raise ValueError(
                f"{folder / 'masks'}: expected the numbers of at least two classes, from 0 without "
                f"a gap. Found: {', '.join(map(str, sorted(values)))}"
            )
    return np.stack(pictures).astype(np.float32), np.stack(masks), classes


def _read_mask(path: Path, picture: Path) -> np.ndarray:
    """Reads the numbers of classes, uint8 (height, width)."""
    from PIL import Image

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, the mask of {picture}.")
    try:
        with Image.open(path) as mask:
            mode, values = mask.mode, np.array(mask)
    except (OSError, SyntaxError) as error:  # both for damaged files
        raise ValueError(f"{path}: cannot be read: {error}") from error
    if mode not in ("L", "P"):
        raise ValueError(
            f"{path}: expected 8 bits a pixel, grey or with a palette (L or P), the numbers of "
            f"classes. Found: {mode}"
        )
    return values


def intersection_over_union(found: np.ndarray, masks: np.ndarray, classes: int) -> np.ndarray:
    """Computes the IoU of each class, (classes,), over all pictures together.

    That of a class that is neither there nor found is not a number.
    """
    pairs = np.bincount(found.ravel() * classes + masks.ravel(), minlength=classes**2)
    table = pairs.reshape(classes, classes)  # (found, mask)
    both = np.diag(table)
    with np.errstate(invalid="ignore"):
        return both / (table.sum(axis=0) + table.sum(axis=1) - both)


def draw(pictures, masks, found, path: Path) -> None:
    """Draws pictures, and below them the masks and the predictions."""
    from PIL import Image

    colours = np.random.default_rng(5).integers(40, 256, (256, 3)).astype(np.uint8)
    colours[:2] = (30, 30, 30), (255, 200, 0)
    rows = [pictures.astype(np.uint8), colours[masks], colours[found]]
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    Image.fromarray(sheet).resize((2 * sheet.shape[1], 2 * sheet.shape[0]), 0).save(path)


def define_flags() -> None:
    flags.DEFINE_string("output", None, "Folder for all files.")
    flags.DEFINE_string("data", None, f"Folder of pictures and masks. {LAYOUT}")
    flags.DEFINE_integer("pictures", 600, "How many are made without --data.", lower_bound=16)
    flags.DEFINE_integer("epochs", 15, "Passes over the training pictures.", lower_bound=1)
    flags.mark_flag_as_required("output")


COMMAND = cli.Command(main, define_flags)

if __name__ == "__main__":
    COMMAND.run()
