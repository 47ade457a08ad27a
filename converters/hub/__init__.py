"""Writes a folder for the Hugging Face hub; the command is `converters.to_hub`.

upload_folder   writes the folder
configs         config.json and preprocessor_config.json of timm and transformers
pictures        those on which the figures of the model card are measured
model_card      README.md
"""
