"""The network of `keypoints`, trained on for the int8 file.

    python -m training.main --config=keypoints_qat --output=DIR --set=dataset=lsp:FOLDER \\
        --set=init_from=RUN/final.keras

RUN is the folder of a run of `keypoints` of the same data; what was set there (variant, head,
input_size) is set here, too. --set=qat=int8_full is for accelerators that know integers only.

Cost: an epoch takes longer than one of `keypoints`, as rounding is computed as well. By how much
has not been measured.
"""

from training.keypoints.config import KeypointConfig

CONFIG = KeypointConfig(
    init_from="runs/joints/final.keras",
    qat="int8",
    epochs=5,
    learning_rate=1e-4,
)
