"""The ordered stream of messages that all console instances read, and the leases they share."""
