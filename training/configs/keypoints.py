"""Joints of people, by a SimCC head on a LeViT-128S.

    python -m training.main --config=keypoints --output=DIR --set=dataset=lsp:FOLDER \\
        --set=init_from=BACKBONE.keras

docs/keypoints.md has the data sets, and what was measured.
"""

from training.keypoints.config import KeypointConfig

CONFIG = KeypointConfig()
