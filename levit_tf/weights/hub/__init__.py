"""LeViTs on the Hugging Face hub: `hf://owner/name`, of timm, of transformers, fine-tuned ones.

addresses    hf://owner/name@revision/file
files        one file of a repository: huggingface_hub's cache, token and offline mode; verified
configs      what a repository's config.json says: classes, size, mean, standard deviation
checkpoints  an address as a checkpoint with all of that
"""
