"""The whole stack as plain processes of this machine, on loopback: PostgreSQL, MLflow with a login, S3 and a Ray cluster."""
