"""Runs a TFLite network and gives access to its inner tensors."""

from __future__ import annotations

import warnings

import numpy as np


class TappedNetwork:
    """A float32 network for one picture: after `run`, `network[name]` is the value of a tensor."""

    def __init__(self, content: bytes):
        """Opens the content of a file."""
        from ai_edge_litert.interpreter import Interpreter

        with warnings.catch_warnings():  # a warning that this option needs memory
            warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
            self._interpreter = Interpreter(
                model_content=content, num_threads=1, experimental_preserve_all_tensors=True
            )
        self._interpreter.allocate_tensors()
        (self._input,) = (d["index"] for d in self._interpreter.get_input_details())
        self._places = {d["name"]: d["index"] for d in self._interpreter.get_tensor_details()}

    def run(self, image: np.ndarray) -> None:
        """Runs the network on a picture (height, width, channels), RGB 0..255."""
        self._interpreter.set_tensor(self._input, image[np.newaxis].astype(np.float32))
        self._interpreter.invoke()

    def __getitem__(self, name: str) -> np.ndarray:
        return self._interpreter.get_tensor(self._places[name])
