"""A network that you have trained on pictures of your own, trained on for the mixed int8 file.

    python -m training.main --config=imagefolder --set=dataset=imagefolder:PATH --output=RUN
    python -m training.main --config=imagefolder_qat --set=dataset=imagefolder:PATH \\
        --set=init_from=RUN/final.keras --output=RUN-int8
    python -m converters.qat --model=RUN-int8 --output=mine.tflite

--set=qat=int8_full trains for that recipe; variant and input_size are those of the float run. The
float network teaches, without labels: its answers are what is to survive.

Cost: about 400 steps, or two epochs of more than 200, each of the float network too.
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
