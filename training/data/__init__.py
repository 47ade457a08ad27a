"""Labelled pictures by name, as `tf.data` that is a pure function of (seed, epoch, index).

`load_data` knows the embedded digits, every prepared image classification set of TensorFlow
Datasets, and folders with a sub-folder for each class. What it returns, a `Dataset`, has one
mechanism for all of them: **random access**. A step's pictures are computed from its number, then
read by index. So a run goes on at any step at once, and every worker reads its own part only,
where a shuffle buffer would have each of them read everything up to the step.
"""

from training.data.dataset import Dataset
from training.data.loading import DatasetName, load_data, parse_dataset_name
from training.data.summary import summary

__all__ = ["Dataset", "DatasetName", "load_data", "parse_dataset_name", "summary"]
