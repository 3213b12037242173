"""What lies in a results folder, found quickly: an index in the user's cache, and questions to it."""
