"""Classifying on a small device, with numpy, Pillow and LiteRT alone.

    __main__   the command and its flags
    sources    pictures: files, a folder that is watched, a camera, a video
    answers    what is said of one picture
    guarded    LiteRT in a process that may die of a damaged file

Of the other packages only `levit_common` and `levit_lite` are imported.
"""
