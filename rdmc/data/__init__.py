"""What a training reads: images, pairs, shards, and the batches made of them."""
