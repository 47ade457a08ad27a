"""ONNX files: conversion, layout, and int8.

conversion        writes a file
recipes           names the recipes of files
onnx_layout       rewrites float files to run channels-first
token_layout      rewrites int8 files to run over tokens
quantized_layers  reads the integers of the int8 TFLite file
quantize          inserts them into an ONNX graph
"""
