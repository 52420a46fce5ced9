"""What other servers are started with: one small file each, as their manuals show."""
