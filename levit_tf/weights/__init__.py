"""Weights of a LeViT: the files they come in, their names elsewhere, and loading them by name.

`loading` is what `weights=` takes; `assignment` puts values into variables. `pytorch_*` know the
names of the official code, timm and Hugging Face; `checkpoint_files` reads their files without
running any code in them. Below it are the model and `levit_tf.opening`.
"""
