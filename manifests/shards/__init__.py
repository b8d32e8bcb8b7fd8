"""The shard format: WebDataset tars that are byte-reproducible, with a side index that makes them seekable."""
