"""TF Serving around LeViT: exports for it, a stand-in that speaks its protocol, a client, load."""
