"""Questions two versions about the same images, and says what differs."""
