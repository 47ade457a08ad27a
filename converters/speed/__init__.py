"""How fast files are on this machine.

runtimes     runs a file in a CPU runtime
turns        contenders in processes of their own that take turns
candidates   what a model can become, and the command that makes it
worker       the process of a candidate
choice       measures them and chooses
"""
