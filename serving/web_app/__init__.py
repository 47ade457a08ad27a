"""A static page that classifies pictures in the browser itself; the command is `__main__`.

packages   LiteRT.js from npm, in one version, by its checksum
site       writes the folder
page/      what is in it beside LiteRT.js and the parts of serving/web
"""
