"""Safety checks of untrusted `.tflite` files and zip archives.

    archives      zip archives: members, names, and unpacked size
    flatbuffers   reads the tables of a flatbuffer and checks every offset
    tflite_files  .tflite: valid references between tables, and built-in operations only
    tflite_probe  first runs a .tflite file in a separate process

Other formats are checked in `levit_tf.opening`; docs/security.md lists the guarantees of all.
"""
