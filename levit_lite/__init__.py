"""Classifies pictures with .tflite files, without Keras or TensorFlow.

It needs only numpy, Pillow and LiteRT, and starts in a fraction of the time that Keras needs. It
runs on small devices (`serving.edge`) and on the workers of a batch job (`serving.batch`). The
other packages also use it to read pictures, class names and `.tflite` files.

    images        reads pictures as RGB, and crops their centre to the size of a network
    class_names   reads class names: ImageNet's, and those of a labels.txt
    opening       safety checks of untrusted .tflite files and zip archives
    prediction    opens a file as a network, and uses a network as a classifier
"""
