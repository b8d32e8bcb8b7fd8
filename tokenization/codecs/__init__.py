"""Neural speech tokenizers. Their libraries are imported when one is opened."""
