"""The operator's commands, such as `breakwater redrive`."""
