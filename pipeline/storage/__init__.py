"""Storage that machines share: the S3 bucket, the datasets in it, and the files of running trainings."""
