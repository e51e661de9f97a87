"""The encoder `lite`, whose weights package registries carry: `encoder` joins its two nets over `tables`."""
