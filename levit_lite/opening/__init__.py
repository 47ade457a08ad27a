"""What may be in a `.tflite` file or a zip archive that somebody else made.

    archives      zip archives: members, names, and what they unpack to
    flatbuffers   the tables of a flatbuffer, with every offset checked
    tflite_files  .tflite: what its tables refer to, and operations that are built in
    tflite_probe  a first run of a .tflite in a process of its own

The other formats are `levit_tf.opening`'s; docs/security.md has what is promised of all of them.
"""
