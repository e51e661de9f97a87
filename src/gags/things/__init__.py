"""Things and their parts: Gaussians that masks of many photos cut out alike."""
