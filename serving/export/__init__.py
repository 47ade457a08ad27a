"""A LeViT as a version of a served model: signatures, pictures in the graph, warm-up.

`python -m serving.export` is the command, `exporting.export` the function.
"""
