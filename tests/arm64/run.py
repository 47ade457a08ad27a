"""Runs a TFLite file on pictures, wherever LiteRT and numpy are: here and on the emulated CPU.

    python tests/arm64/run.py FILE.tflite PICTURES.npy ANSWERS.npz COUNT

`ANSWERS.npz` gets the float32 output for each of the first COUNT pictures, and how many of the
file's parts XNNPACK took. Imports nothing of this repository, which the emulated CPU has not.
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def run(path: str, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Answers to uint8 pictures (n, height, width, 3), by the names in `ANSWERS.npz`."""
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    (image,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = output["quantization"]
    answers = []
    for picture in pictures:
        interpreter.set_tensor(image["index"], picture[None].astype(image["dtype"]))
        interpreter.invoke()
        answer = interpreter.get_tensor(output["index"])[0].astype(np.float32)
        answers.append((answer - zero_point) * np.float32(scale) if scale else answer)
    operations = [operation["op_name"] for operation in interpreter._get_ops_details()]
    return {"answers": np.stack(answers), "partitions": np.array(operations.count("DELEGATE"))}


if __name__ == "__main__":
    model, images, found, count = sys.argv[1:]
    np.savez(found, **run(model, np.load(images)[: int(count)]))
