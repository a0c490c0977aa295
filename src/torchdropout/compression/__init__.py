"""From learned noise to a smaller model: prune, shrink, store, export, measure."""
