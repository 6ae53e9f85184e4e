"""The system under test: its endpoints, clients, hosts and private stack."""
