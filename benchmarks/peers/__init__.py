"""Programs of the peer servers, one small file each, as their manuals show."""
