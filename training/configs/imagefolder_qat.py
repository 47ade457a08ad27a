"""Quantisation-aware training, for the mixed int8 file, of a network trained on your own pictures.

    python -m training.main --config=imagefolder --set=dataset=imagefolder:PATH --output=RUN
    python -m training.main --config=imagefolder_qat --set=dataset=imagefolder:PATH \\
        --set=init_from=RUN/final.keras --output=RUN-int8
    python -m converters.qat --model=RUN-int8 --output=mine.tflite

--set=qat=int8_full trains for that recipe. variant and input_size must be those of the float run.
The float network is the teacher, and no labels are used: the goal is to preserve its outputs.

Cost: about 400 steps, or two epochs if these have more than 200 steps; each step also runs the
float network.
"""

import dataclasses

from training.config import AUTO
from training.configs.digits_qat import CONFIG as DIGITS_QAT

CONFIG = dataclasses.replace(
    DIGITS_QAT,
    dataset="imagefolder:.",
    variant="LeViT128S",
    init_from="runs/imagefolder/final.keras",
    epochs=AUTO,
    batch_size=AUTO,
    fill_batches=True,
    rate_batch=None,
    learning_rate=1e-5,
    flip=AUTO,
    crop_scale=0.5,
)
