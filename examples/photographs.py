"""Classifies photographs with every artefact of the network that comes with the package.

    python -m examples.photographs --output=DIR [PICTURE ...]

Exports LeViTMini (ten classes of Imagenette) in the same formats as `training.main`, and classifies
the pictures with each file. Without pictures, it uses the two photographs of scikit-learn, a temple
and a flower. The most probable class of the temple should be the church. No class fits the flower,
so its result shows that the network always predicts one of its ten classes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from absl import flags

from levit_common import cli

PICTURES = "pictures"  # folder in the output for copies of the photographs
CROPS = 64  # number of crops for calibrating int8


def main(*pictures: str) -> None:
    import levit_tf
    from levit_common.markdown import markdown_table
    from levit_common.picture_files import distinct_stems
    from levit_tf.pictures.images import load_images
    from levit_tf.prediction.predictor import load_predictor
    from training.artefacts import write_artefacts

    folder = Path(flags.FLAGS.output)
    folder.mkdir(parents=True, exist_ok=True)
    model = levit_tf.LeViTMini()
    properties = levit_tf.model_properties(model)
    files = [Path(picture) for picture in pictures] or sample_photographs()
    (folder / PICTURES).mkdir(exist_ok=True)
    files = [
        Path(shutil.copy(file, folder / PICTURES / f"{stem}{file.suffix}"))
        for file, stem in zip(files, distinct_stems([*map(str, files)]), strict=True)
    ]
    images = load_images(files, properties.input_size)
    names = write_artefacts(
        model,
        folder,
        class_names=properties.class_names,
        calibration_images=random_crops(files, properties.input_size),
        overwrite=True,
    )
    rows = [("artefact", *(file.name for file in files))]
    for name in names:
        probabilities = load_predictor(folder / name).predict(images)
        best = probabilities.argmax(axis=1)
        rows.append(
            (
                name,
                *(
                    f"{properties.class_names[n]} {100 * p[n]:.1f} %"
                    for n, p in zip(best, probabilities, strict=True)
                ),
            )
        )
    print(markdown_table(rows))
    print(f"written: {folder}")


def sample_photographs() -> list[Path]:
    """Returns the paths of scikit-learn's photographs: china.jpg and flower.jpg (CC BY 2.0)."""
    from sklearn.datasets import load_sample_images

    return [Path(name) for name in load_sample_images().filenames]


def random_crops(files: list[Path], size: tuple[int, int], seed: int = 0):
    """Cuts random parts out of pictures, uint8 (CROPS, *size, 3), in place of a data set."""
    import numpy as np
    from PIL import Image

    from levit_lite.images import load_image

    rng = np.random.default_rng(seed)
    pictures = [Image.fromarray(load_image(file)) for file in files]
    crops = []
    for number in range(CROPS):
        picture = pictures[number % len(pictures)]
        side = int(min(picture.size) * rng.uniform(0.4, 1))
        left, top = (int(rng.integers(0, whole - side + 1)) for whole in picture.size)
        box = (left, top, left + side, top + side)
        crops.append(np.asarray(picture.resize(size[::-1], Image.Resampling.BICUBIC, box)))
    return np.stack(crops)


def define_flags() -> None:
    flags.DEFINE_string("output", None, "Folder for the artefacts; existing ones are replaced.")
    flags.mark_flag_as_required("output")


COMMAND = cli.Command(main, define_flags)

if __name__ == "__main__":
    COMMAND.run()
