"""Photos with poses become 3D Gaussians."""
