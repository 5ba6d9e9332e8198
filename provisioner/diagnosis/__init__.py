"""What is collected for somebody who has to find out what is wrong with a cluster, without its secrets."""
