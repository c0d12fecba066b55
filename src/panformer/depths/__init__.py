"""What each layer reads, of all that the layers before it answered."""
