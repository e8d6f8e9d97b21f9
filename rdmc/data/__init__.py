"""The data of a training: images, pairs, shards, and batches of crops."""
