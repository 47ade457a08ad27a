"""Trains exits on the network of `digits`.

    python -m training.main --config=digits --output=runs/digits
    python -m training.main --config=digits_exits --output=runs/digits-exits

Half a minute on 2 CPU cores.
"""

import dataclasses

from training.configs.digits import CONFIG as DIGITS

CONFIG = dataclasses.replace(
    DIGITS,
    init_from="runs/digits/final.keras",
    exits="0:attention,1:pool",
    epochs=5,
    warmup_epochs=1,
)
