"""Writes a static page that classifies pictures in the browser; the command is `__main__`.

packages   a fixed version of LiteRT.js from npm, checked by its checksum
site       writes the folder
page/      the files in it besides LiteRT.js and the parts of serving/web
"""

# Files by which a folder of this command is recognised, before another replaces it.
FILES = ("index.html", "model.tflite", "litert")
