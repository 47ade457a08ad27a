"""Predicts the joints of people with a SimCC head on a LeViT-128S.

    python -m training.main --config=keypoints --output=DIR --set=dataset=lsp:FOLDER \\
        --set=init_from=BACKBONE.keras

docs/keypoints.md describes the data sets and the measurements.

Cost: an epoch over the 8,000 people of LSPET is a forward and a backward pass of 8,000 pictures of
128x128, about two minutes on two free cores.
"""

from training.keypoints.config import KeypointConfig

CONFIG = KeypointConfig()
