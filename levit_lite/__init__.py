"""Classifies pictures with .tflite files where neither Keras nor TensorFlow is installed.

It needs numpy, Pillow and LiteRT alone, and starts in a fraction of the time that they take: it is
what runs on small devices (`serving.edge`) and on the workers of a batch (`serving.batch`). The
other packages read pictures, class names and `.tflite` files by it, too.

    images        pictures of the usual formats as RGB, and their centre in a network's size
    class_names   ImageNet's, and those of a labels.txt
    opening       what may be in a .tflite file or a zip archive of strangers
    prediction    a file as a network, and a network as a classifier
"""
