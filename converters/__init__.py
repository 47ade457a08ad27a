"""Command-line tools that convert a LeViT between formats, one module per command.

The module of a command contains its flags and a short `main`. It imports the code that does the
work only when `main` runs, so that the modules here import nothing heavy. The work is done by one
public function in the folder of the format, which is also available from the command's module:
`from converters.to_tflite import to_tflite`.
"""
