"""The embedded stack for one machine: real protocols on loopback, never deployed."""
