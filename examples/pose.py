"""From a folder of annotated pictures to a skeleton drawn on a photograph.

    python -m examples.pose --output=DIR [--people=600] [--epochs=20]

It first makes the folder: stick figures on parts of scikit-learn's photographs, and `joints.csv`
with the positions of their joints. Everything after that also works with your own pictures:
training (`training.keypoints`) begins with the weights that come with the package, writes every
artefact and evaluates it on a held-out tenth. Then `levit_tf.keypoints` predicts the joints in new
pictures, which are drawn side by side in `skeletons.png`.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from absl import flags

from examples.photographs import sample_photographs
from levit_common import cli

SIZE = (160, 120)  # height and width of a picture
SHOWN = 6
# For each joint: the joint it is attached to, the length of the limb relative to the torso, its
# mean angle (0 is downwards) and the spread of the angle, in degrees.
LIMBS = {
    "knee": ("hip", 0.85, 8, 25),
    "ankle": ("knee", 0.8, 4, 20),
    "elbow": ("shoulder", 0.6, 35, 60),
    "wrist": ("elbow", 0.55, 50, 70),
}


def main() -> None:
    import levit_tf
    from levit_tf.keypoints.finding import load_finder
    from training.keypoints.config import KeypointConfig
    from training.keypoints.run import run

    args = flags.FLAGS
    folder = Path(args.output)
    rng = np.random.default_rng(0)
    make_folder(folder / "people", args.people, rng)
    mini = folder / "levit-mini.keras"
    levit_tf.LeViTMini().save(mini)
    config = KeypointConfig(
        dataset=f"csv:{folder / 'people' / 'joints.csv'}",
        variant="LeViTMini",
        input_size=(80, 80),
        init_from=str(mini),
        epochs=args.epochs,
        batch_size=16,
        rotation=15.0,
    )
    run(config, folder / "run", overwrite=True)
    finder = load_finder(folder / "run" / "int8.tflite")
    draw(finder, folder / "skeletons.png", rng)
    print(f"drawn: {folder / 'skeletons.png'}")


def make_folder(folder: Path, people: int, rng: np.random.Generator) -> None:
    """Writes pictures and `joints.csv`.

    Args:
      folder: folder to write to; it is created, and existing pictures are replaced.
      people: number of people, one per picture.
      rng: random generator for the figures.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "joints.csv").open("w", encoding="utf-8", newline="") as file:
        writer = None
        for number in range(people):
            pixels, joints = figure(rng)
            Image.fromarray(pixels).save(folder / f"{number:04}.png")
            row = {"file": f"{number:04}.png"}
            for name, (x, y) in joints.items():
                row |= {f"{name}_x": f"{x:.1f}", f"{name}_y": f"{y:.1f}"}
            writer = writer or csv.DictWriter(file, list(row))
            if number == 0:
                writer.writeheader()
            writer.writerow(row)


def figure(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws a stick figure on a part of a photograph.

    Returns:
      uint8 (*SIZE, 3), and (x, y) of each joint of `levit_tf.keypoints.skeletons.LSP`.
    """
    from PIL import Image, ImageDraw

    from levit_tf.keypoints.skeletons import LSP

    photograph = Image.open(sample_photographs()[rng.integers(2)])
    side = int(rng.integers(160, 400))
    left, top = (int(rng.integers(0, whole - side)) for whole in photograph.size)
    height, width = SIZE
    image = photograph.resize((width, height), box=(left, top, left + side * 3 // 4, top + side))
    joints = drawn_joints(rng)
    draw = ImageDraw.Draw(image)
    light = int(rng.integers(-40, 41))
    sides = {"left": (230 + light // 2, 120 + light, 40), "right": (40, 110 + light, 210 + light)}
    stroke = int(rng.integers(5, 8))
    trunk = [joints[f"{n}"] for n in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
    draw.polygon([tuple(p) for p in trunk], fill=(90 + light, 160 + light, 90))
    for ends in LSP.limbs:
        colour = sides.get(ends[0].split("_")[0], (220, 190, 160))
        draw.line([tuple(joints[name]) for name in ends], fill=colour, width=stroke)
    (x, y), head = (joints["neck"] + joints["head_top"]) / 2, joints["neck"] - joints["head_top"]
    reach = 0.5 * float(np.hypot(*head))
    draw.ellipse([x - reach, y - reach, x + reach, y + reach], fill=(220, 190 + light, 160))
    return np.asarray(image), joints


def drawn_joints(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draws a random posture that lies inside the picture: (x, y) by name."""
    height, width = SIZE
    while True:
        torso, lean = rng.uniform(32, 44), math.radians(rng.uniform(-15, 15))
        hips = np.array([rng.uniform(0.35, 0.65) * width, rng.uniform(0.48, 0.6) * height])
        up = np.array([math.sin(lean), -math.cos(lean)])
        across = np.array([-up[1], up[0]])
        neck = hips + torso * up
        joints = {"neck": neck, "head_top": neck + 0.55 * torso * up}
        for name, sign in (("left", 1), ("right", -1)):  # the figure faces the viewer
            joints[f"{name}_hip"] = hips + sign * 0.18 * torso * across
            joints[f"{name}_shoulder"] = neck + sign * 0.32 * torso * across
            for joint, (above, length, angle, spread) in LIMBS.items():
                turn = sign * math.radians(rng.normal(angle, spread / 2)) - lean
                along = np.array([math.sin(turn), math.cos(turn)])
                joints[f"{name}_{joint}"] = joints[f"{name}_{above}"] + length * torso * along
        places = np.array(list(joints.values()))
        if (places > 3).all() and (places < (width - 4, height - 4)).all():
            return joints


def draw(finder, path: Path, rng: np.random.Generator) -> None:
    """Draws the joints that a network predicts in new pictures."""
    from PIL import Image

    from levit_tf.keypoints.drawing import draw_skeleton

    drawn = []
    for _ in range(SHOWN):
        pixels, _ = figure(rng)
        # Twice the size, so that thin lines can be drawn.
        large = np.asarray(Image.fromarray(pixels).resize((2 * SIZE[1], 2 * SIZE[0])))
        drawn.append(draw_skeleton(large, finder.find(large), finder.skeleton))
    Image.fromarray(np.concatenate(drawn, axis=1)).save(path)


def define_flags() -> None:
    flags.DEFINE_string("output", None, "Folder for everything; an earlier run in it is replaced.")
    flags.DEFINE_integer("people", 600, "Number of pictures to make.", lower_bound=30)
    flags.DEFINE_integer("epochs", 20, "Passes over the training people.", lower_bound=1)
    flags.mark_flag_as_required("output")


COMMAND = cli.Command(main, define_flags)

if __name__ == "__main__":
    COMMAND.run()
