"""Runs a TFLite network so that its inner tensors can be read."""

from __future__ import annotations

import warnings

import numpy as np


class TappedNetwork:
    """A float32 network of one picture: after `run`, `network[name]` is a tensor of it."""

    def __init__(self, content: bytes):
        """Opens a file."""
        from ai_edge_litert.interpreter import Interpreter

        with warnings.catch_warnings():  # that this takes memory
            warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
            self._interpreter = Interpreter(
                model_content=content, num_threads=1, experimental_preserve_all_tensors=True
            )
        self._interpreter.allocate_tensors()
        (self._input,) = (d["index"] for d in self._interpreter.get_input_details())
        self._places = {d["name"]: d["index"] for d in self._interpreter.get_tensor_details()}

    def run(self, image: np.ndarray) -> None:
        """Puts in a picture (height, width, channels), RGB 0..255."""
        self._interpreter.set_tensor(self._input, image[np.newaxis].astype(np.float32))
        self._interpreter.invoke()

    def __getitem__(self, name: str) -> np.ndarray:
        return self._interpreter.get_tensor(self._places[name])
