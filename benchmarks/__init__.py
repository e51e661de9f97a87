"""What gags costs and how well it answers; run from the root of the repository."""
