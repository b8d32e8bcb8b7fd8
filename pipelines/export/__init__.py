"""Finished datasets in the formats of other toolkits: one file a format, one reader, one job on the pipeline's own engine."""
