"""The forward model, once for training and serving: clusters in, I(Q) out."""
