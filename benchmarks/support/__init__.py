"""What the benchmarks have in common beside the networks.

options          flags that several benchmarks define
contenders       processes of a benchmark that take turns, or that write the contenders' files
results          the table, the JSON, the place in a page
pictures         bars and lines
serving_process  the stand-in in a process of its own

No command is here, and none of it imports one. It may import `benchmarks.networks`.
"""
