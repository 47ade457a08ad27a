"""Measures the speed of files on this machine.

runtimes     runs a file in a CPU runtime
turns        measures contenders in separate processes that take turns
candidates   the files that a model can be converted to, with the commands
worker       the process of a candidate
choice       measures the candidates and chooses one
"""
