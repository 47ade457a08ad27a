"""A folder for the Hugging Face hub; the command is `converters.to_hub`.

upload_folder   writes it
configs         config.json and preprocessor_config.json of timm and transformers
figures         what every file in it answers, measured here
model_card      README.md
"""
