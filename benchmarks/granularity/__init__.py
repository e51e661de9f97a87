"""What prompts and the rule of containment do to the masks themselves, without any encoder."""
