"""Whether two networks agree: on which pictures, by which tolerance, layer by layer.

Each exported file is compared with the model that was given before it gets its name.
"""
