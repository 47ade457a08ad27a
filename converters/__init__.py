"""Command-line tools that carry a LeViT from one format to another, one module a format.

The module of a command has its flags and a short `main`, and imports what does the work when that
begins; so the modules here import nothing heavy. The work is in the folder of its format, one
public function that raises, and that is also to be had from the command's module:
`from converters.to_tflite import to_tflite`.
"""
