"""timm's augmentation, which the pipeline of `training.augment` is compared with."""

from __future__ import annotations

import functools
import importlib
import types

from tests.support.references import timm_levit_module


@functools.cache
def timm_data() -> types.SimpleNamespace:
    """timm's modules `auto_augment`, `mixup`, `random_erasing` and `transforms`.

    Without torchvision, what timm takes from there does not work: `transforms.F` has to be
    replaced.
    """
    timm_levit_module()  # imports timm, in the way that does without torchvision
    names = ("auto_augment", "mixup", "random_erasing", "transforms")
    return types.SimpleNamespace(
        **{name: importlib.import_module(f"timm.data.{name}") for name in names}
    )
