"""The S3 tokenizer of CosyVoice2 (v2) and CosyVoice3 (v3), with weights as the ``s3tokenizer`` package saves them, or as released."""
