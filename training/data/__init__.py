"""Labelled pictures by name, as `tf.data` that is a pure function of (seed, epoch, index).

`load_data` knows the embedded digits, every prepared image classification set of TensorFlow
Datasets, and folders with one sub-folder per class. It returns a `Dataset`, which works by **random
access** for all of them: the pictures of a step are computed from its number, then read by index.
So a run can resume at any step at once, and every worker reads only its own part. With a shuffle
buffer, each worker would have to read everything up to that step.
"""

from training.data.dataset import Dataset
from training.data.loading import DatasetName, load_data, parse_dataset_name
from training.data.summary import summary

__all__ = ["Dataset", "DatasetName", "load_data", "parse_dataset_name", "summary"]
