"""What a run found, told to others: to a webhook, to an MLflow server."""
