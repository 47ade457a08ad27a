"""LeViTs on the Hugging Face hub, `hf://owner/name`: of timm, of transformers, or fine-tuned.

files        fetches and verifies a file, with huggingface_hub's cache, token and offline mode
configs      reads config.json: classes, input size, mean, standard deviation
checkpoints  opens an address as a checkpoint with these properties
"""
