"""Writes classifiers in steps (`levit_tf.dynamic`) to files that skip unnecessary steps.

graph               builds all steps as one deploy graph, which the converters can write
parts               splits that graph after the logits of each step
tflite_branches     TFLite with IF, and with one signature per step
onnx_branches       ONNX with `If`
saved_model_steps   SavedModel: `tf.cond` for one picture, gathering for batches
record              the JSON record of the calibration
"""
