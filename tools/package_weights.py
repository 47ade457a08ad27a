"""Adds the weights of a finished run to the package, as `weights=NAME` of its variant.

    python -m tools.package_weights --run=runs/imagenette_mini --name=imagenette

It writes levit_tf/weights/files/VARIANT-NAME.npz, and copies the run's log and learning curve
beside the model card in docs/.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from absl import flags

from levit_common import cli
from levit_common.files import check_exists

_ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    import keras

    from levit_lite.class_names import imagenet_classes
    from levit_tf.keras_graph.introspection import variant_of
    from levit_tf.keras_graph.properties import model_properties
    from levit_tf.weights.packaged import write_packaged

    args = flags.FLAGS
    run = Path(args.run)
    model = keras.models.load_model(run / "final.keras")
    names = dict(imagenet_classes())
    output = _ROOT / "levit_tf/weights/files" / f"{variant_of(model).name}-{args.name}.npz"
    write_packaged(
        output,
        {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights},
        [names.get(name, name) for name in model_properties(model).class_names],
    )
    print(f"written: {output.relative_to(_ROOT)}, {output.stat().st_size:,} bytes")
    card = _ROOT / "docs" / args.card
    card.mkdir(exist_ok=True)
    for name in ("log.csv", "curves.png"):
        shutil.copy(run / name, card / name)


def define_flags() -> None:
    flags.DEFINE_string("run", None, "Folder of the finished run.")
    flags.DEFINE_string("name", None, "Name of the weights for `weights=`.")
    flags.DEFINE_string("card", "levit_mini", "Folder in docs/ for the log and the curve.")
    flags.mark_flags_as_required(["run", "name"])


def check() -> None:
    check_exists(Path(flags.FLAGS.run) / "final.keras", "a finished run of training.main")


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
