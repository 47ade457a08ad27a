"""Weights of a LeViT: file formats, names in other codebases, and loading by name.

`loading` implements `weights=`; `assignment` assigns values to variables. `pytorch_*` contain the
names of the official code, timm and Hugging Face; `checkpoint_files` reads their files without
running any code in them. This package uses the model and `levit_tf.opening`.
"""
