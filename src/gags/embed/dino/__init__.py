"""DINO: features of a photo's patches, without texts, with the weights of a hub or a folder."""
