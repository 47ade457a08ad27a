"""Classifiers in steps (`levit_tf.dynamic`) as files that skip what a picture does not need.

graph               all steps as one deploy graph, which the converters know
parts               that graph cut where answers come out
tflite_branches     TFLite with IF, and with a signature for each step
onnx_branches       ONNX with `If`
saved_model_steps   SavedModel: `tf.cond` for one picture, gathering for batches
record              what a file says of its calibration
"""
