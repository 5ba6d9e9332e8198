"""What runs did to a cluster, as one page for people."""
