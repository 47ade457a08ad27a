"""Fits a new head on a frozen network: for pictures of your own, in a minute.

    python -m training.linear_probe --model=LeViTMini --dataset=imagefolder:PATH --output=mine.keras

The network computes features of each picture once, without augmentation; a logistic regression on
these features becomes the head. `--model` is a `.keras` file of a LeViT in train form, the folder
of a run, a repository on the Hugging Face hub (`hf://OWNER/NAME`), or a variant to use its weights.
The result is a file of the same kind: `training.main` can fine-tune it
(`--set=init_from=mine.keras`), and the converters can export it.
"""

from __future__ import annotations

import time
from pathlib import Path

from absl import flags

from levit_common import cli
from levit_common.files import check_new, check_suffix
from training.choices import EVALUATION_BATCH


def main() -> None:
    import numpy as np

    from levit_common.arrays import standard_error
    from levit_common.files import atomic_path
    from levit_tf.keras_graph.properties import model_properties
    from training import probe
    from training.data import load_data, summary
    from training.outcome import warn_of_few_held_out

    args = flags.FLAGS
    start = time.monotonic()
    model = probe.load_backbone(args.model)
    data = load_data(
        args.dataset, input_size=model_properties(model).input_size, strict=args.strict
    )
    print(summary(data), flush=True)
    cache = Path(args.features) if args.features else None
    with data.failure_explained():
        features, is_known = probe.compute_features(model, data, args.batch, cache)
    looked = time.monotonic() - start
    source = f"read from {args.features}" if is_known else f"computed in {looked:.0f} s"
    print(f"features: {features.train.shape[1]} of each picture, {source}", flush=True)
    found = probe.fit(features, data.class_names, args.strength)
    print(f"regularisation: {found.strength:g}, {found.why}")
    scores = found.logits(features.test)
    top1 = float((scores.argmax(axis=1) == features.test_labels).mean())
    count = len(features.test_labels)
    print(
        f"top-1: {100 * top1:.1f} % (standard error {100 * standard_error(top1, count):.1f}) of "
        f"{count:,} held-out pictures, {time.monotonic() - start:.0f} s in all"
    )
    chance = float(np.bincount(features.test_labels).max()) / count
    if doubt := warn_of_few_held_out(count, chance):
        print(f"warning: {doubt}")
    fitted = probe.with_head(model, found, data.class_names)
    with atomic_path(args.output, args.overwrite) as temporary:
        fitted.save(temporary)
    print(f"written: {args.output}")


def define_flags() -> None:
    flags.DEFINE_string(
        "model", None, "A .keras file in train form, a run's folder, hf://OWNER/NAME, or variant."
    )
    flags.DEFINE_string("dataset", None, "Name of a data set; see training.data.load_data.")
    flags.DEFINE_string("output", None, "Keras file to write, ending in .keras.")
    flags.DEFINE_string("features", None, "A .npz file to store the features in for reuse.")
    flags.DEFINE_float(
        "strength", None, "Inverse strength of the regularisation; chosen by default.", 1e-9
    )
    flags.DEFINE_integer("batch", EVALUATION_BATCH, "Pictures in memory at once.", lower_bound=1)
    flags.DEFINE_bool("strict", False, "Stop at the first picture that cannot be read.")
    cli.define_overwrite()
    flags.mark_flags_as_required(["model", "dataset", "output"])


def check() -> None:
    args = flags.FLAGS
    check_suffix(args.output, ".keras")
    check_new(args.output, args.overwrite)
    if args.features and Path(args.features).suffix != ".npz":
        raise ValueError(f"--features: expected a name ending in .npz. Received: {args.features!r}")


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
