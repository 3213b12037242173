"""The stories: each command as a sentence. Rooms are wired here and nowhere else."""
