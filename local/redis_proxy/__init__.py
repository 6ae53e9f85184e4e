"""A TCP proxy in front of Redis servers, which imitates a failover behind one address."""
