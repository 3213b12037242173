"""What runs inside a load process: the locustfile, the two ways to send, and the record of every request."""
