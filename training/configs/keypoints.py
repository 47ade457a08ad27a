"""Joints of people, by a SimCC head on a LeViT-128S.

    python -m training.main --config=keypoints --output=DIR --set=dataset=lsp:FOLDER \\
        --set=init_from=BACKBONE.keras

docs/keypoints.md has the data sets, and what was measured.

Cost: an epoch of the 8,000 people of LSPET is 8,000 pictures of 128x128 forwards and backwards,
about two minutes on two free cores.
"""

from training.keypoints.config import KeypointConfig

CONFIG = KeypointConfig()
