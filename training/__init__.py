"""Makes versions: trains, measures and publishes the network after every epoch."""
