"""Compares two networks on pictures: with which tolerance they agree, also layer by layer.

Each exported file is compared with the original model before it is put in place.
"""
