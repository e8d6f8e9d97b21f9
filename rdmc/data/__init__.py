"""The path of a sample: photographs or pairs, rain, shards, sampling, crops, batches."""
