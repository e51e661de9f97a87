"""CLIP, SigLIP and SigLIP 2 through `transformers`, with the weights of a hub or a folder."""
