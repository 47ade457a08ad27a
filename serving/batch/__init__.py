"""Classifying millions of pictures by an Apache Beam pipeline; the command is `__main__`.

    pipeline   the pipeline: names into shards, a shard at a time classified and written
    handler    LiteRT as a model handler of Beam
    sources    pictures of files, TFRecords and Parquet
    outputs    a shard's file: whole, or not there
    settings   what an output was made with, so that the same command goes on with it

Workers need Beam, numpy, Pillow and LiteRT: of the other packages only `levit_common` and
`levit_lite` are imported.
"""
