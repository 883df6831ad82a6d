"""What people ask for: check, status, explain, replay, purge, move, grants."""
