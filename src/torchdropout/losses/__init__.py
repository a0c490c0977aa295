"""Terms that are added to a loss; one method a file."""
