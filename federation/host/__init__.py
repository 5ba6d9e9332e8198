"""A federation's services on this host: made, started, watched over and removed."""
