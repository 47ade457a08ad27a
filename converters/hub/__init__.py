"""Writes a folder for the Hugging Face hub; the command is `converters.to_hub`.

upload_folder   writes the folder
configs         config.json and preprocessor_config.json of timm and transformers
figures         measured accuracy, agreement and time of every file in the folder
model_card      README.md
"""
