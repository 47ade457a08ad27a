"""Classifies on a small device, with only numpy, Pillow and LiteRT.

    __main__   the command and its flags
    sources    pictures: from files, a watched folder, a camera, a video
    answers    the JSON result for one picture
    guarded    LiteRT in a process of its own, which a damaged file may crash

Of this repository's packages it imports only `levit_common` and `levit_lite`.
"""
