"""Monte-Carlo dropout: noise that lives in prediction, and what many noisy predictions say together."""
