"""Classifies millions of pictures with an Apache Beam pipeline; the command is `__main__`.

    pipeline   the pipeline: assigns files to shards, then classifies and writes shard by shard
    handler    LiteRT as a model handler of Beam
    sources    pictures from files, TFRecords and Parquet
    outputs    files of a shard, written completely or not at all
    settings   the settings of an output, so that the same command can resume it

Workers need Beam, numpy, Pillow and LiteRT; of this repository's packages they import only
`levit_common`, `levit_lite` and `serving.protobuf_tables`.
"""
